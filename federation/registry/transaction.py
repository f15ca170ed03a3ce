"""One transaction on one schema: rows change, and what changed commits with them as one log entry."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.errors import ConflictError, NotFoundError
from federation.model.change import Change, Operation
from federation.model.logical import LogicalType
from federation.registry.bulk import delete_columns, insert_columns, upsert_columns
from federation.registry.keyed import select_by_keys

if TYPE_CHECKING:
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["Row", "Transaction", "select_rows", "stored_values"]

Row = Mapping[str, Any]


def stored_values(type_: LogicalType, values: Sequence[Any]) -> Sequence[Any]:
    """Values of one column as they are stored and logged: a UUID as its 16 bytes, all else as it is."""
    if type_ is not LogicalType.UUID:
        return values
    if uuid.UUID in set(map(type, values)):
        return [value.bytes if isinstance(value, uuid.UUID) else value for value in values]
    return values


def select_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """Rows whose ``columns`` have one of the value tuples ``keys`` (no NULLs), as mappings."""
    names = table.c.keys()
    for row in select_by_keys(connection, table, columns, keys):
        yield dict(zip(names, row, strict=True))


class Transaction:
    """Open for the time of ``with registry.transaction(schema)``; commits at its end, or nothing does."""

    def __init__(self, registry: Registry, held: HeldSchema, connection: sa.Connection) -> None:
        self.registry = registry
        self.held = held
        self.connection = connection
        self.tables: dict[str, TableDef] = registry.tables_in(connection, held.physical)
        self.changes: list[Change] = []
        self._physical = registry.physical_tables(held.physical, tuple(self.tables.values()))

    def table(self, name: str) -> TableDef:
        """The logical table of this name."""
        try:
            return self.tables[name]
        except KeyError:
            raise NotFoundError(
                f"schema {self.held.schema.name} has no table {name!r}",
                hint="a dataset type must be declared first",
            ) from None

    def physical(self, name: str) -> sa.Table:
        """The physical table behind a logical one."""
        self.table(name)
        return self._physical[name]

    def add_table(self, table: TableDef) -> None:
        """Create the physical table of a logical one that this transaction declares."""
        self.tables[table.name] = table
        self._physical = self.registry.physical_tables(self.held.physical, tuple(self.tables.values()))
        self._physical[table.name].create(self.connection, checkfirst=True)

    def put(self, name: str, rows: Sequence[Row]) -> None:
        """Insert rows, or replace those that have their keys; absent columns are NULL."""
        if rows:
            names = self.table(name).stored_names
            self.put_columns(name, {column: [row.get(column) for row in rows] for column in names})

    def put_columns(self, name: str, columns: Mapping[str, Sequence[Any]], *, fresh: bool = False) -> None:
        """`put` from one sequence of values a column, all of one length, with distinct keys.

        A UUID may be one or its 16 bytes. ``fresh`` promises that no row has one of the keys, which is faster;
        `ConflictError` when that is not so, and the transaction must end.
        """
        table = self.table(name)
        count = len(next(iter(columns.values()), ()))
        if not count:
            return
        names = table.stored_names
        values = tuple(
            stored_values(table.column(column).type, columns[column]) if column in columns else [None] * count
            for column in names
        )
        physical = self._physical[name]
        if fresh:
            try:
                insert_columns(self.connection, physical, table, names, values)
            except sa.exc.IntegrityError as error:
                raise ConflictError(
                    f"{self.held.schema}: rows of {name} are there already: {error.orig}",
                    hint="another writer was faster; run the command again",
                ) from error
        else:
            upsert_columns(self.connection, physical, table, names, values)
        self.changes.append(Change(name, Operation.PUT, names, values))

    def delete(self, name: str, keys: Sequence[Row]) -> None:
        """Delete the rows with these keys; whole rows will do."""
        key = self.table(name).key
        self.delete_keys(name, [tuple(row[column] for column in key) for row in keys])

    def delete_keys(self, name: str, keys: Sequence[tuple[Any, ...]]) -> None:
        """Delete the rows with these values of the table's key."""
        if not keys:
            return
        table = self.table(name)
        values = tuple(
            stored_values(table.column(column).type, list(found))
            for column, found in zip(table.key, zip(*keys, strict=True), strict=True)
        )
        change = Change(name, Operation.DELETE, table.key, values)
        delete_columns(self.connection, self._physical[name], table, values)
        self.changes.append(change)

    def select(
        self, name: str, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> list[dict[str, Any]]:
        """Rows of this schema whose ``columns`` have one of these value tuples."""
        return list(select_rows(self.connection, self.physical(name), columns, keys))

    def known(
        self, name: str, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows by key, of this schema first, then of whatever else the registry holds, replicas included."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        wanted = set(keys)
        if name in self.tables:
            for row in select_rows(self.connection, self.physical(name), columns, wanted):
                found[tuple(row[column] for column in columns)] = row
        if wanted - found.keys():
            for row in self.registry.rows_elsewhere(self.held, name, columns, wanted - found.keys()):
                found.setdefault(tuple(row[column] for column in columns), row)
        return found

    def known_keys(
        self, name: str, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> set[tuple[Any, ...]]:
        """Those of ``keys`` that have a row in this schema or anywhere else in the registry."""
        wanted = set(keys)
        found: set[tuple[Any, ...]] = set()
        if name in self.tables:
            found.update(select_by_keys(self.connection, self.physical(name), columns, wanted, columns))
        if wanted - found:
            elsewhere = self.registry.rows_elsewhere(self.held, name, columns, wanted - found)
            found.update(tuple(row[column] for column in columns) for row in elsewhere)
        return found
