"""Many rows into one table at once, column by column, by each database's fastest way.

SQLite takes one statement for all rows where they pack into a few parameters. PostgreSQL takes COPY in binary form;
where the rows are of few shapes (fixed-width numbers, UUIDs, texts of few lengths) arrays lay them out, else psycopg
writes row by row.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from federation.model.logical import LogicalType
from federation.registry.copy_layout import HEADER, TRAILER, Field, block_of, shapes_of
from federation.registry.packed_rows import packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.model.logical import TableDef

    Columns = Sequence[Sequence[Any]]

__all__ = ["COPY_ROWS_MIN", "delete_columns", "insert_columns", "upsert_columns", "upsert_statement"]

#: below this COPY costs more than it saves
COPY_ROWS_MIN = 50
#: rows that are laid out and sent at once
_BLOCK_ROWS = 8192
#: a UUID's binary form is its 16 bytes, and psycopg writes bytes unchanged only as bytea
_COPY_TYPES = {
    LogicalType.INT64: "int8",
    LogicalType.FLOAT64: "float8",
    LogicalType.BOOL: "bool",
    LogicalType.STRING: "text",
    LogicalType.BYTES: "bytea",
    LogicalType.UUID: "bytea",
    LogicalType.TIMESTAMP: "int8",
}


def insert_columns(
    connection: sa.Connection, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns
) -> None:
    """Insert rows whose keys are known not to be there.

    Raises `sqlalchemy.exc.IntegrityError` when they are; the transaction can only be rolled back then.
    """
    if not columns or not len(columns[0]):
        return
    with _driver_errors():
        if connection.dialect.name == "sqlite":
            _sqlite_put(_raw(connection), physical, table, names, columns, upsert=False)
            return
        with _raw(connection).cursor() as cursor:
            _copy(cursor, _target(physical), table, names, columns)


def upsert_columns(
    connection: sa.Connection, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns
) -> None:
    """Insert rows with distinct keys, or replace those that have their keys.

    Raises `sqlalchemy.exc.IntegrityError`, with nothing written, when a row takes another's unique values.
    """
    if not columns or not len(columns[0]):
        return
    raw, is_sqlite = _raw(connection), connection.dialect.name == "sqlite"
    if not is_sqlite and len(columns[0]) < COPY_ROWS_MIN:
        with _driver_errors(), _taken_back(raw), raw.pipeline():  # one round trip for all of it
            raw.execute(_SAVEPOINT)
            _postgres_upsert(raw, physical, table, names, columns)
            raw.execute(_RELEASE)
        return
    with _driver_errors(), _savepoint(raw):
        if is_sqlite:
            _sqlite_put(raw, physical, table, names, columns, upsert=True)
        elif not _copied(connection, physical, table, names, columns):
            _merge(raw, physical, table, names, columns)


def delete_columns(connection: sa.Connection, physical: sa.Table, table: TableDef, columns: Columns) -> None:
    """Delete the rows with these values of the table's key, one sequence a key column."""
    if not columns or not len(columns[0]):
        return
    with _driver_errors():
        if connection.dialect.name == "sqlite":
            where = " AND ".join(f'"{name}" = ?' for name in table.key)
            statement = f"DELETE FROM {_sqlite_name(physical)} WHERE {where}"
            _raw(connection).executemany(statement, zip(*columns, strict=True))
            return
        with _raw(connection).cursor() as cursor:
            if len(columns[0]) < COPY_ROWS_MIN:
                conditions = [
                    sql.SQL("{} = {}").format(sql.Identifier(name), _placeholder(table, name))
                    for name in table.key
                ]
                where_each = sql.SQL(" AND ").join(conditions)
                cursor.executemany(
                    sql.SQL("DELETE FROM {} WHERE {}").format(_target(physical), where_each),
                    list(zip(*columns, strict=True)),
                )
            else:
                _delete_staged(cursor, physical, table, columns)


def _delete_staged(
    cursor: psycopg.Cursor[Any], physical: sa.Table, table: TableDef, columns: Columns
) -> None:
    """Copy the keys into a temporary table, then delete what has them."""
    staging, target = sql.Identifier("pg_temp", "federation_keys"), _target(physical)
    cursor.execute(
        sql.SQL("CREATE TEMPORARY TABLE federation_keys ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            _identifiers(table.key), target
        )
    )
    _copy(cursor, staging, table, table.key, columns)
    same = [sql.SQL("t.{0} = k.{0}").format(sql.Identifier(name)) for name in table.key]
    cursor.execute(
        sql.SQL("DELETE FROM {} AS t USING {} AS k WHERE {}").format(
            target, staging, sql.SQL(" AND ").join(same)
        )
    )
    cursor.execute("DROP TABLE pg_temp.federation_keys")


def _raw(connection: sa.Connection) -> Any:
    return connection.connection.dbapi_connection


@contextmanager
def _driver_errors() -> Iterator[None]:
    """A driver's errors as SQLAlchemy would raise them, which callers know how to tell."""
    try:
        yield
    except (sqlite3.IntegrityError, psycopg.IntegrityError) as error:
        raise sa.exc.IntegrityError(None, None, error) from error
    except (sqlite3.OperationalError, psycopg.OperationalError) as error:
        raise sa.exc.OperationalError(None, None, error) from error
    except (sqlite3.Error, psycopg.Error) as error:
        raise sa.exc.DBAPIError(None, None, error) from error


_SAVEPOINT, _RELEASE = "SAVEPOINT federation_put", "RELEASE SAVEPOINT federation_put"


@contextmanager
def _savepoint(raw: Any) -> Iterator[None]:
    """Take back what was done within when an error leaves it. SQLAlchemy's own costs more than writing a row."""
    raw.execute(_SAVEPOINT)
    with _taken_back(raw):
        yield
        raw.execute(_RELEASE)


@contextmanager
def _taken_back(raw: Any) -> Iterator[None]:
    """Go back to the savepoint that was set within when an error leaves it."""
    try:
        yield
    except BaseException:
        # nothing is left to take back where the database has ended the whole transaction, as on a full disk
        with suppress(sqlite3.Error, psycopg.Error):
            raw.execute("ROLLBACK TO SAVEPOINT federation_put")
            raw.execute(_RELEASE)
        raise


# -- SQLite -------------------------------------------------------------------------------------------------------


def _sqlite_name(physical: sa.Table) -> str:
    return f'"{physical.schema}"."{physical.name}"'


def _sqlite_put(
    raw: Any, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns, *, upsert: bool
) -> None:
    into = f"INSERT INTO {_sqlite_name(physical)} ({_quoted(names)}) "
    action = ""
    if upsert:
        changed = [name for name in names if name not in table.key]
        action = (
            "UPDATE SET " + ", ".join(f'"{n}" = excluded."{n}"' for n in changed) if changed else "NOTHING"
        )
        action = f" ON CONFLICT ({_quoted(table.key)}) DO {action}"
    rows = packed(columns)
    if rows is None:
        values = f"VALUES ({', '.join('?' * len(names))})"
        raw.executemany(into + values + action, zip(*columns, strict=True))
        return
    # without WHERE the parser takes ON CONFLICT for a condition of a join
    statement = f"{into}{rows.select} WHERE true{action}"
    for parameters in rows.batches():
        raw.execute(statement, parameters)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


# -- PostgreSQL ---------------------------------------------------------------------------------------------------


def _target(physical: sa.Table) -> sql.Identifier:
    return sql.Identifier(str(physical.schema), physical.name)


def _identifiers(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _placeholder(table: TableDef, name: str) -> sql.Composable:
    """A parameter; the bytes of a UUID are made one by the server."""
    if table.column(name).type is LogicalType.UUID:
        return sql.SQL("encode(%s::bytea, 'hex')::uuid")
    return sql.SQL("%s")


def _on_conflict(table: TableDef, names: Sequence[str]) -> sql.Composed:
    changed = [
        sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names if name not in table.key
    ]
    action = sql.SQL("UPDATE SET ") + sql.SQL(", ").join(changed) if changed else sql.SQL("NOTHING")
    return sql.SQL(" ON CONFLICT ({}) DO ").format(_identifiers(table.key)) + action


def _postgres_upsert(
    raw: Any, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns
) -> None:
    statement = upsert_statement(str(physical.schema), physical.name, table, tuple(names))
    if len(columns[0]) == 1:
        raw.execute(statement, [column[0] for column in columns], prepare=True)
        return
    with raw.cursor() as cursor:
        cursor.executemany(statement, list(zip(*columns, strict=True)))


@lru_cache(maxsize=1024)
def upsert_statement(schema: str, physical: str, table: TableDef, names: tuple[str, ...]) -> str:
    """PostgreSQL's statement that inserts a row of these values, or replaces the one that has its key."""
    values = sql.SQL(", ").join(_placeholder(table, name) for name in names)
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(schema, physical), _identifiers(names), values
    )
    return (statement + _on_conflict(table, names)).as_string()


def _copied(
    connection: sa.Connection, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns
) -> bool:
    """Copy straight in; False, with nothing written, when some of the rows are there already."""
    try:
        raw = _raw(connection)
        with _driver_errors(), _savepoint(raw), raw.cursor() as cursor:
            _copy(cursor, _target(physical), table, names, columns)
    except sa.exc.IntegrityError:
        return False
    return True


def _merge(raw: Any, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns) -> None:
    """Copy into a temporary table, then insert or replace from there."""
    staging, target = sql.Identifier("pg_temp", "federation_staging"), _target(physical)
    with raw.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE federation_staging (LIKE {}) ON COMMIT DROP").format(target)
        )
        _copy(cursor, staging, table, names, columns)
        listed = _identifiers(names)
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(target, listed, listed, staging)
            + _on_conflict(table, names)
        )
        cursor.execute("DROP TABLE pg_temp.federation_staging")


def _copy(
    cursor: psycopg.Cursor[Any],
    target: sql.Composable,
    table: TableDef,
    names: Sequence[str],
    columns: Columns,
) -> None:
    types = [table.column(name).type for name in names]
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(target, _identifiers(names))
    fields = [Field.of(type_, column) for type_, column in zip(types, columns, strict=True)]
    shapes = shapes_of(fields)
    with cursor.copy(statement) as copy:
        if shapes is None:
            copy.set_types([_COPY_TYPES[type_] for type_ in types])
            for row in zip(*columns, strict=True):
                copy.write_row(row)
            return
        copy.write(HEADER)
        for rows in shapes:
            # in pieces: the server stores one while the next is laid out
            for begin in range(0, len(rows), _BLOCK_ROWS):
                copy.write(block_of(fields, rows[begin : begin + _BLOCK_ROWS]))
        copy.write(TRAILER)
