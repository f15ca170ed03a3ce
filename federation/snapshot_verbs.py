"""The verbs of ``federation snapshot``, for programs and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from federation.datastore import Datastore
from federation.registry.butler.writing import ExportReport, write_export
from federation.session import connect
from federation.snapshot import assemble, consistency
from federation.snapshot.changes import fetching, refreshing
from federation.snapshot.diff import SnapshotDiff, diff, diff_with_sources
from federation.snapshot.open import open_snapshot
from federation.snapshot.registry_copy import dataset_ids, local_artifacts
from federation.snapshot.source import FederatedSource
from federation.snapshot_choice import read_ids, selection_of

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Sequence

    from federation.snapshot.assemble import SnapshotReport
    from federation.snapshot.options import ClosureOptions
    from federation.snapshot.progress import SnapshotProgress
    from federation.snapshot.verify import VerifyProgress, VerifyReport

__all__ = [
    "create_snapshot",
    "diff_snapshots",
    "export_snapshot",
    "extend_snapshot",
    "fetch_files",
    "refresh_snapshot",
    "verify_snapshot",
]


def create_snapshot(
    target: str | Path,
    *,
    site: str | Path | None = None,
    sites: str | Path = "sites",
    name: str = "",
    where: str | None = None,
    dataset_types: Sequence[str] = (),
    sql: str | None = None,
    ids: Iterable[uuid.UUID] | Path | None = None,
    members: Sequence[str] = (),
    calibrations: Sequence[str] = (),
    options: ClosureOptions | None = None,
    files: bool = True,
    dry_run: bool = False,
    discard: bool = False,
    progress: Callable[[SnapshotProgress], None] | None = None,
    user: str | None = None,
) -> SnapshotReport:
    """Make a snapshot at ``target`` of chosen datasets and all they depend on, wherever it lives.

    Chosen is what ``sql`` gives as ``dataset_id``, what of ``dataset_types`` meets the condition ``where``, ``ids`` (or
    a file with one a line), and all of the collections ``members``. ``calibrations`` names collections to search for
    calibrations valid for what is chosen; ``options`` say how far the closure goes. The same call continues a run that
    was cut short, unless ``discard``. ``user`` is on whose behalf it is made: what they may not read is left out, and
    listed in the report and in the snapshot.
    """
    selection = selection_of(where, dataset_types, sql, ids, members, calibrations, options)
    with connect(site, sites, user=user) as session:
        return assemble.create_snapshot(
            FederatedSource(session.coordinator),
            session.universe,
            Path(target),
            selection,
            name=name,
            files=files,
            progress=progress,
            dry_run=dry_run,
            discard=discard,
        )


def extend_snapshot(
    target: str | Path,
    *,
    site: str | Path | None = None,
    sites: str | Path = "sites",
    where: str | None = None,
    dataset_types: Sequence[str] = (),
    sql: str | None = None,
    ids: Iterable[uuid.UUID] | Path | None = None,
    members: Sequence[str] = (),
    calibrations: Sequence[str] = (),
    options: ClosureOptions | None = None,
    files: bool = True,
    dry_run: bool = False,
    discard: bool = False,
    progress: Callable[[SnapshotProgress], None] | None = None,
    user: str | None = None,
) -> SnapshotReport:
    """Add datasets to the snapshot at ``target``, chosen as for `create_snapshot`; only what it lacks is copied."""
    selection = selection_of(where, dataset_types, sql, ids, members, calibrations, options)
    with connect(site, sites, user=user) as session:
        return assemble.extend_snapshot(
            FederatedSource(session.coordinator),
            Path(target),
            selection,
            files=files,
            progress=progress,
            dry_run=dry_run,
            discard=discard,
        )


def fetch_files(
    target: str | Path,
    ids: Iterable[uuid.UUID] | Path | None = None,
    *,
    site: str | Path | None = None,
    sites: str | Path = "sites",
    dry_run: bool = False,
    discard: bool = False,
    progress: Callable[[SnapshotProgress], None] | None = None,
    user: str | None = None,
) -> SnapshotReport:
    """Bring files of datasets that the snapshot at ``target`` has as rows only: of ``ids``, or of all."""
    wanted = read_ids(ids) if isinstance(ids, Path) else ids
    with connect(site, sites, user=user) as session:
        source = FederatedSource(session.coordinator)
        change = fetching(source, Path(target), wanted)
        return assemble.change_snapshot(
            source, Path(target), change, progress=progress, dry_run=dry_run, discard=discard
        )


def refresh_snapshot(
    target: str | Path,
    *,
    site: str | Path | None = None,
    sites: str | Path = "sites",
    files: bool = False,
    discard: bool = False,
    progress: Callable[[SnapshotProgress], None] | None = None,
    user: str | None = None,
) -> SnapshotReport:
    """Bring the rows of the snapshot's datasets up to date with the sites; with ``files``, files that it lacks too.

    No dataset is added. Those that no site has any more stay, and the report names them as ``gone``.
    """
    with connect(site, sites, user=user) as session:
        source = FederatedSource(session.coordinator)
        change = refreshing(source, Path(target), files=files)
        return assemble.change_snapshot(source, Path(target), change, progress=progress, discard=discard)


def verify_snapshot(
    path: str | Path, progress: Callable[[VerifyProgress], None] | None = None
) -> VerifyReport:
    """Read every byte of a snapshot and compare; the report says what differs, and can raise for it."""
    return consistency.verify_snapshot(Path(path), progress)


def diff_snapshots(
    a: str | Path,
    b: str | Path | None = None,
    *,
    site: str | Path | None = None,
    sites: str | Path = "sites",
    user: str | None = None,
) -> SnapshotDiff:
    """How two snapshots differ, by registries and recorded checksums; without ``b``, how ``a`` and the sites do."""
    if b is not None:
        return diff(Path(a), Path(b))
    with connect(site, sites, user=user) as session:
        return diff_with_sources(FederatedSource(session.coordinator), Path(a))


def export_snapshot(
    path: str | Path, target: str | Path, *, copy: bool = True, leave_out: bool = False
) -> ExportReport:
    """Write ``target/export.yaml``, which ``Butler.import_`` of the Rubin Data Butler reads, with the files beside it.

    Without ``copy``, files stay in the snapshot and are named by absolute URL. Datasets whose files the snapshot lacks
    are left out. What a Butler can't hold is refused, or with ``leave_out`` left out and told in the report.
    """
    source, directory = Path(path).absolute(), Path(target)
    with open_snapshot(source) as registry:
        own = local_artifacts(registry)
        replica = next(held.schema for held in registry.held() if not held.owned)
        directory.mkdir(parents=True, exist_ok=True)
        return write_export(
            registry,
            directory / "export.yaml",
            schema=replica,
            ids=sorted(dataset_ids(registry) & own.keys()),
            transfer="copy" if copy else "direct",
            directory=directory if copy else None,
            datastore=Datastore(str(source)),
            leave_out=leave_out,
        )
