"""How two snapshots differ: in datasets, in rows, and in the content of files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.snapshot.changes import as_sources_have_it
from federation.snapshot.open import open_snapshot
from federation.snapshot.registry_copy import (
    copy_rows,
    create_registry,
    dataset_ids,
    local_artifacts,
    read_table,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from federation.registry.registry import Registry
    from federation.snapshot.closure import Closure
    from federation.snapshot.source import SnapshotSource

__all__ = ["DatasetChange", "RecordChange", "SnapshotDiff", "diff", "diff_with_sources"]

Rows = dict[tuple[str, tuple[Any, ...]], frozenset[tuple[Any, ...]]]


@attrs.frozen
class DatasetChange:
    """A dataset in both snapshots, and what of it differs: names of tables, and ``file`` for the content."""

    dataset_id: uuid.UUID
    differs: tuple[str, ...]


@attrs.frozen
class RecordChange:
    """A row that belongs to no single dataset: a dimension record, a collection, a dataset type."""

    table: str
    key: tuple[Any, ...]
    in_a: bool
    in_b: bool


@attrs.frozen
class SnapshotDiff:
    """Datasets in one snapshot only, datasets that differ, and other rows that are not the same in both."""

    only_a: tuple[uuid.UUID, ...]
    only_b: tuple[uuid.UUID, ...]
    changed: tuple[DatasetChange, ...]
    records: tuple[RecordChange, ...]

    @property
    def same(self) -> bool:
        """Whether the snapshots hold the same."""
        return not (self.only_a or self.only_b or self.changed or self.records)


@attrs.frozen
class _Content:
    datasets: AbstractSet[uuid.UUID]
    by_dataset: Mapping[uuid.UUID, Mapping[str, frozenset[Any]]]
    records: Rows
    checksums: Mapping[uuid.UUID, str | None]


def diff(a: Path, b: Path) -> SnapshotDiff:
    """Compare two snapshots by their registries and recorded checksums; no file of datasets is read."""
    with open_snapshot(a) as registry:
        left = _read(registry)
    with open_snapshot(b) as registry:
        right = _read(registry)
    return _compare(left, right)


def _compare(left: _Content, right: _Content) -> SnapshotDiff:
    changed = []
    for dataset_id in sorted(left.datasets & right.datasets):
        mine, theirs = left.by_dataset[dataset_id], right.by_dataset[dataset_id]
        differs = [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
        if left.checksums.get(dataset_id) != right.checksums.get(dataset_id):
            differs.append("file")
        if differs:
            changed.append(DatasetChange(dataset_id, tuple(differs)))
    places = sorted({*left.records, *right.records}, key=lambda place: (place[0], str(place[1])))
    return SnapshotDiff(
        tuple(sorted(left.datasets - right.datasets)),
        tuple(sorted(right.datasets - left.datasets)),
        tuple(changed),
        tuple(
            RecordChange(table, key, (table, key) in left.records, (table, key) in right.records)
            for table, key in places
            if left.records.get((table, key)) != right.records.get((table, key))
        ),
    )


def diff_with_sources(source: SnapshotSource, directory: Path) -> SnapshotDiff:
    """Compare a snapshot (A) with what the sites say now of the datasets that it holds (B); no file is read."""
    with open_snapshot(directory) as registry:
        left, universe = _read(registry), registry.universe
    closure = as_sources_have_it(source, directory, universe)
    with (
        tempfile.TemporaryDirectory(prefix="federation-diff-") as scratch,
        create_registry(Path(scratch), "sources", universe) as registry,
    ):
        copy_rows(registry, closure, ())
        right = _read(registry)
    return _compare(left, attrs.evolve(right, checksums=_recorded(closure, left.checksums)))


def _recorded(closure: Closure, known: Mapping[uuid.UUID, str | None]) -> dict[uuid.UUID, str | None]:
    """Checksums of the sites, of files that the snapshot has: its own where no site has one of that kind."""
    found = dict(known)
    for part in closure.table("artifact"):
        dataset, checksum, present = (
            part.columns.index(name) for name in ("dataset_id", "checksum", "present")
        )
        for row in part.rows:
            here, there = known.get(row[dataset]), row[checksum]
            same_kind = here and there and here.partition(":")[0] == there.partition(":")[0]
            if row[present] and same_kind and there != here:
                found[row[dataset]] = there
    return found


def _read(registry: Registry) -> _Content:
    by_dataset: dict[uuid.UUID, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    records: dict[tuple[str, tuple[Any, ...]], set[tuple[Any, ...]]] = defaultdict(set)
    for held in registry.held():
        if held.owned:
            continue  # only says where the files are
        for table in registry.tables(held.schema).values():
            for row in read_table(registry, held.schema, table.name):
                value = (str(held.schema), *(row[name] for name in table.stored_names))
                if "dataset_id" in row:
                    by_dataset[row["dataset_id"]][table.name].add(value)
                else:
                    records[table.name, tuple(row[name] for name in table.key)].add(value)
    return _Content(
        dataset_ids(registry),
        {
            dataset_id: {name: frozenset(rows) for name, rows in tables.items()}
            for dataset_id, tables in by_dataset.items()
        },
        {place: frozenset(rows) for place, rows in records.items()},
        {dataset_id: row["checksum"] for dataset_id, row in local_artifacts(registry).items()},
    )
