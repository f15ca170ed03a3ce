"""Does a registry's work here and on lsst-daf-butler in one run, on SQLite and on PostgreSQL, and compares.

    python benchmarks/registry.py [--json] [--quick] [--backend sqlite|postgresql] [--only SECTION ...]

Both sides get the same data (benchmarks/registry_data.py). Every section runs in a process of its own, so that its peak
memory is its own, forked from one that has imported the side's library and nothing more. Writes of ours commit their
change log entry in the same transaction; the Butler has none. PostgreSQL is one server for both: that which
FEDERATION_TEST_POSTGRES_URL names, or an installed one on data in a temporary directory (the embedded one lacks an
extension that the Butler needs).
A "_floor" is how long the same rows take to be written into the same tables without being checked and logged, or to be
read from them by the database's driver as it gives them: its ratio is the most that ours can be, and has no goal.
With --json, one object a line: name, n, ours, peer, ratio (above 1: ours is better), goal. Times are in seconds, those
of lookups in milliseconds of one call (median), memory is the peak in MB. Without --quick, n is 100,000 datasets.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.abc
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry_server import analyze, make_database, postgres_server

SIDES = ("ours", "peer")
BACKENDS = ("sqlite", "postgresql")
#: in this order: the first ones write what the others read. "fill_" sections are not measured
SECTIONS = (
    "fill_base",
    "visits",
    "regions",
    "registration",
    "floor",
    "fill_rest",
    "stream",
    "stream_objects",
    "filtered",
    "filtered_objects",
    "find_first",
    "find_first_objects",
    "calibration_join",
    "spatial_join",
    "read_floor",
    "lookups",
)
#: what a floor is of: section and figure
FLOORS = {
    "floor": (("visits", "visit"), ("regions", "visit_detector_region"), ("registration", "datasets")),
    "read_floor": tuple((name, f"{name}_all_rows") for name in ("stream", "filtered", "find_first")),
}
WRITING = SECTIONS[: SECTIONS.index("fill_rest") + 1]
GOALS: dict[str, float | None] = {
    **dict.fromkeys(("visit", "visit_detector_region", "datasets"), 20.0),
    # what the ratio could be at most
    **dict.fromkeys([f"{name}_floor" for floor in FLOORS.values() for _, name in floor]),
    **dict.fromkeys(("find_in_run", "find_in_chain", "find_calibration", "get_by_uuid"), 5.0),
}
QUERY_GOAL = 10.0
MEMORY_GOAL = 1.0


class _WithoutPandas(importlib.abc.MetaPathFinder):
    """We do not depend on pandas, but pyarrow imports it wherever it finds it, for 80 MB."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def run_side(side: str, place: str, n: int, sections: list[str]) -> None:
    """Run sections one after another, each in a child of this process; one JSON line each."""
    if side == "ours":
        sys.meta_path.insert(0, _WithoutPandas())
    module = importlib.import_module(f"registry_{side}")
    fork = multiprocessing.get_context("fork")
    for section in sections:
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=_section, args=(sender, getattr(module, section), place, n))
        child.start()
        sender.close()
        try:
            figures = receiver.recv()
        except EOFError:
            raise SystemExit(f"{side}: section {section} failed") from None
        child.join()
        print(json.dumps({"section": section, "figures": figures}), flush=True)


def _section(sender: Any, work: Any, place: str, n: int) -> None:
    figures = work(place, n) or {}
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send(figures)


def measure(side: str, place: str, n: int, sections: list[str]) -> dict[str, dict[str, float]]:
    """The figures of a side by section."""
    command = [sys.executable, __file__, "--side", side, "--place", place, "--n", str(n), "--only", *sections]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"section"')]
    return {line["section"]: line["figures"] for line in lines}


@contextlib.contextmanager
def places(backend: str, root: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Where each side has its registry, and the URLs of the databases; a server runs within this context."""
    from registry_peer import create

    if backend == "sqlite":
        create(str(root / "peer"), None)
        yield {"ours": str(root / "ours"), "peer": str(root / "peer")}, []
        return
    with postgres_server(root) as server:
        urls = {side: make_database(server, f"fed_bench_{side}") for side in SIDES}
        create(str(root / "peer"), urls["peer"].replace("postgresql://", "postgresql+psycopg://"))
        yield {"ours": urls["ours"], "peer": str(root / "peer")}, list(urls.values())


def compare(backend: str, n: int, sections: list[str]) -> Iterator[dict[str, Any]]:
    """Lines of the report for one database."""
    with (
        tempfile.TemporaryDirectory(prefix="fed-bench-", ignore_cleanup_errors=True) as directory,
        places(backend, Path(directory)) as (where, urls),
    ):
        writing = [section for section in sections if section in WRITING]
        reading = [section for section in sections if section not in WRITING]
        found = {
            "ours": measure("ours", where["ours"], n, writing),
            "peer": measure("peer", where["peer"], n, [one for one in writing if one not in FLOORS]),
        }
        for url in urls:
            analyze(url)
        for side in SIDES if reading else ():
            asked = [one for one in reading if side == "ours" or one not in FLOORS]
            found[side] |= measure(side, where[side], n, asked)
        for section in sections:
            if section in FLOORS:
                measured = [(of, name) for of, name in FLOORS[section] if of in found["peer"]]
                peer = {f"{name}_floor": found["peer"][of][name] for of, name in measured}
                del found["ours"][section]["peak_mb"]
                ours = {name: value for name, value in found["ours"][section].items() if name in peer}
                yield from _lines(backend, n, section, ours, peer)
            elif not section.startswith("fill_"):
                ours, peer = found["ours"][section], found["peer"][section]
                yield from _lines(backend, n, section, ours, peer)


def _lines(
    backend: str, n: int, section: str, ours: dict[str, float], peer: dict[str, float]
) -> Iterator[dict[str, Any]]:
    for name, value in ours.items():
        other = peer[name.replace("_objects", "")]
        if name.endswith("_rows") and not name.endswith("_all_rows"):
            if value != other:
                raise SystemExit(f"{backend} {section}: {value} rows here, {other} in the Butler")
            continue
        is_memory = name == "peak_mb"
        yield {
            "name": f"{backend} {section + ' ' if is_memory else ''}{name}",
            "n": n,
            "ours": round(value, 5),
            "peer": round(other, 5),
            "ratio": round(other / value, 2),
            "goal": MEMORY_GOAL if is_memory else GOALS.get(name, QUERY_GOAL),
        }


def _goal_text(goal: float | None) -> str:
    return "what it can be at most" if goal is None else f"goal {goal:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="2,000 datasets: only whether it runs")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="this database only")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections, with what they need")
    parser.add_argument("--n", type=int, help="datasets; 100,000 without --quick")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run_side(arguments.side, arguments.place, arguments.n, arguments.only)
        return
    # a directory that is short and known to every child, instead of a warning from each
    runtime = tempfile.mkdtemp(prefix="fed-bench-run-")
    os.environ.setdefault("XDG_RUNTIME_DIR", runtime)
    n = arguments.n or (2_000 if arguments.quick else 100_000)
    sections = [s for s in SECTIONS if not arguments.only or s in arguments.only or s in WRITING]
    for backend in arguments.backend or BACKENDS:
        for line in compare(backend, n, sections):
            if arguments.json:
                print(json.dumps(line), flush=True)
            else:
                print(
                    f"{line['name']:45} ours {line['ours']:>10.5g} peer {line['peer']:>10.5g} "
                    f"ratio {line['ratio']:>7.2f} ({_goal_text(line['goal'])})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
