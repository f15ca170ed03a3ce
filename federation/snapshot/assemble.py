"""Creating snapshots and changing them: rows, files, manifests, and one step in which the result appears."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import attrs

from federation.clock import tai_now
from federation.datastore.checksum import of_file
from federation.datastore.copying import CopyMode
from federation.datastore.durable import fsync_directory, make_directories, write_file
from federation.datastore.io_errors import as_federation_error
from federation.errors import ConflictError
from federation.model.position import check_name, name_from
from federation.snapshot.bag import PayloadFile, extend_bag, write_bag
from federation.snapshot.crate import CRATE, describe
from federation.snapshot.file_names import FILE_NAME
from federation.snapshot.journal import SnapshotJournal
from federation.snapshot.making import Making, closure_of, counts_of
from federation.snapshot.manifest import Counts, Increment, Refusal, SnapshotManifest
from federation.snapshot.packed_ids import PackedIds
from federation.snapshot.registry_copy import create_registry, ids_with_files, open_registry, own_files
from federation.snapshot.registry_seal import REGISTRY, registry_files, seal, write_own_log
from federation.snapshot.report import SnapshotReport, estimate
from federation.snapshot.workspace import creation, extension, full_disk_as_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from federation.model.dimension import DimensionUniverse
    from federation.model.timespan import Clock
    from federation.registry.registry import Registry
    from federation.snapshot.closure import Closure
    from federation.snapshot.progress import SnapshotProgress
    from federation.snapshot.selection import Selection
    from federation.snapshot.source import SnapshotSource
    from federation.snapshot.workspace import Workspace

__all__ = ["Change", "SnapshotReport", "change_snapshot", "create_snapshot", "extend_snapshot"]


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
    mode: CopyMode = CopyMode.STREAM,
    dry_run: bool = False,
    discard: bool = False,
    clock: Clock = tai_now,
) -> SnapshotReport:
    """Make the snapshot ``name`` (default: the target's name) at ``target``, which must not exist or be empty.

    Nothing appears at ``target`` until all of it is durable there. A run that was cut short is continued by the same
    call, or with ``discard`` forgotten. `LimitError` when space runs out, `UnavailableError` when a site or file can't
    be read; what was copied is kept for the next run. ``dry_run`` only counts. ``mode`` is for files that are on this
    computer.
    """
    started = time.monotonic()
    tell = progress or (lambda _event: None)
    name = check_name("snapshot", name or name_from(target.absolute().name))
    if dry_run:
        closure = closure_of(source, universe, selection, tell)
        return estimate(source, closure, target, files=files, known=set(), started=started)
    with full_disk_as_limit(target), creation(target, discard=discard) as workspace:
        request = {"create": name, "files": files, "selection": selection.to_json()}
        with SnapshotJournal(workspace.journal_path, request) as journal:
            making = Making(source, workspace, journal, tell, workers, clock, mode)
            rows = making.rows(
                lambda: closure_of(source, universe, selection, tell),
                lambda _closure: create_registry(workspace.staging, name, universe),
                lambda _closure: [],
            )
            copied = making.files(name, wanted=files)
            created = rows["created_tai"]
            with open_registry(workspace.staging, name) as registry:
                write_own_log(registry, f"{name} {created} 0", created)
                counts = counts_of(registry)
                increment = _increment("create", str(selection), selection.to_json(), rows, copied, counts)
                manifest = SnapshotManifest(
                    name, name, created, tuple(rows["positions"]), str(selection), counts, universe.fingerprint,
                    registry_files(workspace.staging), (increment,),
                )  # fmt: skip
                crate = describe(manifest, registry)
            seal(workspace.staging)
            write_file(workspace.staging / FILE_NAME, manifest.to_json())
            write_file(workspace.staging / CRATE, crate)
            with open_registry(workspace.staging, name, read_only=True) as registry:
                write_bag(workspace.staging, _payload(registry, PackedIds()), _info(manifest))
            workspace.publish()
        workspace.discard()
    return SnapshotReport.of(target, counts, rows, copied, started)


def extend_snapshot(
    source: SnapshotSource,
    target: Path,
    selection: Selection,
    *,
    files: bool = True,
    progress: Callable[[SnapshotProgress], None] | None = None,
    workers: int = 8,
    mode: CopyMode = CopyMode.STREAM,
    dry_run: bool = False,
    discard: bool = False,
    clock: Clock = tai_now,
) -> SnapshotReport:
    """Add datasets to the snapshot at ``target``; only files that it lacks are copied.

    The snapshot stays as it was until the addition is complete. Otherwise as `create_snapshot`.
    """
    tell = progress or (lambda _event: None)

    def found(universe: DimensionUniverse) -> Closure:
        return closure_of(source, universe, selection, tell)

    change = Change("extend", str(selection), selection.to_json(), files, found)
    return change_snapshot(
        source, target, change, progress=progress, workers=workers, mode=mode, dry_run=dry_run, discard=discard,
        clock=clock,
    )  # fmt: skip


@attrs.frozen
class Change:
    """What is to become of a snapshot.

    ``find`` gives, for its universe, the rows that are added to those that it has, or with ``anew`` take their
    place, and the datasets whose files are copied, where ``files``. ``keep`` puts what shall stay from the old registry
    into the new one; it gives the datasets that are gone from all sites. ``text`` and ``request`` say what was asked.
    """

    kind: str
    text: str
    request: dict[str, Any]
    files: bool
    find: Callable[[DimensionUniverse], Closure]
    anew: bool = False
    moves_positions: bool = True
    keep: Callable[[Registry, Registry, Closure], list[str]] | None = None


def change_snapshot(
    source: SnapshotSource,
    target: Path,
    change: Change,
    *,
    progress: Callable[[SnapshotProgress], None] | None = None,
    workers: int = 8,
    mode: CopyMode = CopyMode.STREAM,
    dry_run: bool = False,
    discard: bool = False,
    clock: Clock = tai_now,
) -> SnapshotReport:
    """Carry out a change of the snapshot at ``target``, in one step for those who read it."""
    started = time.monotonic()
    tell = progress or (lambda _event: None)
    name = SnapshotManifest.load(target).site
    if dry_run:
        with open_registry(target.absolute(), name, read_only=True) as registry:
            known, universe = ids_with_files(registry), registry.universe
        closure = change.find(universe)
        return estimate(source, closure, target, files=change.files, known=known, started=started)
    with full_disk_as_limit(target), extension(target, discard=discard) as workspace:
        manifest = SnapshotManifest.load(target)  # the workspace may just have completed another extension
        request = {
            change.kind: name,
            "files": change.files,
            "selection": change.request,
            "of": len(manifest.increments),
        }
        with SnapshotJournal(workspace.journal_path, request) as journal:
            making = Making(source, workspace, journal, tell, workers, clock, mode)
            with open_registry(target.absolute(), name, read_only=True) as old:
                universe, before, known = old.universe, counts_of(old), ids_with_files(old)
                gone: list[str] = []

                def make(closure: Closure) -> Registry:
                    if not change.anew:
                        return _copied_registry(workspace, name)
                    made = create_registry(workspace.staging, name, universe)
                    if change.keep is not None:
                        gone.extend(change.keep(old, made, closure))
                    return made

                rows = making.rows(
                    lambda: change.find(universe), make, lambda _closure: gone, moves=change.moves_positions
                )
            copied = making.files(name, wanted=change.files, before_bytes=before.size_bytes)
            moment = rows["created_tai"]
            with open_registry(workspace.staging, name) as registry:
                write_own_log(registry, f"{name} {manifest.created_tai} {len(manifest.increments)}", moment)
                counts, payload = counts_of(registry), list(_payload(registry, known))
                added = _difference(counts, before)
                increment = _increment(change.kind, change.text, change.request, rows, copied, added)
                extended = attrs.evolve(
                    manifest.extended(increment, counts), registry_files=registry_files(workspace.staging)
                )
                crate = describe(extended, registry)
            seal(workspace.staging)
            _move_payload(workspace, payload)
            write_file(workspace.staging / FILE_NAME, extended.to_json())
            write_file(workspace.staging / CRATE, crate)
            write_file(workspace.ready_path, b"")
            extend_bag(
                workspace.target, workspace.staging, payload,
                tag_files=(*registry_files(workspace.staging), FILE_NAME, CRATE),
            )  # fmt: skip
        workspace.discard()
    return SnapshotReport.of(target, added, rows, copied, started)


def _payload(registry: Registry, known: PackedIds) -> Iterator[PayloadFile]:
    """The files of all datasets but the known ones, in order of path."""
    return (
        PayloadFile(row["uri"], row["size_bytes"], row["checksum"])
        for row in own_files(registry)
        if not known or row["dataset_id"] not in known
    )


def _increment(
    kind: str,
    text: str,
    request: dict[str, Any],
    rows: dict[str, Any],
    copied: dict[str, Any],
    added: Counts,
) -> Increment:
    missing = {table: tuple(keys) for table, keys in rows["missing"].items()}
    if copied["absent"]:
        missing["file"] = tuple(copied["absent"])
    refused = tuple(Refusal(*one) for one in (*rows["refused"], *copied["refused"]))
    return Increment(
        rows["created_tai"], text, tuple(rows["positions"]), added, kind, request, missing, refused
    )


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
