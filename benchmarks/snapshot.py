"""Makes a large snapshot of small files: its memory beside that of a tenth of it, and its bytes after many kills.

    python benchmarks/snapshot.py [--json] [--quick] [--datasets N] [--kills N] [--directory PATH]

One site with 100,000 datasets, half of them made from the others, each with a file of 64 bytes; the snapshot is of
all. With --json, one object a line: name, n (datasets), ours, peer, ratio, goal. ``snapshot_memory_mb`` is the peak of
the process, its peer that of a snapshot of a tenth of the datasets from the same site; ``snapshot_seconds`` is the
processor time of the two. For ``snapshot_resumed`` the run is killed with SIGKILL at random moments and started again:
ours are the kills, peer those wanted, ratio is 1 when every byte is as in the run that was left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snapshot_data import DETECTORS, make_site

#: memory of the whole against that of a tenth
MEMORY_GOAL = 0.87
OURS = Path(__file__).with_name("snapshot_ours.py")


def command(site: Path, target: Path, count: int) -> list[str]:
    """What makes a snapshot of ``count`` datasets, half of which are chosen."""
    return [sys.executable, "-W", "ignore", str(OURS), str(site), str(target), str(count // 2 // DETECTORS)]


def create(site: Path, target: Path, count: int) -> dict[str, Any]:
    done = subprocess.run(command(site, target, count), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["files"] != count:
        raise SystemExit(f"{found['files']} files where {count} were wanted")
    return found


def create_killed(site: Path, target: Path, count: int, kills: int, longest_s: float) -> int:
    """Make a snapshot in a process that is killed at random moments; returns how often it was."""
    choose = random.Random(int(os.environ.get("FEDERATION_TEST_SEED", "1")))
    copying = target.with_name(f"{target.name}.partial") / "transfer.sqlite"
    done = 0
    while done < kills and not target.exists():
        with subprocess.Popen(
            command(site, target, count), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            # the first runs find out what to copy, which later ones take over once it is done
            bound_s = longest_s if copying.exists() else 4 * longest_s
            try:
                process.wait(timeout=choose.uniform(0.5, bound_s))
            except subprocess.TimeoutExpired:
                process.kill()
                done += 1
    if not target.exists():
        create(site, target, count)
    return done


def content(directory: Path) -> str:
    """One digest of all paths and bytes below a directory."""
    digest = hashlib.sha256()
    for path in sorted(one for one in directory.rglob("*") if one.is_file()):
        digest.update(f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def line(name: str, n: int, ours: float, peer: float, ratio: float, goal: float | None) -> dict[str, Any]:
    """One result."""
    return {
        "name": name,
        "n": n,
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "ratio": round(ratio, 2),
        "goal": goal,
    }


def lines(root: Path, count: int, kills: int) -> Iterator[dict[str, Any]]:
    site = root / "site"
    make_site(site, count)
    tenth = create(site, root / "tenth" / "snap", count // 10)
    began = time.monotonic()
    whole = create(site, root / "whole" / "snap", count)
    took_s = time.monotonic() - began
    yield line(
        "snapshot_memory_mb", count, whole["memory_mb"], tenth["memory_mb"],
        tenth["memory_mb"] / whole["memory_mb"], MEMORY_GOAL,
    )  # fmt: skip
    yield line(
        "snapshot_seconds", count, whole["cpu_seconds"], tenth["cpu_seconds"],
        10 * tenth["cpu_seconds"] / whole["cpu_seconds"], None,
    )  # fmt: skip
    if kills:
        done = create_killed(site, root / "killed" / "snap", count, kills, took_s / 10)
        same = content(root / "killed" / "snap") == content(root / "whole" / "snap")
        yield line("snapshot_resumed", count, done, kills, float(same), 1.0)


def show(row: dict[str, Any]) -> str:
    goal = "" if row["goal"] is None else f"   goal {row['goal']}"
    return f"{row['name']:22} {row['n']:>8} {row['ours']:>10} {row['peer']:>10} {row['ratio']:>7}{goal}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--quick", action="store_true", help="a twentieth of the datasets, four kills; no goal applies"
    )
    parser.add_argument("--datasets", type=int, help="in place of 100,000, or 6000 with --quick")
    parser.add_argument("--kills", type=int, help="0 leaves them out; else 20")
    parser.add_argument("--directory", type=Path, help="where all is made; else a temporary directory")
    chosen = parser.parse_args()
    count = chosen.datasets or (6000 if chosen.quick else 100_000)
    kills = (4 if chosen.quick else 20) if chosen.kills is None else chosen.kills
    root = Path(tempfile.mkdtemp(prefix="federation-snapshot-", dir=chosen.directory))
    try:
        for name in ("tenth", "whole", "killed"):
            (root / name).mkdir()
        for row in lines(root, count, kills):
            print(json.dumps(row) if chosen.json else show(row), flush=True)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
