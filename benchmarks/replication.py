"""Replicates the same rows by our change logs and by PostgreSQL's logical replication in one run, and compares.

    python benchmarks/replication.py [--json] [--quick] [--only SECTION ...] [--pair SOURCE-REPLICA ...] [--n DATASETS]

A dataset is two rows, of two tables with the same indexes on both sides (benchmarks/replication_data.py). The peer is
two installed PostgreSQL servers; the PostgreSQL databases of ours are on the same two. Our side is a site's server and
a follower, each a process of its own, over gRPC. Every section runs in a process of its own too, and the two sides of a
figure one right after the other.

With --json, one object a line: name, rows, ours, peer, ratio (above 1: ours is better), goal. Without --quick there are
250,000 datasets, half a million rows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replication_sections import SECTIONS, Setting
from replication_server import postgres_pair

PAIRS = ("pg-pg", "sqlite-sqlite", "sqlite-pg", "pg-sqlite")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="10,000 datasets: only whether it runs")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections")
    parser.add_argument("--pair", nargs="+", choices=PAIRS, default=PAIRS, help="these pairs of databases")
    parser.add_argument("--n", type=int, help="datasets; 250,000 without --quick")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    n = arguments.n or (10_000 if arguments.quick else 250_000)
    if arguments.here:
        for section in arguments.only:
            _run_here(section, n, arguments)
        return
    # a directory that is short and known to every child, instead of a warning from each
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="fed-bench-run-"))
    for section in arguments.only or SECTIONS:
        for line in _lines(section, n, arguments):
            if arguments.json:
                print(json.dumps(line), flush=True)
            else:
                print(
                    f"{line['name']:55} ours {line['ours']:>10.5g} peer {line['peer']:>10.5g} "
                    f"ratio {line['ratio']:>6.2f} (goal {line['goal']:g})",
                    flush=True,
                )


def _lines(section: str, n: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The lines of one section, from its process."""
    command = [
        sys.executable,
        __file__,
        "--here",
        "--only",
        section,
        "--n",
        str(n),
        "--pair",
        *arguments.pair,
    ]
    if arguments.quick:
        command.append("--quick")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith('{"name"'):
                    yield json.loads(line)
        except BaseException:
            process.terminate()  # it ends its servers
            raise
    if process.returncode:
        raise SystemExit(f"section {section} failed")


def _run_here(section: str, n: int, arguments: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="fed-bench-", ignore_cleanup_errors=True) as directory,
        postgres_pair(Path(directory)) as (pub, sub),
    ):
        pairs = tuple(tuple(pair.split("-")) for pair in arguments.pair)
        setting = Setting(Path(directory), pub, sub, n, pairs, is_quick=arguments.quick)
        for figure in SECTIONS[section](setting):
            print(json.dumps(figure.line()), flush=True)


if __name__ == "__main__":
    main()
