"""Filling empty tables with very many rows: on PostgreSQL their indexes are made once all rows are in.

Sorting the keys of a whole table takes a fraction of the time that putting them into a tree one by one does. The rows
go into a twin of the table that no other transaction sees, which takes the table's place at the end: readers find the
empty table until the commit and wait for nothing but the exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa
from psycopg import sql

from federation.registry.bulk import insert_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from federation.model.logical import TableDef

__all__ = ["Filling"]

#: a table that gets fewer rows at first is filled as it is
TWIN_ROWS_MIN = 4096
#: for sorting keys, of one transaction at a time
_SORT_MEMORY = "256MB"

_INDEXES = """
SELECT c.relname, k.conname IS NOT NULL, coalesce(pg_get_constraintdef(k.oid), substr(pg_get_indexdef(i.indexrelid),
    length(format('CREATE %%sINDEX %%I ON %%I.%%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, c.relname, n.nspname,
        t.relname)) + 1)), i.indisunique
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid
WHERE n.nspname = %(schema)s AND t.relname = %(table)s ORDER BY i.indexrelid
"""


@attrs.define(eq=False)
class _Twin:
    """The table that takes the rows meant for another."""

    name: str
    table: sa.Table


class Filling:
    """Rows for tables that are empty, within one transaction of ``connection``; ends with `finish`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._twins: dict[tuple[str, str], _Twin] = {}

    def insert(
        self, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Sequence[Sequence[Any]]
    ) -> None:
        """As `insert_columns`; a key that comes twice may not be noticed before `finish`."""
        key = (str(physical.schema), physical.name)
        twin = self._twins.get(key)
        is_many = bool(columns) and len(columns[0]) >= TWIN_ROWS_MIN
        if (
            twin is None
            and is_many
            and self._connection.dialect.name == "postgresql"
            and self._is_empty(physical)
        ):
            twin = self._twins[key] = self._twin_of(physical)
        insert_columns(self._connection, physical if twin is None else twin.table, table, names, columns)

    def finish(self) -> None:
        """Make the indexes and put the filled tables in their places.

        Raises `sqlalchemy.exc.IntegrityError` when a key has come twice.
        """
        if self._twins:
            self._execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(_SORT_MEMORY))
        for (schema, name), twin in self._twins.items():
            self._take_place(schema, name, twin)
        self._twins.clear()

    def _is_empty(self, physical: sa.Table) -> bool:
        return (
            self._connection.execute(sa.select(sa.literal(1)).select_from(physical).limit(1)).first() is None
        )

    def _twin_of(self, physical: sa.Table) -> _Twin:
        name = f"federation_filling_{len(self._twins)}"
        schema = str(physical.schema)
        self._execute(
            sql.SQL(
                "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING COMMENTS)"
            ).format(sql.Identifier(schema, name), sql.Identifier(schema, physical.name))
        )
        return _Twin(name, physical.to_metadata(sa.MetaData(), name=name))

    def _take_place(self, schema: str, name: str, twin: _Twin) -> None:
        found = self._connection.exec_driver_sql(_INDEXES, {"schema": schema, "table": name}).all()
        own, place = sql.Identifier(schema, twin.name), sql.Identifier(schema, name)
        made = []
        for number, (index, is_constraint, definition, is_unique) in enumerate(found):
            arriving = sql.Identifier(f"{twin.name}_{number}")
            if is_constraint:
                text = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                    own, arriving, sql.SQL(definition)
                )
            else:
                kind = sql.SQL("CREATE UNIQUE INDEX" if is_unique else "CREATE INDEX")
                text = sql.SQL("{} {} ON {} {}").format(kind, arriving, own, sql.SQL(definition))
            self._execute(text)
            made.append((arriving, index, is_constraint))
        # other readers have to wait from here to the commit
        self._execute(sql.SQL("DROP TABLE {}").format(place))
        self._execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(own, sql.Identifier(name)))
        for arriving, index, is_constraint in made:
            if is_constraint:
                text = sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                    place, arriving, sql.Identifier(index)
                )
            else:
                text = sql.SQL("ALTER INDEX {}.{} RENAME TO {}").format(
                    sql.Identifier(schema), arriving, sql.Identifier(index)
                )
            self._execute(text)

    def _execute(self, statement: sql.Composed) -> None:
        # no parameters: a percent sign in a name stays what it is
        self._connection.exec_driver_sql(statement.as_string())
