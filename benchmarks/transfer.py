"""Copies files between directories and object stores, beside rclone, cp and lsst-daf-butler, in one run.

    python benchmarks/transfer.py [--json] [--quick] [--repeats N] [--only NAME...]

5,000 files of 50 kB and 40 of 25 MB; the object stores are two SeaweedFS servers, started here. Every file's sha256 is
verified on our side, the files are durable, and the registry records them; ours and a peer take turns. With --json, one
object a line: name, ours and peer in seconds, ratio (above 1: ours is faster), goal, memory_mb (peak of our process);
for cp also ratio_durable, which counts the time until its files are durable as ours are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transfer_peers import copy_with_butler, copy_with_cp, copy_with_rclone, rclone
from transfer_server import ACCESS_KEY, SECRET_KEY, make_files, s3_server

from federation.snapshot.bag import PayloadFile, extend_bag, write_bag

MEMORY_GOAL_MB = 300
BAG_GOAL_MS = 50.0
#: name: (files, from, to, mode, whether datasets are registered too, peer, goal relative to it)
LEGS: dict[str, tuple[str, str, str, str, bool, str, float]] = {
    "small_local_s3": ("small", "local", "a", "stream", False, "rclone", 1.1),
    "small_s3_local": ("small", "a", "local", "stream", False, "rclone", 1.1),
    "small_s3_s3": ("small", "a", "b", "stream", False, "rclone", 1.3),
    "big_local_s3": ("big", "local", "a", "stream", False, "rclone", 1.1),
    "big_s3_local": ("big", "a", "local", "stream", False, "rclone", 1.3),
    "big_s3_s3": ("big", "a", "b", "stream", False, "rclone", 0.9),
    "small_local_hashed": ("small", "local", "local", "stream", False, "cp", 0.6),
    "big_local_hashed": ("big", "local", "local", "stream", False, "cp", 0.3),
    "big_local_clone": ("big", "local", "local", "clone", False, "cp", 0.95),
    "small_local_link": ("small", "local", "local", "link", False, "cp", 8.0),
    "datasets_registered_copied": ("small", "local", "local", "stream", True, "butler", 5.0),
    "datasets_registered_copied_hashed": ("small", "local", "local", "stream", True, "butler-hashed", 5.0),
}


class Bench:
    """The data, the servers, and one leg at a time."""

    def __init__(self, root: Path, endpoints: list[str], *, quick: bool, repeats: int) -> None:
        self.root, self.endpoints = root, endpoints
        self.repeats = 1 if quick else repeats
        self.listings: dict[str, Path] = {}
        self.keys = root / "credentials"
        self.keys.write_text(
            f"[default]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
        )
        self.keys.chmod(0o600)
        sets = {"small": (400, 50_000, 20), "big": (4, 25_000_000, 4)} if quick else {
            "small": (5_000, 50_000, 50), "big": (40, 25_000_000, 4),
        }  # fmt: skip
        for name, (count, size, directories) in sets.items():
            make_files(root / name, count, size, directories)
            files = [
                (
                    str(path.relative_to(root / name)),
                    size,
                    f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
                )
                for path in sorted((root / name).rglob("*.fits"))
            ]
            self.listings[name] = root / f"{name}.json"
            self.listings[name].write_text(json.dumps(files))
            absolute = [(str(root / name / path), *rest) for path, *rest in files]
            (root / f"{name}-absolute.json").write_text(json.dumps(absolute))
            rclone(endpoints, "mkdir", f"A:{name}-source")
            copy_with_rclone(endpoints, str(root / name), f"A:{name}-source")

    def run(self, name: str) -> dict[str, Any]:
        """Medians of a leg; ours and the peer take turns."""
        data, source, target, mode, insert, peer, goal = LEGS[name]
        ours, theirs, durable, memory = [], [], [], 0.0
        for _ in range(self.repeats):
            found = self._ours(data, source, target, mode, insert)
            ours.append(found["seconds"])
            memory = max(memory, found["memory_mb"])
            seconds, synced = self._peer(peer, data, source, target)
            theirs.append(seconds)
            durable.append(synced)
        mine, other = statistics.median(ours), statistics.median(theirs)
        return {
            "name": name,
            "ours": round(mine, 3),
            "peer": round(other, 3),
            "peer_name": peer,
            "ratio": round(other / mine, 2),
            **({"ratio_durable": round(statistics.median(durable) / mine, 2)} if peer == "cp" else {}),
            "goal": goal,
            "memory_mb": round(memory),
        }

    def _places(self, data: str, source: str, target: str) -> tuple[str, str, Path]:
        """(source, target) as rclone names them, and a new directory."""
        scratch = self.root / uuid.uuid4().hex
        scratch.mkdir()
        origin = str(self.root / data) if source == "local" else f"A:{data}-source"
        if target == "local":
            return origin, str(scratch / "target"), scratch
        place = f"{target.upper()}:t{scratch.name}"
        rclone(self.endpoints, "mkdir", place)
        return origin, place, scratch

    def _ours(self, data: str, source: str, target: str, mode: str, insert: bool) -> dict[str, float]:
        origin, place, scratch = self._places(data, source, target)
        call = {
            "listing": str(self.listings[data]),
            "scratch": str(scratch),
            "keys": str(self.keys),
            "mode": mode,
            "insert": insert,
        }
        for end, where in (("source", origin), ("target", place)):
            is_local = where.startswith("/")
            call[end] = where if is_local else f"s3://{where[2:]}"
            call[f"{end}_endpoint"] = None if is_local else self.endpoints["AB".index(where[0])]
        os.sync()
        command = [sys.executable, str(Path(__file__).with_name("transfer_ours.py")), json.dumps(call)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        self._remove(place, scratch)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _peer(self, peer: str, data: str, source: str, target: str) -> tuple[float, float]:
        """Seconds of the peer, and with what it leaves to the kernel being written out (cp)."""
        origin, place, scratch = self._places(data, source, target)
        os.sync()
        synced = 0.0
        if peer == "rclone":
            seconds = copy_with_rclone(self.endpoints, origin, place)
        elif peer == "cp":
            seconds, synced = copy_with_cp(origin, place)
        else:
            listing = self.root / f"{data}-absolute.json"
            seconds = copy_with_butler(scratch / "butler", listing, checksums=peer == "butler-hashed")
        self._remove(place, scratch)
        return seconds, synced

    def _remove(self, place: str, scratch: Path) -> None:
        shutil.rmtree(scratch)
        if not place.startswith("/"):
            rclone(self.endpoints, "purge", "-q", place)


def bag_line(root: Path, *, quick: bool) -> dict[str, Any]:
    """Milliseconds to add one file to a bag of 500 MB."""
    bag, count = root / "bag", 100 if quick else 1000
    make_files(bag / "data", count, 500_000, 20)
    payload = [payload_file(bag, path) for path in sorted((bag / "data").rglob("*.fits"))]
    write_bag(bag, payload, {"Source-Organization": "benchmark"})
    times = []
    for number in range(5):
        new = bag / "data" / f"new{number}.fits"
        new.write_bytes(os.urandom(50_000))
        added = payload_file(bag, new)
        staging = root / f"staging{number}"
        staging.mkdir()
        began = time.perf_counter()
        extend_bag(bag, staging, [added])
        times.append(1000 * (time.perf_counter() - began))
    return {
        "name": "bag_add_one_file_ms",
        "ours": round(statistics.median(times), 1),
        "goal_below": BAG_GOAL_MS,
    }


def payload_file(bag: Path, path: Path) -> PayloadFile:
    data = path.read_bytes()
    return PayloadFile(str(path.relative_to(bag)), len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")


def lines(bench: Bench, root: Path, names: list[str], *, quick: bool) -> Iterator[dict[str, Any]]:
    for name in names:
        yield bag_line(root, quick=quick) if name == "bag" else bench.run(name)


def show(row: dict[str, Any]) -> str:
    if "ratio" not in row:
        return f"{row['name']}: {row['ours']} (goal below {row['goal_below']})"
    return (
        f"{row['name']}: {row['ours']:.2f} s, {row['peer_name']} {row['peer']:.2f} s, ratio {row['ratio']} "
        f"(goal {row['goal']})"
        + (f", {row['ratio_durable']} with sync" if "ratio_durable" in row else "")
        + f", {row['memory_mb']} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="a tenth of the files, once")
    parser.add_argument("--only", nargs="*", default=[*LEGS, "bag"], choices=[*LEGS, "bag"], metavar="NAME")
    parser.add_argument(
        "--repeats", type=int, default=2, help="turns of ours and the peer; --quick takes one"
    )
    parser.add_argument(
        "--directory", type=Path, help="where data and servers are; else a temporary directory"
    )
    arguments = parser.parse_args()
    printed: Callable[[dict[str, Any]], str] = json.dumps if arguments.json else show
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch, ExitStack() as stack:
        root = Path(scratch)
        endpoints = [stack.enter_context(s3_server(root / f"server-{name}")) for name in "ab"]
        bench = Bench(root, endpoints, quick=arguments.quick, repeats=arguments.repeats)
        for row in lines(bench, root, arguments.only, quick=arguments.quick):
            print(printed(row), flush=True)


if __name__ == "__main__":
    main()
