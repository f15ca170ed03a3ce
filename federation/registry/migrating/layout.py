"""Makes the tables of a schema what this software would have made: missing ones, other constraints, indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LayoutChange", "align_tables"]

#: a table while it is made anew
_NEW = "migrated_"


@attrs.frozen
class LayoutChange:
    """One thing that was changed: ``kind`` is ``table``, ``constraints``, ``index`` or ``index dropped``."""

    kind: str
    name: str


def align_tables(connection: sa.Connection, tables: Iterable[sa.Table]) -> list[LayoutChange]:
    """Compare each wanted table with the one there is, change what differs, and tell what was changed.

    Doing it again changes nothing. `CorruptionError` for a table whose columns are not those wanted.
    """
    changes: list[LayoutChange] = []
    for table in tables:
        # an inspector remembers what it saw
        inspector = sa.inspect(connection)
        if not inspector.has_table(table.name, schema=table.schema):
            table.create(connection)
            changes.append(LayoutChange("table", table.name))
            continue
        _check_columns(inspector, table)
        if _constraints_there(connection, inspector, table) != _constraints_wanted(connection, table):
            _make_anew(connection, inspector, table)
            changes.append(LayoutChange("constraints", table.name))
        else:
            changes += _align_indexes(connection, inspector, table)
    return changes


def _check_columns(inspector: sa.Inspector, table: sa.Table) -> None:
    there = [column["name"] for column in inspector.get_columns(table.name, schema=table.schema)]
    wanted = [column.name for column in table.columns]
    if there != wanted:
        raise CorruptionError(
            f"table {table.schema}.{table.name} has columns {', '.join(there)}, expected {', '.join(wanted)}",
            hint="restore the registry from a backup",
        )


def _constraints_there(connection: sa.Connection, inspector: sa.Inspector, table: sa.Table) -> Any:
    key = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    unique = inspector.get_unique_constraints(table.name, schema=table.schema)
    return tuple(key), {tuple(one["column_names"]) for one in unique}, _has_rowid_there(connection, table)


def _constraints_wanted(connection: sa.Connection, table: sa.Table) -> Any:
    unique = {
        tuple(column.name for column in one.columns)
        for one in table.constraints
        if isinstance(one, sa.UniqueConstraint)
    }
    unique |= {(column.name,) for column in table.columns if column.unique}
    has_rowid = connection.dialect.name != "sqlite" or bool(table.dialect_options["sqlite"]["with_rowid"])
    return tuple(column.name for column in table.primary_key), unique, has_rowid


def _has_rowid_there(connection: sa.Connection, table: sa.Table) -> bool:
    if connection.dialect.name != "sqlite":
        return True
    rows = connection.exec_driver_sql(f'PRAGMA "{table.schema}".table_list("{table.name}")')
    return not any(row.wr for row in rows)


def _make_anew(connection: sa.Connection, inspector: sa.Inspector, table: sa.Table) -> None:
    """Neither database changes all kinds of constraints in place: the rows move to a new table."""
    for index in inspector.get_indexes(table.name, schema=table.schema):
        if not index.get("duplicates_constraint") and index["name"]:
            _drop_index(connection, table, index["name"])
    new = table.to_metadata(sa.MetaData(), name=_NEW + table.name)
    indexes = list(new.indexes)
    new.indexes.clear()
    new.create(connection)
    names = [column.name for column in table.columns]
    connection.execute(new.insert().from_select(names, sa.select(*(table.c[name] for name in names))))
    table.drop(connection)
    quoted = connection.dialect.identifier_preparer
    connection.execute(
        sa.text(f"ALTER TABLE {quoted.format_table(new)} RENAME TO {quoted.quote_identifier(table.name)}")
    )
    assert len(indexes) == len(table.indexes)
    for wanted in sorted(table.indexes, key=lambda index: str(index.name)):
        wanted.create(connection)


def _align_indexes(connection: sa.Connection, inspector: sa.Inspector, table: sa.Table) -> list[LayoutChange]:
    changes = []
    there = {
        str(index["name"]): tuple(str(name) for name in index["column_names"])
        for index in inspector.get_indexes(table.name, schema=table.schema)
        if not index.get("duplicates_constraint")
    }
    wanted = {str(index.name): index for index in table.indexes}
    for name, columns in there.items():
        index = wanted.get(name)
        if index is None or tuple(column.name for column in index.columns) != columns:
            _drop_index(connection, table, name)
            changes.append(LayoutChange("index dropped", name))
        else:
            del wanted[name]
    for name in sorted(wanted):
        wanted[name].create(connection)
        changes.append(LayoutChange("index", name))
    return changes


def _drop_index(connection: sa.Connection, table: sa.Table, name: str) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    connection.execute(sa.text(f"DROP INDEX {quote(str(table.schema))}.{quote(name)}"))
