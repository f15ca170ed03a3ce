"""Changes of a snapshot that choose no more datasets: files that it lacks, and what its sources have come to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError
from federation.registry.keyed import chunks
from federation.snapshot.assemble import Change
from federation.snapshot.closure import Closure, ClosureState
from federation.snapshot.collected import CollectedRows, TableRows
from federation.snapshot.lookup import RowsByIds
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.open import open_snapshot
from federation.snapshot.options import ClosureOptions
from federation.snapshot.packed_ids import PackedIds
from federation.snapshot.registry_copy import (
    copy_rows,
    dataset_ids,
    ids_with_files,
    own_files,
    read_table,
    record_files,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable
    from pathlib import Path

    from federation.model.dimension import DimensionUniverse
    from federation.registry.registry import Registry
    from federation.snapshot.source import SnapshotSource

#: files noted at a time
_FILES = 2000

__all__ = ["as_sources_have_it", "fetching", "refreshing"]


def fetching(source: SnapshotSource, directory: Path, ids: Iterable[uuid.UUID] | None) -> Change:
    """Bring the files of datasets that the snapshot has without, of ``ids`` or of all.

    `NotFoundError` for a dataset that is not in the snapshot.
    """
    with open_snapshot(directory) as registry:
        held, files = dataset_ids(registry), ids_with_files(registry)
    wanted = held if ids is None else PackedIds(ids)
    if wanted - held:
        raise NotFoundError(
            f"dataset {min(wanted - held)} is not in the snapshot {directory}",
            hint="add it: federation snapshot extend",
        )
    lacking = wanted - files

    def find(_universe: DimensionUniverse) -> Closure:
        """Where the files are now: they may have been moved since."""
        collected = CollectedRows()
        for answer in source.lookup((RowsByIds("artifact", "dataset_id", lacking),)) if lacking else ():
            for _row in collected.add(answer, ("dataset_id", "site")):
                pass
        return Closure(lacking, collected.select(lambda _table, _row: True), {}, 1)

    request = {"ids": "all" if ids is None else sorted(map(str, wanted))}
    text = "files of all datasets" if ids is None else f"files of {len(wanted)} datasets"
    return Change("fetch", text, request, files=True, find=find, moves_positions=False)


def refreshing(source: SnapshotSource, directory: Path, *, files: bool = False) -> Change:
    """Give the rows of the snapshot's datasets the state that they have at the sites now; ``files`` brings files too.

    Datasets that are gone from all sites stay as they were.
    """

    def find(universe: DimensionUniverse) -> Closure:
        return as_sources_have_it(source, directory, universe)

    text = "what the sites have of it now"
    return Change("refresh", text, {}, files=files, find=find, anew=True, keep=_keep)


def as_sources_have_it(source: SnapshotSource, directory: Path, universe: DimensionUniverse) -> Closure:
    """All that a snapshot has of its datasets, and no others, as the sites have it now."""
    manifest = SnapshotManifest.load(directory)
    requests = [one.request for one in manifest.increments if one.request]
    named = {name for one in requests for key in ("members", "collections") for name in one.get(key, ())}
    searched = {name for one in requests for name in one.get("calibrations", ())}
    options = [ClosureOptions.from_json(one["options"]) for one in requests if "options" in one]
    tables = {name for one in options for name in one.user_tables}
    with open_snapshot(directory) as registry:
        held = dataset_ids(registry)
    state = ClosureState(
        universe,
        ClosureOptions(
            fixed=True, metrics=all(one.metrics for one in options), user_tables=tuple(sorted(tables))
        ),
    )
    wanted = state.start(held, collections=sorted(named | searched))
    while wanted:
        wanted = state.receive(source.lookup(wanted))
    return state.closure()


def _keep(old: Registry, made: Registry, closure: Closure) -> list[str]:
    """Put the files, and rows of datasets that no site has any more, into the new registry; these datasets."""
    gone = {key[0] for key in closure.missing.get("dataset", ())}
    if gone:
        parts = []
        for held in old.held():
            if held.owned:
                continue
            for table in old.tables(held.schema).values():
                names = table.stored_names
                rows = tuple(
                    tuple(row[name] for name in names)
                    for row in read_table(old, held.schema, table.name)
                    # definitions and records may be needed by those that stay
                    if "dataset_id" not in names or row["dataset_id"] in gone
                )
                if rows:
                    parts.append(TableRows(held.schema, table.name, names, rows))
        copy_rows(made, attrs.evolve(closure, rows=tuple(parts)), ())
    for files in chunks(own_files(old), _FILES):
        record_files(made, files)
    return sorted(map(str, gone))
