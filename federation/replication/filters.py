"""Leaves rows out of changes: what a follower with a filter is sent, with every reference to a dataset closed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from federation.changelog import decode_changes, digest_of, encode_changes
from federation.model.change import Change, Operation
from federation.model.log_filter import dataset_columns
from federation.model.logical import TableKind
from federation.model.system_tables import system_tables
from federation.registry.keyed import select_by_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import sqlalchemy as sa

    from federation.model.change import LogEntry
    from federation.model.log_filter import LogFilter
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

    #: (dataset type, RUN) of those of the given ids (16 bytes each) that are datasets of the schema
    FindDatasets = Callable[[Sequence[bytes]], Mapping[bytes, tuple[str, str]]]

__all__ = ["RowFilter", "filtered_entry", "find_datasets", "reading_filter"]


class RowFilter:
    """One follower's filter over the ``tables`` of a schema; ``find`` looks up datasets that a row refers to.

    A row about several datasets is kept when none of them is left out. What is not a dataset of this schema is another
    schema's, and is not left out. Deletions are kept: what is not there is deleted without harm.
    """

    def __init__(self, wanted: LogFilter, tables: Mapping[str, TableDef], find: FindDatasets) -> None:
        self._wanted, self._tables, self._find = wanted, tables, find
        self._admitted: dict[tuple[str, str], bool] = {}

    def keep(self, change: Change, known: Mapping[bytes, bool] | None = None) -> Change | None:
        """The change without the rows that are left out; itself where none is, None where all are.

        ``known`` tells of datasets that are put together with it whether they are kept.
        """
        table = self._tables.get(change.table)
        if not self._wanted.keeps_table(change.table, table.kind if table else None):
            return None
        if change.operation is Operation.DELETE:
            return change
        kept = self._kept_rows(change, table, known or {})
        if kept is None or all(kept):
            return change
        rows = [place for place, is_kept in enumerate(kept) if is_kept]
        if not rows:
            return None
        values = tuple([column[place] for place in rows] for column in map(list, change.values))
        return Change(change.table, change.operation, change.columns, values)

    def keep_all(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """What is kept of the changes of one entry."""
        changes = tuple(changes)
        known: dict[bytes, bool] = {}
        for change in changes:
            if change.table == "dataset" and change.operation is Operation.PUT:
                kept = self._kept_rows(change, self._tables["dataset"], {}) or [True] * change.row_count
                known.update(zip(_column(change, "dataset_id"), kept, strict=True))
        found = (self.keep(change, known) for change in changes)
        return tuple(change for change in found if change is not None)

    def _kept_rows(
        self, change: Change, table: TableDef | None, known: Mapping[bytes, bool]
    ) -> list[bool] | None:
        """For each row whether it is kept; None where all are."""
        if table is None:  # of a dataset type or by a user, and dropped since
            if "dataset_id" not in change.columns or "run" not in change.columns:
                return None
            return [self._admits(change.table, run) for run in _column(change, "run")]
        found = dataset_columns(table)
        if table.kind is TableKind.DATASET_TYPE:
            return [self._admits(table.name, run) for run in _column(change, found.run)]
        if found.run:
            pairs = zip(_column(change, found.dataset_type), _column(change, found.run), strict=True)
            return [self._admits(kind, run) for kind, run in pairs]
        if found.dataset_ids:
            return self._by_ids([_column(change, name) for name in found.dataset_ids], known)
        if found.dataset_type:
            return [self._wanted.admits_type(kind) for kind in _column(change, found.dataset_type)]
        return None

    def _by_ids(self, columns: list[Sequence[bytes]], known: Mapping[bytes, bool]) -> list[bool]:
        asked = {one for column in columns for one in column} - known.keys()
        admitted = {one: self._admits(*pair) for one, pair in self._find(list(asked)).items()}
        admitted.update(known)
        return [
            all(admitted.get(one, True) for one in row)  # unknown: another schema's
            for row in zip(*columns, strict=True)
        ]

    def _admits(self, dataset_type: str, run: str) -> bool:
        pair = (dataset_type, run)
        if pair not in self._admitted:
            self._admitted[pair] = self._wanted.admits(dataset_type, run)
        return self._admitted[pair]


def filtered_entry(entry: LogEntry, rows: RowFilter) -> LogEntry:
    """The entry with the body that its follower is sent; itself where nothing is left out.

    Digest and chain stay those of the whole entry, so that the history can still be told from others.
    """
    changes = decode_changes(entry.body)
    kept = rows.keep_all(changes)
    if len(kept) == len(changes) and all(map(_is_same, kept, changes)):
        return entry
    body = encode_changes(kept)
    count = sum(change.row_count for change in kept)
    return msgspec.structs.replace(entry, body=body, body_digest=digest_of(body), row_count=count)


def find_datasets(
    registry: Registry, held: HeldSchema, connection: sa.Connection
) -> Callable[[Sequence[bytes]], dict[bytes, tuple[str, str]]]:
    """Looks datasets up as an open connection sees them."""
    dataset = registry.physical_tables(held.physical, system_tables())["dataset"]

    def find(ids: Sequence[bytes]) -> dict[bytes, tuple[str, str]]:
        names = ("dataset_id", "dataset_type", "run")
        rows = select_by_keys(
            connection, dataset, ("dataset_id",), [(uuid.UUID(bytes=one),) for one in ids], names
        )
        return {one.bytes: (kind, run) for one, kind, run in rows}

    return find


def reading_filter(
    registry: Registry, held: HeldSchema, wanted: LogFilter, connection: sa.Connection
) -> RowFilter:
    """The filter over a schema as an open connection sees it."""
    tables = registry.tables_in(connection, held.physical)
    return RowFilter(wanted, tables, find_datasets(registry, held, connection))


def _column(change: Change, name: str) -> Sequence[Any]:
    return change.values[change.columns.index(name)]


def _is_same(kept: Change, change: Change) -> bool:
    return kept is change
