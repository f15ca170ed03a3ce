"""One transaction on one schema: rows change, and what changed commits with them as one log entry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from federation.errors import NotFoundError
from federation.model.change import Change, Operation

if TYPE_CHECKING:
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["Row", "Transaction", "chunks", "delete_rows", "select_rows", "upsert_rows"]

Row = Mapping[str, Any]
#: bound values in one statement; SQLite takes 32,766, PostgreSQL 65,535
VALUES_MAX = 8000


def chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most ``size`` values."""
    chunk: list[Any] = []
    for value in values:
        chunk.append(value)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def select_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """Rows whose ``columns`` have one of the value tuples ``keys`` (no NULLs), as mappings."""
    for chunk in chunks(dict.fromkeys(keys), VALUES_MAX // max(len(columns), 1)):
        if len(columns) == 1:
            where = table.c[columns[0]].in_([key[0] for key in chunk])
        else:
            where = sa.tuple_(*(table.c[name] for name in columns)).in_(chunk)
        for row in connection.execute(sa.select(table).where(where)):
            yield dict(row._mapping)


def upsert_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert rows, or replace those that have their keys."""
    if not rows:
        return
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    key = [column.name for column in table.primary_key]
    others = {name: insert.excluded[name] for name in columns if name not in key}
    statement = (
        insert.on_conflict_do_update(index_elements=key, set_=others)
        if others
        else insert.on_conflict_do_nothing(index_elements=key)
    )
    connection.execute(statement, [dict(zip(columns, row, strict=True)) for row in rows])


def delete_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], keys: Sequence[Sequence[Any]]
) -> None:
    """Delete the rows with these keys."""
    if keys:
        where = sa.and_(*(table.c[name] == sa.bindparam(f"key_{name}") for name in columns))
        connection.execute(
            table.delete().where(where),
            [{f"key_{n}": v for n, v in zip(columns, key, strict=True)} for key in keys],
        )


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
        if not rows:
            return
        columns = self.table(name).stored_names
        values = tuple(tuple(row.get(column) for column in columns) for row in rows)
        upsert_rows(self.connection, self._physical[name], columns, values)
        self.changes.append(Change(name, Operation.PUT, columns, values))

    def delete(self, name: str, keys: Sequence[Row]) -> None:
        """Delete the rows with these keys."""
        if not keys:
            return
        columns = self.table(name).key
        values = tuple(tuple(key[column] for column in columns) for key in keys)
        delete_rows(self.connection, self._physical[name], columns, values)
        self.changes.append(Change(name, Operation.DELETE, columns, values))

    def select(
        self, name: str, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> list[dict[str, Any]]:
        """Rows of this schema whose ``columns`` have one of these value tuples."""
        return list(select_rows(self.connection, self.physical(name), columns, keys))

    def known(
        self, name: str, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows by key, of this schema first, then of whatever else the registry holds, replicas included."""
        wanted = set(keys)
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        if name in self.tables:
            for row in select_rows(self.connection, self.physical(name), columns, wanted):
                found[tuple(row[column] for column in columns)] = row
        if wanted - found.keys():
            for row in self.registry.rows_elsewhere(self.held, name, columns, wanted - found.keys()):
                found.setdefault(tuple(row[column] for column in columns), row)
        return found
