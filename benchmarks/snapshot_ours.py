"""Our side of benchmarks/snapshot.py, in a process of its own: makes a snapshot of all images and what they need."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from snapshot_data import SITE, open_site

from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.snapshot.assemble import create_snapshot
from federation.snapshot.progress import Phase, SnapshotProgress
from federation.snapshot.selection import Selection
from federation.snapshot.source import FederatedSource


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(site: Path, target: Path, visits: int) -> None:
    """Make the snapshot ``target``, or go on with it; prints seconds, datasets, and peak memory, also by phase."""
    registry, store = open_site(site)
    peaks: dict[Phase, float] = {}

    def look(event: SnapshotProgress) -> None:
        peaks[event.phase] = peak_mb()

    began = time.perf_counter()
    with registry, Coordinator(SITE, {SITE: LocalSite(registry)}) as coordinator:
        started_mb = peak_mb()
        report = create_snapshot(
            FederatedSource(coordinator, stores={SITE: store}),
            registry.universe,
            target,
            Selection(sql=f"SELECT dataset_id FROM calexp WHERE visit < {visits}"),
            progress=look,
            clock=lambda: 10**18,
        )
    found = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time(),
        "datasets": report.datasets,
        "files": report.files,
        "memory_mb": peak_mb(),
        "by_phase": {"start": round(started_mb), **{phase: round(peak) for phase, peak in peaks.items()}},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
