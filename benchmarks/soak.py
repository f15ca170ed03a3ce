"""Half an hour of three sites: steady ingest at the summit, two followers, random kills; then a proof of equality.

    python benchmarks/soak.py [--json] [--quick] [--minutes M] [--seed S] [--rate DATASETS_PER_S]

Real server processes (summit on SQLite, base and ncsa on PostgreSQL of their own), one of which is killed with SIGKILL
every ten to thirty seconds and started again at once; a writing process, killed too, commits to the summit's registry
ten times a second, adds, changes and removes datasets. Every two seconds the memory of each process, the lag of each
replica and the space of the summit are noted. At the end the writer stops, the replicas catch up, and each is compared
with its owner row by row.

With --json, one object a line: name, n, ours, peer, ratio, goal. Memory (MB) is the peak in the last third of the time
against that in the first third, lag (s) the age of replicas against the time that a restart may take, differences the
rows that are not equal.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import attrs
import psutil
import sqlalchemy as sa
from rich.progress import Progress

import federation
from federation.config import SiteConfig, find_site
from federation.errors import FederationError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.registry import collections, dataset_types, dimensions
from federation.registry.datasets import insert_many
from federation.registry.registry import Registry
from federation.registry.removal import remove_datasets

SITES = {"summit": "sqlite", "base": "postgresql", "ncsa": "postgresql"}
COMMITS_PER_S = 10
SAMPLE_S = 2.0
KILL_EVERY_S = (10.0, 30.0)
#: how old a replica may be: a killed server, its own or the summit's, is started at once but takes a while
LAG_BOUND_S = 15.0
CATCH_UP_S = 120.0
DETECTORS = 100
#: the writer's RUNs; the datasets of the oldest are removed before it is written again
RUNS, RUNS_HELD = 64, 50
KEEP_LOG_S = 120


@attrs.define
class Soak:
    """The running sites and what was noted of them."""

    directory: Path
    seed: int
    rate: float
    processes: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)
    memory: dict[str, list[tuple[float, float]]] = attrs.field(factory=dict)
    lags: list[float] = attrs.field(factory=list)
    space: list[tuple[float, float]] = attrs.field(factory=list)
    kills: int = 0
    silent: int = 0

    def start(self, name: str) -> None:
        """Start a site's server, or the writer."""
        command = (
            [sys.executable, __file__, "--write", str(self.directory), "--rate", str(self.rate)]
            if name == "writer"
            else [sys.executable, "-m", "federation", "site", "serve", name, "--sites", str(self.directory)]
        )
        log = (self.directory / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    def kill(self, name: str) -> None:
        """End a process as a power cut would, and start it again."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.kills += 1
        self.start(name)

    def sample(self, elapsed_s: float) -> None:
        """Note memory, lag and space."""
        for name, process in self.processes.items():
            try:
                rss = psutil.Process(process.pid).memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self.memory.setdefault(name, []).append((elapsed_s, rss / 1e6))
        self.space.append((elapsed_s, _megabytes(find_site("summit", self.directory).registry_dir)))
        for report in federation.site_status(sites=self.directory):
            if report.status is None:
                self.silent += 1
                continue
            for held in report.status.schemas:
                if not held.owned and held.staleness_s is not None:
                    self.lags.append(held.staleness_s)

    def is_caught_up(self) -> bool:
        """Whether every replica is where the summit's log ends."""
        reports = {report.site: report.status for report in federation.site_status(sites=self.directory)}
        if any(status is None for status in reports.values()):
            return False
        heads = {
            held.schema: held.lsn
            for status in reports.values()
            if status is not None
            for held in status.schemas
            if held.owned
        }
        found = [
            held.lsn == heads.get(held.schema)
            for status in reports.values()
            if status is not None
            for held in status.schemas
            if not held.owned and held.schema.site == "summit"
        ]
        return len(found) == len(SITES) - 1 and all(found)

    def end(self) -> None:
        """End all processes that were started."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _megabytes(directory: Path) -> float:
    return sum(file.stat().st_size for file in directory.iterdir() if file.is_file()) / 1e6


def make_sites(directory: Path) -> None:
    """Three sites; base and ncsa follow the summit, ncsa base too."""
    root = directory.parent
    follow = {"summit": {}, "base": {"summit": ["*"]}, "ncsa": {"summit": ["*"], "base": ["*"]}}
    for name, registry in SITES.items():
        federation.init_site(
            name, sites=directory, root=root / name, registry=registry, follow=follow[name] or None
        )
    with (directory / "summit.toml").open("a") as file:
        file.write(f"\n[log]\nkeep_s = {KEEP_LOG_S}\n")


def prepare(config: SiteConfig) -> None:
    """What the datasets of the soak refer to."""
    with Registry.open(config) as registry, registry.transaction(registry.site) as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        detectors = [{"instrument": "Cam", "id": n, "full_name": f"d{n}"} for n in range(DETECTORS)]
        dimensions.insert_records(tx, "detector", detectors)
        dataset_types.declare(tx, DatasetType("dark", ("detector",), "Exposure"))


def write(directory: Path, rate: float) -> None:
    """Commit ten times a second until killed; now and then a run of before is removed."""
    per_commit = max(1, min(DETECTORS, round(rate / COMMITS_PER_S)))
    with Registry.open(find_site("summit", directory)) as registry:
        runs: list[list[uuid.UUID]] = []
        number = 0
        with registry.transaction(registry.site) as tx:  # what a writer before this one has left
            dataset = tx.physical("dataset")
            remove_datasets(
                tx, "dark", tx.connection.execute(sa.select(dataset.c.dataset_id)).scalars().all()
            )
        due = time.monotonic()
        while True:
            number += 1
            run = f"soak/{number % RUNS}"
            with registry.transaction(registry.site) as tx:
                collections.register(tx, Collection(run, CollectionType.RUN))
                ids = [{"instrument": "Cam", "detector": n} for n in range(per_commit)]
                runs.append([uuid.UUID(bytes=one) for one in insert_many(tx, "dark", run, ids).ids])
                if len(runs) > RUNS_HELD:
                    remove_datasets(tx, "dark", runs.pop(0))
            due += 1 / COMMITS_PER_S
            time.sleep(max(0.0, due - time.monotonic()))


def run(directory: Path, minutes: float, seed: int, rate: float) -> list[dict[str, object]]:
    """The whole soak; its lines."""
    make_sites(directory)
    prepare(find_site("summit", directory))
    soak, chance = Soak(directory, seed, rate), random.Random(seed)
    try:
        for name in (*SITES, "writer"):
            soak.start(name)
        federation.site_status(sites=directory, wait_s=60)
        began = time.monotonic()
        kill_at = began + chance.uniform(*KILL_EVERY_S)
        total_s = minutes * 60
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("soak", total=total_s)
            while (elapsed_s := time.monotonic() - began) < total_s:
                if time.monotonic() >= kill_at:
                    soak.kill(chance.choice([*SITES, "writer"]))
                    kill_at = time.monotonic() + chance.uniform(*KILL_EVERY_S)
                soak.sample(elapsed_s)
                progress.update(task, completed=elapsed_s)
                time.sleep(SAMPLE_S)
        soak.processes["writer"].kill()
        soak.processes.pop("writer").wait()
        return [*_lines(soak, total_s), *_proof(soak)]
    finally:
        soak.end()


def _lines(soak: Soak, total_s: float) -> list[dict[str, object]]:
    lines = []
    for name, series in [*soak.memory.items(), ("summit_disk", soak.space)]:
        early = max((value for at, value in series if at < total_s / 3), default=0.0)
        late = max((value for at, value in series if at > 2 * total_s / 3), default=0.0)
        lines.append(_line(f"memory.{name}" if name in soak.memory else name, soak.kills, late, early, 0.9))
    lags = sorted(soak.lags)
    lines.append(_line("lag.median", len(lags), statistics.median(lags), LAG_BOUND_S, 1.0))
    lines.append(_line("lag.p99", len(lags), lags[int(len(lags) * 0.99)], LAG_BOUND_S, 1.0))
    return lines


def _proof(soak: Soak) -> list[dict[str, object]]:
    """That all replicas equal their owners."""
    began = time.monotonic()
    while not soak.is_caught_up():
        if time.monotonic() - began > CATCH_UP_S:
            raise SystemExit(f"replicas did not catch up in {CATCH_UP_S:g} s; logs are in {soak.directory}")
        time.sleep(0.2)
    lines = [_line("catch_up", soak.kills, time.monotonic() - began, CATCH_UP_S, 1.0)]
    rows = differences = 0
    for name in SITES:
        for report in federation.verify_replica(name, sites=soak.directory):
            rows += sum(table.row_count for table in report.tables)
            differences += sum(not table.is_equal for table in report.tables)
    if not rows:
        raise SystemExit("nothing was written or nothing compared")
    lines.append(
        {
            "name": "differences",
            "n": rows,
            "ours": differences,
            "peer": 0,
            "ratio": float(not differences),
            "goal": 1,
        }
    )
    return lines


def _line(name: str, n: int, ours: float, peer: float, goal: float) -> dict[str, object]:
    ratio = round(peer / ours, 2) if ours else 99.0
    return {
        "name": name,
        "n": n,
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": ratio,
        "goal": goal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=500.0, help="datasets a second")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write, arguments.rate)
        return
    minutes = 0.5 if arguments.quick else arguments.minutes
    with tempfile.TemporaryDirectory(prefix="federation-soak-", ignore_cleanup_errors=True) as root:
        try:
            lines = run(Path(root) / "sites", minutes, arguments.seed, arguments.rate)
        except FederationError as error:
            raise SystemExit(f"error: {error}") from error
    for line in lines:
        if arguments.json:
            print(json.dumps(line), flush=True)
        else:
            print("{name}: {ours} (against {peer}), ratio {ratio}, goal {goal}".format(**line), flush=True)


if __name__ == "__main__":
    main()
