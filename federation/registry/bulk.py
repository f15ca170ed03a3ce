"""Many rows into one table at once, column by column, by each database's fastest way.

PostgreSQL takes COPY in binary form. Where all values of a batch are of few shapes (fixed-width numbers, UUIDs, texts
of few lengths), the bytes are laid out by numpy, a shape at a time; else psycopg writes row by row.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import sqlalchemy as sa
from psycopg import sql

from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.model.logical import TableDef

    Columns = Sequence[Sequence[Any]]

__all__ = ["delete_columns", "insert_columns", "upsert_columns"]

#: below this COPY costs more than it saves
COPY_ROWS_MIN = 50
#: shapes of rows for which laying out bytes by numpy is worth its start
_SHAPES_MAX = 64
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
_FIXED = {
    LogicalType.INT64: ">i8",
    LogicalType.FLOAT64: ">f8",
    LogicalType.BOOL: "?",
    LogicalType.TIMESTAMP: ">i8",
}
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER = b"\xff\xff"


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
            _raw(connection).executemany(
                _sqlite_insert(physical, table, names, upsert=False), zip(*columns, strict=True)
            )
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
    with connection.begin_nested(), _driver_errors():
        raw = _raw(connection)
        if connection.dialect.name == "sqlite":
            raw.executemany(_sqlite_insert(physical, table, names, upsert=True), zip(*columns, strict=True))
        elif len(columns[0]) < COPY_ROWS_MIN:
            _postgres_upsert(raw, physical, table, names, columns)
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


# -- SQLite -------------------------------------------------------------------------------------------------------


def _sqlite_name(physical: sa.Table) -> str:
    return f'"{physical.schema}"."{physical.name}"'


def _sqlite_insert(physical: sa.Table, table: TableDef, names: Sequence[str], *, upsert: bool) -> str:
    def quoted(columns: Sequence[str]) -> str:
        return ", ".join(f'"{name}"' for name in columns)

    statement = (
        f"INSERT INTO {_sqlite_name(physical)} ({quoted(names)}) VALUES ({', '.join('?' * len(names))})"
    )
    if not upsert:
        return statement
    changed = [name for name in names if name not in table.key]
    action = "UPDATE SET " + ", ".join(f'"{n}" = excluded."{n}"' for n in changed) if changed else "NOTHING"
    return f"{statement} ON CONFLICT ({quoted(table.key)}) DO {action}"


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
    values = sql.SQL(", ").join(_placeholder(table, name) for name in names)
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        _target(physical), _identifiers(names), values
    )
    with raw.cursor() as cursor:
        cursor.executemany(statement + _on_conflict(table, names), list(zip(*columns, strict=True)))


def _copied(
    connection: sa.Connection, physical: sa.Table, table: TableDef, names: Sequence[str], columns: Columns
) -> bool:
    """Copy straight in; False, with nothing written, when some of the rows are there already."""
    try:
        with connection.begin_nested(), _driver_errors(), _raw(connection).cursor() as cursor:
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
    laid_out = _layout(types, columns)
    with cursor.copy(statement) as copy:
        if laid_out is not None:
            copy.write(_COPY_HEADER)
            for block in laid_out:
                copy.write(block)
            copy.write(_COPY_TRAILER)
            return
        copy.set_types([_COPY_TYPES[type_] for type_ in types])
        for row in zip(*columns, strict=True):
            copy.write_row(row)


def _layout(types: Sequence[LogicalType], columns: Columns) -> list[bytes] | None:
    """The rows in PostgreSQL's binary COPY form, grouped by shape; None when their shapes are too many.

    A tuple is a 16-bit count of fields, then for each a 32-bit length (-1: NULL) and its bytes, all big-endian:
    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS-BINARY-FORMAT
    """
    encoded: list[Any] = []
    lengths: list[np.ndarray[Any, Any]] = []
    count = len(columns[0])
    for type_, column in zip(types, columns, strict=True):
        missing = np.fromiter((value is None for value in column), bool, count) if None in column else None
        if type_ in _FIXED:
            dtype = np.dtype(_FIXED[type_])
            values: Any = column if missing is None else [0 if value is None else value for value in column]
            encoded.append(np.asarray(values, dtype))
            width = np.full(count, dtype.itemsize, np.int32)
        else:
            texts = type_ is LogicalType.STRING
            data = [b"" if v is None else v.encode() if texts else v for v in column]
            encoded.append(data)
            width = np.fromiter(map(len, data), np.int32, count)
        if missing is not None:
            width[missing] = -1
        lengths.append(width)
    varying = [width for width in lengths if width.min() != width.max()]
    if not varying:
        return [_block(encoded, [int(width[0]) for width in lengths], None)]
    shapes, which = np.unique(np.stack(varying, axis=1), axis=0, return_inverse=True)
    if len(shapes) > min(_SHAPES_MAX, max(1, count // 100)):
        return None
    blocks = []
    for number in range(len(shapes)):
        rows = np.flatnonzero(which.reshape(-1) == number)
        blocks.append(_block(encoded, [int(width[rows[0]]) for width in lengths], rows))
    return blocks


def _block(encoded: list[Any], widths: list[int], rows: np.ndarray[Any, Any] | None) -> bytes:
    """Tuples of one shape; ``rows`` chooses them, None: all."""
    fields: list[tuple[str, Any]] = [("count", ">i2")]
    for place, width in enumerate(widths):
        fields.append((f"length{place}", ">i4"))
        if width > 0:
            column = encoded[place]
            fields.append((f"value{place}", column.dtype if isinstance(column, np.ndarray) else f"V{width}"))
    size = len(encoded[0]) if rows is None else len(rows)
    block = np.empty(size, np.dtype(fields))
    block["count"] = len(widths)
    for place, width in enumerate(widths):
        block[f"length{place}"] = width
        if width > 0:
            column = encoded[place]
            if isinstance(column, np.ndarray):
                block[f"value{place}"] = column if rows is None else column[rows]
            else:
                chosen: Any = column if rows is None else map(column.__getitem__, rows.tolist())
                block[f"value{place}"] = np.frombuffer(b"".join(chosen), f"V{width}")
    return block.tobytes()
