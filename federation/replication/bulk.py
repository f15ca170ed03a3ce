"""Many rows into one table at once, by each database's fastest way that keeps what is there already."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from federation.model.logical import LogicalType
from federation.registry.transaction import upsert_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.model.logical import TableDef

__all__ = ["write_rows"]

#: below this COPY costs more than it saves
COPY_ROWS_MIN = 50


def write_rows(
    connection: sa.Connection,
    physical: sa.Table,
    table: TableDef,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Insert rows with distinct keys, or replace those that have their keys, in the connection's transaction.

    Raises `sqlalchemy.exc.IntegrityError`, with nothing written, when a row takes another's unique values.
    """
    if not rows:
        return
    with connection.begin_nested():
        if connection.dialect.name == "sqlite":
            _write_sqlite(connection, physical, table, columns, rows)
        elif len(rows) < COPY_ROWS_MIN:
            upsert_rows(connection, physical, columns, rows)
        elif not _copied(connection, physical, columns, rows):
            _merge(connection, physical, columns, rows)


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


def _write_sqlite(
    connection: sa.Connection,
    physical: sa.Table,
    table: TableDef,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    def quoted(names: Sequence[str]) -> str:
        return ", ".join(f'"{name}"' for name in names)

    changed = [name for name in columns if name not in table.key]
    action = "UPDATE SET " + ", ".join(f'"{n}" = excluded."{n}"' for n in changed) if changed else "NOTHING"
    statement = (
        f'INSERT INTO "{physical.schema}"."{physical.name}" ({quoted(columns)}) '
        f"VALUES ({', '.join('?' * len(columns))}) ON CONFLICT ({quoted(table.key)}) DO {action}"
    )
    ids = [place for place, name in enumerate(columns) if table.column(name).type is LogicalType.UUID]

    def stored(row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for place in ids:
            if values[place] is not None:
                values[place] = values[place].bytes
        return values

    with _driver_errors():
        _raw(connection).executemany(statement, map(stored, rows))


def _copy(
    cursor: psycopg.Cursor[Any], target: sql.Composable, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(target, names)) as copy:
        for row in rows:
            copy.write_row(row)


def _target(physical: sa.Table) -> sql.Identifier:
    return sql.Identifier(str(physical.schema), physical.name)


def _copied(
    connection: sa.Connection, physical: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> bool:
    """Copy straight in; False, with nothing written, when some of the rows are there already."""
    try:
        with connection.begin_nested(), _driver_errors(), _raw(connection).cursor() as cursor:
            _copy(cursor, _target(physical), columns, rows)
    except sa.exc.IntegrityError:
        return False
    return True


def _merge(
    connection: sa.Connection, physical: sa.Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Copy into a temporary table, then insert or replace from there."""
    staging, target = sql.Identifier("pg_temp", "replica_staging"), _target(physical)
    key = [column.name for column in physical.primary_key]
    changed = [sql.Identifier(name) for name in columns if name not in key]
    action = (
        sql.SQL("UPDATE SET ")
        + sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in changed)
        if changed
        else sql.SQL("NOTHING")
    )
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with _driver_errors(), _raw(connection).cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE replica_staging (LIKE {}) ON COMMIT DROP").format(target)
        )
        _copy(cursor, staging, columns, rows)
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
                target, names, names, staging, sql.SQL(", ").join(map(sql.Identifier, key)), action
            )
        )
        cursor.execute("DROP TABLE pg_temp.replica_staging")
