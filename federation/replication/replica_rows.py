"""Rows of a replica inside one transaction: collected by table, written as few statements of many rows."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.model.change import Change, Operation
from federation.model.coded import Coded
from federation.model.logical import LogicalType
from federation.registry.bulk import delete_columns, upsert_columns
from federation.registry.registry import DECLARING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from federation.model.logical import TableDef
    from federation.replication.replica_tables import ReplicaTables

__all__ = ["ReplicaRows"]


class ReplicaRows:
    """Takes changes with `add`; `flush` writes what they come to."""

    def __init__(self, tables: ReplicaTables, connection: sa.Connection) -> None:
        self._tables, self._connection = tables, connection
        self._pending: dict[str, _Pending] = {}

    def add(self, change: Change) -> None:
        """Take in one change; a new dataset type gets its table at once.

        `EpochError` for a table that was never declared, `UserError` for columns that this site does not know.
        """
        if change.operation is Operation.DELETE:
            table = self._tables.table_of_keys(change)
        else:
            table = self._tables.table_of(change)
            if change.table in DECLARING:
                self.flush()
                self._tables.declare_from(change, keeps_rows=True)
        pending = self._pending.get(change.table)
        if pending is not None and not pending.takes(change):
            self._write(self._pending.pop(change.table))
            pending = None
        if pending is None:
            pending = self._pending[change.table] = _Pending(table)
        pending.add(change)

    def flush(self) -> None:
        """Write what was collected."""
        for pending in self._pending.values():
            self._write(pending)
        self._pending.clear()

    def _write(self, pending: _Pending) -> None:
        table, connection = pending.table, self._connection
        physical = self._tables.physical(table.name)
        delete_columns(connection, physical, table, pending.gone())
        columns = pending.put()
        try:
            upsert_columns(connection, physical, table, pending.columns, columns)
        except sa.exc.IntegrityError:
            if not table.unique:
                raise
            # a row took over another's unique values: only the state after the last entry is without conflict
            delete_columns(connection, physical, table, pending.keys())
            upsert_columns(connection, physical, table, pending.columns, columns)


class _Pending:
    """What several changes come to for one table: the last word on every key, in order of the last words.

    As long as no key comes twice, columns stay as they came, which is the common case of new rows.
    """

    def __init__(self, table: TableDef) -> None:
        self.table = table
        self.columns: tuple[str, ...] = ()
        self._puts: list[Change] = []
        self._seen: set[Hashable] = set()
        #: by key, once one has come twice or was deleted
        self._rows: dict[Hashable, tuple[Any, ...] | None] | None = None

    def takes(self, change: Change) -> bool:
        """Whether a change has the columns of those before."""
        return change.operation is Operation.DELETE or not self.columns or change.columns == self.columns

    def add(self, change: Change) -> None:
        keys = self._keys_of(change)
        if change.operation is Operation.PUT:
            self.columns = change.columns
            if self._rows is None:
                found = set(keys)
                if len(found) == change.row_count and self._seen.isdisjoint(found):
                    self._seen |= found
                    self._puts.append(change)
                    return
        rows = self._by_row()
        values: Sequence[tuple[Any, ...] | None] = [None] * len(keys)
        if change.operation is Operation.PUT:
            values = change.rows
        for key, row in zip(keys, values, strict=True):
            rows.pop(key, None)
            rows[key] = row

    def _keys_of(self, change: Change) -> Sequence[Hashable]:
        """One value for each row, the same for the same key."""
        key = [change.values[change.columns.index(name)] for name in self.table.key]
        return key[0] if len(key) == 1 else list(zip(*key, strict=True))

    def _by_row(self) -> dict[Hashable, tuple[Any, ...] | None]:
        if self._rows is None:
            self._rows = {}
            for change in self._puts:
                self._rows.update(zip(self._keys_of(change), change.rows, strict=True))
            self._puts.clear()
        return self._rows

    def put(self) -> tuple[Sequence[Any], ...]:
        """Columns of the rows to put."""
        if self._rows is None:
            columns = tuple(map(_joined, zip(*(change.values for change in self._puts), strict=True)))
            return _sorted_by(columns, self._first_place())
        return tuple(zip(*(row for row in self._rows.values() if row is not None), strict=True))

    def _first_place(self) -> int | None:
        """Place of the column that rows lie in the order of, if it is one of random identities."""
        name = (self.table.clustering or self.table.key)[0]
        is_uuid = self.table.column(name).type is LogicalType.UUID
        return self.columns.index(name) if is_uuid and name in self.columns else None

    def gone(self) -> tuple[Sequence[Any], ...]:
        """Key columns of the rows to delete."""
        return self._key_columns([key for key, row in (self._rows or {}).items() if row is None])

    def keys(self) -> tuple[Sequence[Any], ...]:
        """Key columns of all rows, to put or to delete."""
        return self._key_columns(list(self._seen if self._rows is None else self._rows))

    def _key_columns(self, keys: list[Any]) -> tuple[Sequence[Any], ...]:
        if not keys:
            return ()
        return (keys,) if len(self.table.key) == 1 else tuple(zip(*keys, strict=True))


def _sorted_by(columns: tuple[Sequence[Any], ...], place: int | None) -> tuple[Sequence[Any], ...]:
    """The rows in the order of a column: what lies together is then written together."""
    if place is None:
        return columns
    keys = columns[place]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return tuple(
        column if isinstance(column, Coded) and len(column.values) == 1 else [column[row] for row in order]
        for column in columns
    )


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """One column of several parts."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if isinstance(first, Coded) and len(first.values) == 1:
        value = first.values[0]
        if all(isinstance(part, Coded) and part.values == first.values for part in parts) and value != 0:
            return Coded.constant(value, sum(map(len, parts)))
    return list(chain.from_iterable(parts))
