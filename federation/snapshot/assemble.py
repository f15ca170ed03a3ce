"""Creating and extending snapshots: closure, registry, files, manifest, and one step in which the result appears.

Every stage leaves durable results in the workspace beside the target and is marked in its journal, so that a run
after a kill goes on behind the last finished stage with the same rows.
"""

from __future__ import annotations

import shutil
import time
import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.clock import tai_now
from federation.datastore import Datastore, TransferJournal, transfer
from federation.datastore.checksum import of_file
from federation.datastore.durable import fsync_directory, make_directories, write_file
from federation.datastore.io_errors import as_federation_error
from federation.errors import ConflictError
from federation.model.position import Position, check_name, name_from
from federation.snapshot import bag_text
from federation.snapshot.bag import PayloadFile, extend_bag, write_bag
from federation.snapshot.closure import ClosureState
from federation.snapshot.files import FilePlan, plan_files
from federation.snapshot.journal import SnapshotJournal
from federation.snapshot.manifest import FILE_NAME, Counts, Increment, SnapshotManifest
from federation.snapshot.progress import FileProgress, Phase, SnapshotProgress
from federation.snapshot.registry_copy import (
    REGISTRY,
    copy_rows,
    create_registry,
    dataset_ids,
    local_artifacts,
    open_registry,
    record_files,
    registry_files,
    row_counts,
    seal,
)
from federation.snapshot.selection import find_seeds
from federation.snapshot.workspace import creation, extension, full_disk_as_limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from federation.datastore import TransferReport
    from federation.model.dimension import DimensionUniverse
    from federation.model.timespan import Clock
    from federation.registry.registry import Registry
    from federation.snapshot.closure import Closure
    from federation.snapshot.selection import Selection
    from federation.snapshot.source import SnapshotSource
    from federation.snapshot.workspace import Workspace

__all__ = ["SnapshotReport", "create_snapshot", "extend_snapshot"]


@attrs.frozen
class SnapshotReport:
    """What was made, or with ``dry_run`` would be.

    ``datasets``, ``records`` (rows of all tables), ``files`` and ``size_bytes`` are of the whole snapshot after a
    creation and of what was added after an extension. ``missing`` names per table the keys that something refers to
    and no site has, under ``file`` datasets whose files are recorded and present nowhere, and under ``schema`` schemas
    that were left out because the caller may not read them. ``rounds`` is 0 for a run that went on behind the closure.
    """

    target: Path
    datasets: int
    records: int
    files: int
    size_bytes: int
    rounds: int
    positions: tuple[Position, ...]
    missing: dict[str, tuple[str, ...]]
    seconds: float
    dry_run: bool = False


def create_snapshot(
    source: SnapshotSource,
    universe: DimensionUniverse,
    target: Path,
    selection: Selection,
    *,
    name: str = "",
    files: bool = True,
    progress: Callable[[SnapshotProgress], None] | None = None,
    workers: int = 8,
    dry_run: bool = False,
    clock: Clock = tai_now,
) -> SnapshotReport:
    """Make the snapshot ``name`` (default: the target's name) at ``target``, which must not exist or be empty.

    Nothing appears at ``target`` until all of it is durable there. A run that was cut short is continued by the same
    call. `LimitError` when space runs out, `UnavailableError` when a site or file can't be read; what was copied is
    kept for the next run. ``dry_run`` only counts.
    """
    started = time.monotonic()
    tell = progress or (lambda _event: None)
    name = check_name("snapshot", name or name_from(target.absolute().name))
    if dry_run:
        return _estimate(source, universe, target, selection, files, set(), tell, started)
    with full_disk_as_limit(target), creation(target) as workspace:
        request = {"create": name, "files": files, "selection": selection.to_json()}
        with SnapshotJournal(workspace.journal_path, request) as journal:
            run = _Run(source, workspace, journal, selection, tell, workers, clock)
            rows = run.rows(lambda: create_registry(workspace.staging, name, universe), universe)
            report, plan = run.files(name, files, into=workspace.staging)
            payload = _payload(report, plan)
            with open_registry(workspace.staging, name) as registry:
                _record(registry, name, payload)
                counts = _counts(registry)
            seal(workspace.staging)
            created = rows["created_tai"]
            increment = Increment(created, str(selection), _positions(rows), counts)
            manifest = SnapshotManifest(
                name, name, created, _positions(rows), str(selection), counts, universe.fingerprint,
                registry_files(workspace.staging), (increment,),
            )  # fmt: skip
            write_file(workspace.staging / FILE_NAME, manifest.to_json())
            write_bag(workspace.staging, [file for file, _ in payload.values()], _info(manifest))
            workspace.publish()
        workspace.discard()
    return _report(target, counts, rows, plan, started)


def extend_snapshot(
    source: SnapshotSource,
    target: Path,
    selection: Selection,
    *,
    files: bool = True,
    progress: Callable[[SnapshotProgress], None] | None = None,
    workers: int = 8,
    dry_run: bool = False,
    clock: Clock = tai_now,
) -> SnapshotReport:
    """Add datasets to the snapshot at ``target``; only files that it lacks are copied.

    The snapshot stays as it was until the addition is complete. Otherwise as `create_snapshot`.
    """
    started = time.monotonic()
    tell = progress or (lambda _event: None)
    manifest = SnapshotManifest.load(target)
    name = manifest.site
    if dry_run:
        with open_registry(target.absolute(), name, read_only=True) as registry:
            known, universe = set(local_artifacts(registry)), registry.universe
        return _estimate(source, universe, target, selection, files, known, tell, started)
    with full_disk_as_limit(target), extension(target) as workspace:
        manifest = SnapshotManifest.load(target)  # the workspace may just have completed another extension
        request = {
            "extend": name,
            "files": files,
            "selection": selection.to_json(),
            "of": len(manifest.increments),
        }
        with SnapshotJournal(workspace.journal_path, request) as journal:
            run = _Run(source, workspace, journal, selection, tell, workers, clock)
            with open_registry(target.absolute(), name, read_only=True) as registry:
                universe, before = registry.universe, _counts(registry)
                known = set(local_artifacts(registry))
            rows = run.rows(lambda: _copied_registry(workspace, name), universe)
            report, plan = run.files(name, files, into=workspace.staging, known=known)
            payload = _payload(report, plan)
            with open_registry(workspace.staging, name) as registry:
                _record(registry, name, payload)
                counts = _counts(registry)
            seal(workspace.staging)
            added = _difference(counts, before)
            increment = Increment(rows["created_tai"], str(selection), _positions(rows), added)
            extended = attrs.evolve(
                manifest.extended(increment, counts), registry_files=registry_files(workspace.staging)
            )
            _move_payload(workspace, [file for file, _ in payload.values()])
            write_file(workspace.staging / FILE_NAME, extended.to_json())
            write_file(workspace.ready_path, b"")
            extend_bag(
                workspace.target, workspace.staging, [file for file, _ in payload.values()],
                tag_files=(*registry_files(workspace.staging), FILE_NAME),
            )  # fmt: skip
        workspace.discard()
    return _report(target, added, rows, plan, started)


class _Run:
    """The stages that creation and extension share."""

    def __init__(
        self,
        source: SnapshotSource,
        workspace: Workspace,
        journal: SnapshotJournal,
        selection: Selection,
        tell: Callable[[SnapshotProgress], None],
        workers: int,
        clock: Clock,
    ) -> None:
        self.source = source
        self.workspace = workspace
        self.journal = journal
        self.selection = selection
        self.tell = tell
        self.workers = workers
        self.clock = clock

    def rows(self, make: Callable[[], Registry], universe: DimensionUniverse) -> dict[str, Any]:
        """Put the closure's rows into the registry that ``make`` gives, unless an earlier run has; what it found."""
        done = self.journal.result("rows")
        if done is not None:
            return {**done, "rounds": 0}
        shutil.rmtree(self.workspace.staging / REGISTRY, ignore_errors=True)  # of a run killed in this stage
        created = self.clock()
        positions = self.source.positions()
        closure = _closure(self.source, universe, self.selection, self.tell)
        self.tell(SnapshotProgress(Phase.ROWS, 0, sum(len(part.rows) for part in closure.rows)))
        registry = make()
        with registry:
            used = {part.source for part in closure.rows}
            positions = tuple(position for position in positions if position.schema_id in used)
            copy_rows(registry, closure, positions)
        total = sum(len(part.rows) for part in closure.rows)
        self.tell(SnapshotProgress(Phase.ROWS, total, total))
        result = {
            "created_tai": created,
            "positions": [str(position) for position in positions],
            "missing": _missing(closure),
            "members": [str(member) for member in sorted(closure.members)],
        }
        fsync_directory(self.workspace.staging)
        self.journal.mark("rows", result)
        return {**result, "rounds": closure.rounds}

    def files(
        self, name: str, wanted: bool, *, into: Path, known: set[uuid.UUID] | None = None
    ) -> tuple[TransferReport | None, FilePlan]:
        """Copy the files of datasets that are not ``known`` to have theirs; the plan says what they are."""
        with open_registry(into, name) as registry:
            rows = self.journal.result("rows") or {}
            members = {uuid.UUID(text) for text in rows.get("members", ())}
            plan = plan_files(registry, members - (known or set()), self.source) if wanted else FilePlan()
        make_directories(into / bag_text.PAYLOAD)
        if self.journal.result("files") is not None:
            return None, attrs.evolve(plan, done=_done(self.journal))
        follow = FileProgress(self.tell, sum(item.size_bytes or 0 for item in plan.items))
        with TransferJournal(self.workspace.transfer_path) as transfers:
            report = transfer(
                plan.items, Datastore(str(into)), journal=transfers, workers=self.workers, progress=follow
            )
        report.raise_for_failure()
        if known is not None:  # an extension moves its files; from here on the journal says what they are
            self.journal.mark(
                "files",
                [[f.key, f.target_path, f.size_bytes, f.checksum] for f in (*report.done, *report.skipped)],
            )
        return report, plan


def _done(journal: SnapshotJournal) -> tuple[tuple[str, str, int, str], ...]:
    return tuple(tuple(row) for row in journal.result("files") or ())


def _closure(
    source: SnapshotSource,
    universe: DimensionUniverse,
    selection: Selection,
    tell: Callable[[SnapshotProgress], None],
) -> Closure:
    state = ClosureState(universe)
    requests = state.start(
        find_seeds(source, selection),
        collections=(*selection.members, *selection.collections),
        calibration_collections=selection.calibrations,
    )
    while requests:
        requests = state.receive(source.lookup(requests))
        tell(SnapshotProgress(Phase.CLOSURE, state.member_count, 0))
    return state.closure()


def _estimate(
    source: SnapshotSource,
    universe: DimensionUniverse,
    target: Path,
    selection: Selection,
    files: bool,
    known: set[uuid.UUID],
    tell: Callable[[SnapshotProgress], None],
    started: float,
) -> SnapshotReport:
    positions = source.positions()
    closure = _closure(source, universe, selection, tell)
    size: dict[uuid.UUID, int] = {}
    for part in closure.table("artifact") if files else ():
        for values in part.rows:
            row = dict(zip(part.columns, values, strict=True))
            if row["present"] and row["dataset_id"] not in known:
                size[row["dataset_id"]] = row["size_bytes"] or 0
    used = {part.source for part in closure.rows}
    return SnapshotReport(
        target, len(closure.members), sum(len(part.rows) for part in closure.rows), len(size),
        sum(size.values()), closure.rounds,
        tuple(position for position in positions if position.schema_id in used),
        {table: tuple(keys) for table, keys in _missing(closure).items()},
        time.monotonic() - started, dry_run=True,
    )  # fmt: skip


def _payload(
    report: TransferReport | None, plan: FilePlan
) -> dict[uuid.UUID, tuple[PayloadFile, dict[str, Any]]]:
    """Files by dataset, each with what the registry shall say of it."""
    if report is None:
        files = plan.done
    else:
        files = tuple(
            (f.key, f.target_path, f.size_bytes, f.checksum) for f in (*report.done, *report.skipped)
        )
    return {
        uuid.UUID(key): (PayloadFile(path, size_bytes, checksum), {"formatter": plan.formatters.get(key)})
        for key, path, size_bytes, checksum in files
    }


def _record(
    registry: Registry, name: str, payload: dict[uuid.UUID, tuple[PayloadFile, dict[str, Any]]]
) -> None:
    record_files(
        registry,
        [
            {
                "dataset_id": dataset_id, "site": name, "uri": file.path, "size_bytes": file.size_bytes,
                "checksum": file.checksum, "present": True, **more,
            }
            for dataset_id, (file, more) in payload.items()
        ],
    )  # fmt: skip


def _counts(registry: Registry) -> Counts:
    own = local_artifacts(registry)
    rows = row_counts(registry)
    size_bytes = sum(row["size_bytes"] for row in own.values())
    return Counts(len(dataset_ids(registry)), len(own), size_bytes, rows)


def _difference(after: Counts, before: Counts) -> Counts:
    rows = {name: count - before.row_count.get(name, 0) for name, count in after.row_count.items()}
    return Counts(
        after.dataset_count - before.dataset_count,
        after.file_count - before.file_count,
        after.size_bytes - before.size_bytes,
        {name: count for name, count in rows.items() if count},
    )


def _copied_registry(workspace: Workspace, name: str) -> Registry:
    directory = workspace.staging / REGISTRY
    make_directories(directory)
    try:
        for path in registry_files(workspace.target):
            shutil.copyfile(workspace.target / path, workspace.staging / path)
    except OSError as error:
        raise as_federation_error(error, "write", str(directory)) from error
    return open_registry(workspace.staging, name)


def _move_payload(workspace: Workspace, payload: list[PayloadFile]) -> None:
    """Move new files from staging into the snapshot, where its manifests do not name them yet."""
    directories = set()
    for file in payload:
        staged, final = workspace.staging / file.path, workspace.target / file.path
        if staged.exists():
            if final.exists() and of_file(final) != (file.size_bytes, file.checksum):
                raise ConflictError(
                    f"{final} is in the way of a new file of the snapshot",
                    hint="run: federation snapshot verify",
                )
            make_directories(final.parent)
            staged.replace(final)
            directories.add(final.parent)
    for directory in directories:
        fsync_directory(directory)


def _info(manifest: SnapshotManifest) -> dict[str, str]:
    moment = time.gmtime(max(0, manifest.created_tai // 1_000_000_000))
    return {
        "Bagging-Date": time.strftime("%Y-%m-%d", moment),
        "External-Identifier": manifest.name,
        "External-Description": manifest.selection or "snapshot",
        "Bag-Software-Agent": "federation",
    }


def _positions(rows: dict[str, Any]) -> tuple[Position, ...]:
    return tuple(Position.parse(text) for text in rows["positions"])


def _missing(closure: Closure) -> dict[str, list[str]]:
    return {
        table: ["/".join(str(value) for value in key) for key in keys]
        for table, keys in closure.missing.items()
    }


def _report(
    target: Path, counts: Counts, rows: dict[str, Any], plan: FilePlan, started: float
) -> SnapshotReport:
    missing = {table: tuple(keys) for table, keys in rows["missing"].items()}
    if plan.absent:
        missing["file"] = tuple(str(dataset_id) for dataset_id in plan.absent)
    return SnapshotReport(
        target, counts.dataset_count, sum(counts.row_count.values()), counts.file_count, counts.size_bytes,
        rows["rounds"], _positions(rows), missing, time.monotonic() - started,
    )  # fmt: skip
