"""Verifies a snapshot: the bag to the last byte, and that registry, manifest and files say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import FederationError
from federation.snapshot import bag_text
from federation.snapshot.bag_text import MANIFEST
from federation.snapshot.file_names import FILE_NAME
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.open import open_snapshot
from federation.snapshot.registry_copy import dataset_ids, local_artifacts
from federation.snapshot.registry_seal import REGISTRY
from federation.snapshot.verify import Problem, ProblemKind, verify_bag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from federation.snapshot.verify import VerifyProgress, VerifyReport

__all__ = ["verify_snapshot"]


def verify_snapshot(
    directory: Path, progress: Callable[[VerifyProgress], None] | None = None, *, workers: int = 2
) -> VerifyReport:
    """Read every byte of the snapshot in ``directory`` and compare; then compare the registry with the manifests."""
    report = verify_bag(directory, progress, workers=workers)
    broken = [problem for problem in report.problems if not problem.path.startswith(f"{bag_text.PAYLOAD}/")]
    if broken:  # a registry that is not what was written can't be asked
        return report
    try:
        problems = (*report.problems, *_inconsistencies(directory))
    except FederationError as error:
        problems = (*report.problems, Problem(REGISTRY, ProblemKind.CHANGED, error.message))
    return attrs.evolve(report, problems=problems)


def _inconsistencies(directory: Path) -> Iterator[Problem]:
    listed = bag_text.parse_manifest((directory / MANIFEST).read_bytes(), MANIFEST)
    counts = SnapshotManifest.load(directory).counts
    with open_snapshot(directory) as registry:
        own, datasets = local_artifacts(registry), dataset_ids(registry)
    for dataset_id, row in own.items():
        if row["present"] and listed.pop(row["uri"], None) != row["checksum"]:
            yield Problem(
                row["uri"], ProblemKind.CHANGED, f"the registry has {row['checksum']} for {dataset_id}"
            )
        if dataset_id not in datasets:
            yield Problem(row["uri"], ProblemKind.SURPLUS, f"dataset {dataset_id} is in no schema")
    for path in listed:
        yield Problem(path, ProblemKind.SURPLUS, "the registry does not know this file")
    if (counts.dataset_count, counts.file_count) != (len(datasets), len(own)):
        yield Problem(
            FILE_NAME,
            ProblemKind.CHANGED,
            f"says {counts.dataset_count} datasets and {counts.file_count} files, "
            f"the registry has {len(datasets)} and {len(own)}",
        )
