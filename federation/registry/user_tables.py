"""Tables that users make in their schemas: created with rows, extended, described, dropped; all of it is logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.change import Change, Operation
from federation.model.logical import ColumnDef, LogicalType, TableDef, TableKind
from federation.model.position import SchemaId
from federation.model.user_table import UserTable
from federation.registry import table_data
from federation.registry.felis import FelisTable, described
from federation.registry.grants import Privilege, check
from federation.registry.transaction import stored_values
from federation.wire.arrow import logical_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.registry.table_data import TimeScale
    from federation.registry.transaction import Transaction

__all__ = [
    "ROW_ID",
    "TableReport",
    "append_rows",
    "check_free",
    "create_table",
    "describe_table",
    "drop_rows_and_table",
    "drop_table",
    "find_table",
    "list_tables",
    "put_rows",
]

#: key column of a table without a key of its own
ROW_ID = "row_id"
#: columns that PostgreSQL has in every table: https://www.postgresql.org/docs/current/ddl-system-columns.html
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_BATCH_ROWS = 50_000


@attrs.frozen
class TableReport:
    """A user's table: what it is, how many rows it has, and notes on what was changed on the way in."""

    schema: str
    table: UserTable
    row_count: int
    notes: tuple[str, ...] = ()


def create_table(
    registry: Registry,
    schema: str,
    name: str,
    data: pa.Table,
    *,
    key: Sequence[str] = (),
    doc: str = "",
    felis: FelisTable | None = None,
    time_scale: TimeScale | None = None,
    place: str = "the table",
    user: str | None = None,
) -> TableReport:
    """Declare a table in a schema and put its rows, in one transaction.

    Without ``key`` a column ``row_id`` numbers the rows from 1. ``felis`` gives units, UCDs and descriptions, and the
    key where ``key`` does not. Messages call the data ``place``. Raises `ForbiddenError` without write privilege,
    `ConflictError` for a name that is taken, `UserError` for rows that can't be stored as they are.
    """
    check(registry, user, Privilege.WRITE, schema)
    rows, notes = table_data.logical_table(data, place, time_scale)
    rows = rows if felis is None else _typed(rows, felis)
    key = tuple(key) or (felis.key if felis is not None else ())
    if not key:
        if ROW_ID in rows.column_names:
            raise UserError(
                f"{place} has a column {ROW_ID!r} of its own", hint=f"make it the key with --key {ROW_ID}"
            )
        rows = _numbered(rows, 1)
        key = (ROW_ID,)
    definition = _definition(name, rows, key, doc)
    if felis is not None:
        definition = _with_required(described(definition, felis), felis)
    _check_columns(definition, place)
    table_data.check_keys(rows, key, place)
    rows = table_data.fitted(rows, definition.table(), place)
    with registry.transaction(schema) as tx:
        notes += check_free(tx, definition)
        tx.add_table(definition.table())
        tx.put("user_table", [definition.to_row()])
        put_rows(tx, name, rows)
    return TableReport(schema, definition, rows.num_rows, notes)


def _numbered(rows: pa.Table, first: int) -> pa.Table:
    return rows.add_column(0, ROW_ID, pa.array(np.arange(first, first + rows.num_rows, dtype=np.int64)))


def _definition(name: str, rows: pa.Table, key: Sequence[str], doc: str) -> UserTable:
    columns = tuple(
        ColumnDef(
            field.name,
            logical_of(field.type),
            nullable=field.name not in key,
            doc="number of the row" if field.name == ROW_ID else "",
        )
        for field in rows.schema
    )
    # as it is read back, so that it equals what others make of the row
    return UserTable.from_row(UserTable(name, columns, tuple(key), doc).to_row())


def _typed(rows: pa.Table, felis: FelisTable) -> pa.Table:
    """Integers and empty columns as the numbers that they are described to be: a text file does not say it."""
    wanted = {column.name: column.datatype for column in felis.columns}
    for number, field in enumerate(rows.schema):
        column, datatype = rows.column(number), wanted.get(field.name, "")
        is_empty = column.null_count == len(column)
        if datatype in ("double", "float") and (field.type == pa.int64() or is_empty):
            rows = rows.set_column(number, field.name, column.cast(pa.float64()))
        elif datatype in ("long", "int", "short", "byte") and is_empty:
            rows = rows.set_column(number, field.name, column.cast(pa.int64()))
    return rows


def _with_required(definition: UserTable, felis: FelisTable) -> UserTable:
    """The definition, in which columns that are described as not nullable need a value."""
    required = {column.name for column in felis.columns if not column.nullable}
    columns = tuple(
        attrs.evolve(column, nullable=column.nullable and column.name not in required)
        for column in definition.columns
    )
    return attrs.evolve(definition, columns=columns)


def _check_columns(definition: UserTable, place: str) -> None:
    seen: dict[str, str] = {}
    for column in definition.columns:
        other = seen.setdefault(column.name.lower(), column.name)
        if other != column.name:
            raise UserError(
                f"{place}: columns {other!r} and {column.name!r} differ in case only", hint="rename one"
            )
        if column.name.lower() in _SYSTEM_COLUMNS:
            raise UserError(f"{place}: no column can be called {column.name!r}", hint="rename it")
        if column.name in definition.key and column.type is LogicalType.FLOAT64:
            raise UserError(
                f"{place}: key column {column.name!r} is a float, which does not identify a row",
                hint="choose other columns with --key, or none: then rows are numbered",
            )


def check_free(tx: Transaction, definition: UserTable) -> tuple[str, ...]:
    """`ConflictError` where the name stands for something else; notes on tables of that name in other schemas."""
    registry, notes = tx.registry, []
    lower = definition.name.lower()
    for held in registry.held():
        here = held == tx.held
        for known in (tx.tables if here else _tables_of(registry, held)).values():
            if known.name.lower() != lower:
                continue
            if known.kind is not TableKind.USER:
                raise ConflictError(
                    f"{definition.name!r} is the name of a {known.kind} table in {held.schema}",
                    hint="choose another name",
                )
            if here:
                raise ConflictError(
                    f"schema {held.schema.name} has a table {known.name!r} already",
                    hint=f"add rows with: federation schema table append {known.name}; or choose another name",
                )
            if _shape(known) != _shape(definition.table()):
                notes.append(
                    f"{held.schema} has another table {known.name}: "
                    f"write {tx.held.schema.name}.{definition.name} in queries"
                )
    return tuple(notes)


def _tables_of(registry: Registry, held: HeldSchema) -> Mapping[str, TableDef]:
    try:
        return registry.tables(held.schema)
    except NotFoundError:  # its owner has just dropped it
        return {}


def _shape(table: TableDef) -> tuple[object, ...]:
    return table.key, {column.name: column.type for column in table.columns}


def put_rows(tx: Transaction, name: str, rows: pa.Table) -> None:
    """Write rows of new keys, a batch at a time."""
    for start in range(0, rows.num_rows, _BATCH_ROWS):
        tx.put_columns(name, table_data.stored_columns(rows.slice(start, _BATCH_ROWS)), fresh=True)


def append_rows(
    registry: Registry,
    schema: str,
    name: str,
    data: pa.Table,
    *,
    time_scale: TimeScale | None = None,
    place: str = "the table",
    user: str | None = None,
) -> TableReport:
    """Add rows to a table, all or none; a ``row_id`` goes on from the highest there is.

    Raises as `create_table`; `ConflictError` names the first row whose key is there already.
    """
    check(registry, user, Privilege.WRITE, schema)
    rows, notes = table_data.logical_table(data, place, time_scale)
    with registry.transaction(schema) as tx:
        definition = _definition_in(tx, name)
        table = tx.table(definition.name)
        if table.key == (ROW_ID,) and ROW_ID not in rows.column_names:
            highest = sa.select(sa.func.max(tx.physical(table.name).c[ROW_ID]))
            rows = _numbered(rows, (tx.connection.execute(highest).scalar() or 0) + 1)
        missing = [name for name in table.key if name not in rows.column_names]
        if missing:
            raise UserError(
                f"{place} has no column {missing[0]!r}, which is of the key of table {table.name}",
                hint="its key: " + ", ".join(table.key),
            )
        table_data.check_keys(rows, table.key, place)
        rows = table_data.fitted(rows, table, place)
        _refuse_known(tx, table, rows, place)
        put_rows(tx, table.name, rows)
        count = _count(tx.connection, tx.physical(table.name))
    return TableReport(schema, definition, count, notes)


def _refuse_known(tx: Transaction, table: TableDef, rows: pa.Table, place: str) -> None:
    keys = list(zip(*(rows.column(name).to_pylist() for name in table.key), strict=True))
    if LogicalType.TIMESTAMP in {table.column(name).type for name in table.key}:
        stored = table_data.stored_columns(rows.select(table.key))
        keys = list(zip(*stored.values(), strict=True))
    for known in tx.select(table.name, table.key, keys):
        key = tuple(known[name] for name in table.key)
        values = ", ".join(f"{n} = {v!r}" for n, v in zip(table.key, key, strict=True))
        raise ConflictError(
            f"{place}, row {keys.index(key) + 1}: table {table.name} has a row with {values} already",
            hint="leave out the rows that are there",
        )


def drop_table(registry: Registry, schema: str, name: str, *, user: str | None = None) -> TableReport:
    """Remove a table with its rows; `ConflictError` for one that was promoted, which is retired instead."""
    check(registry, user, Privilege.WRITE, schema)
    with registry.transaction(schema) as tx:
        definition = _definition_in(tx, name)
        if schema == registry.site:
            proposals = tx.physical("table_proposal").c
            promoted = sa.select(proposals.owner).where(
                proposals.name == definition.name, proposals.state == "promoted"
            )
            owner = tx.connection.execute(promoted).scalar()
            if owner is not None:
                raise ConflictError(
                    f"table {definition.name} of schema {schema} was promoted from {owner}",
                    hint=f"run: federation schema retire {owner}.{definition.name}",
                )
        count = drop_rows_and_table(tx, definition.name)
    return TableReport(schema, definition, count)


def drop_rows_and_table(tx: Transaction, name: str) -> int:
    """Remove a user's table in a transaction: its rows and its declaration are logged as deleted; how many rows."""
    table, physical = tx.table(name), tx.physical(name)
    found = tx.connection.execute(sa.select(*(physical.c[column] for column in table.key)))
    columns = list(zip(*found, strict=True))
    if columns:
        values = tuple(
            stored_values(table.column(column).type, list(keys))
            for column, keys in zip(table.key, columns, strict=True)
        )
        tx.changes.append(Change(name, Operation.DELETE, table.key, values))
    tx.delete("user_table", [{"name": name}])
    physical.drop(tx.connection)
    del tx.tables[name]
    return len(columns[0]) if columns else 0


def describe_table(
    registry: Registry, schema: str, name: str, felis: FelisTable, *, user: str | None = None
) -> TableReport:
    """Give a table the units, UCDs and descriptions of a Felis description; its rows stay."""
    check(registry, user, Privilege.WRITE, schema)
    with registry.transaction(schema) as tx:
        definition = described(_definition_in(tx, name), felis)
        tx.put("user_table", [definition.to_row()])
        count = _count(tx.connection, tx.physical(definition.name))
    return TableReport(schema, definition, count)


def _definition_in(tx: Transaction, name: str) -> UserTable:
    rows = tx.select("user_table", ("name",), [(name,)])
    if rows:
        return UserTable.from_row(rows[0])
    there = sorted(known.name for known in tx.tables.values() if known.kind is TableKind.USER)
    raise _unknown(tx.held.schema.name, name, there)


def _unknown(schema: str, name: str, there: Sequence[str]) -> NotFoundError:
    return NotFoundError(
        f"schema {schema} has no user table {name!r}", hint="its user tables: " + (", ".join(there) or "none")
    )


def find_table(registry: Registry, schema: str, name: str) -> TableReport:
    """A table with its number of rows; `NotFoundError` names those there are."""
    found = list_tables(registry, schema)
    for report in found:
        if report.table.name == name:
            return report
    raise _unknown(schema, name, [report.table.name for report in found])


def list_tables(registry: Registry, schema: str) -> tuple[TableReport, ...]:
    """The users' tables of one of the site's own schemas, by name."""
    held = registry.get(SchemaId(registry.site, schema))
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        if "user_table" not in tables:  # a registry of an older format
            return ()
        physical: Mapping[str, Any] = registry.physical_tables(held.physical, tuple(tables.values()))
        declared = physical["user_table"]
        rows = connection.execute(sa.select(declared).order_by(declared.c.name)).all()
        return tuple(
            TableReport(
                schema, UserTable.from_row(dict(row._mapping)), _count(connection, physical[row.name])
            )
            for row in rows
        )


def _count(connection: sa.Connection, physical: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(physical)).scalar_one())
