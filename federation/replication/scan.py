"""All rows of tables as stored values, column by column, in whatever order the database has them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from federation.errors import UnavailableError
from federation.garbage import no_cycle_search
from federation.model.change import Change, Operation
from federation.model.coded import Coded
from federation.model.log_filter import LogFilter
from federation.model.logical import LogicalType
from federation.registry.registry import DECLARING
from federation.replication.filters import reading_filter
from federation.storage import PostgresDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt
    import sqlalchemy as sa

    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.storage import Database
    from federation.storage.postgres_arrow import ArrowConnection

    Columns = tuple[Sequence[Any], ...]

__all__ = ["SCAN_ROWS", "arrow_beside", "scan_columns", "scan_schema", "with_rows"]

#: rows of one chunk
SCAN_ROWS = 8192
_EVERYTHING = LogFilter()
#: tables that are asked about by one statement; databases have limits
_ASKED_AT_ONCE = 500
_BATCH_BYTES = 1 << 20
#: a text that so many rows have in common, on average, is kept once
_ROWS_PER_TEXT = 8


def scan_schema(
    registry: Registry,
    connection: sa.Connection,
    held: HeldSchema,
    names: Iterable[str] | None = None,
    wanted: LogFilter = _EVERYTHING,
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[TableDef, Columns]]:
    """Rows of every table, or of those with ``names``, in chunks; of what ``wanted`` keeps. For readers' connections.

    ``check`` is called with each chunk and may raise.
    Declarations come first: what reads along can make tables before it meets their rows.
    """
    tables = registry.tables_in(connection, held.physical)
    physical = registry.physical_tables(held.physical, tuple(tables.values()))
    rows = reading_filter(registry, held, wanted, connection) if wanted else None
    first = [name for name in DECLARING if name in tables]
    filled = with_rows(connection, physical)
    with arrow_beside(registry.database, connection) as arrow:
        for name in [*first, *(name for name in tables if name not in first)]:
            if name not in filled or (names is not None and name not in names):
                continue
            table = tables[name]
            for columns in scan_columns(connection, physical[name], table, arrow):
                check()
                if rows is None:
                    yield table, columns
                    continue
                kept = rows.keep(Change(name, Operation.PUT, table.stored_names, columns))
                if kept is not None:
                    yield table, tuple(kept.values)


def with_rows(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> set[str]:
    """Which of the tables have any row, by one statement: most have none, and each question takes its time."""
    raw: Any = connection.connection.dbapi_connection
    asked = [
        (name, f'EXISTS (SELECT 1 FROM "{table.schema}"."{table.name}")') for name, table in tables.items()
    ]
    found: set[str] = set()
    for begin in range(0, len(asked), _ASKED_AT_ONCE):
        part = asked[begin : begin + _ASKED_AT_ONCE]
        answers = raw.execute(f"SELECT {', '.join(condition for _, condition in part)}").fetchone()
        found.update(name for (name, _), has_rows in zip(part, answers, strict=True) if has_rows)
    return found


@contextmanager
def arrow_beside(database: Database, connection: sa.Connection) -> Iterator[ArrowConnection | None]:
    """What reads the snapshot of a reader's connection three times as fast, where the database has such."""
    if not isinstance(database, PostgresDatabase):
        yield None
        return
    snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
    with database.arrow(str(snapshot)) as arrow:
        yield arrow


def scan_columns(
    connection: sa.Connection, physical: sa.Table, table: TableDef, arrow: ArrowConnection | None = None
) -> Iterator[Columns]:
    """Chunks of at most `SCAN_ROWS` rows, never empty: one sequence for each of ``table.stored``.

    Values are as in a `Change`: a UUID is its 16 bytes. The drivers' cursors are used directly: an object for each
    row would cost more than all the rest. ``arrow`` is that of `arrow_beside`; it does not see what a writer's
    connection has written.
    """
    raw: Any = connection.connection.dbapi_connection
    if arrow is not None:
        yield from _arrow(raw, arrow, physical, table)
    elif connection.dialect.name == "sqlite":
        yield from _sqlite(raw, physical, table)
    else:
        yield from _postgres(raw, physical, table)


def _sqlite(raw: Any, physical: sa.Table, table: TableDef) -> Iterator[Columns]:
    listed = ", ".join(f'"{name}"' for name in table.stored_names)
    truths = [
        place for place, column in enumerate(table.stored) if column.type is LogicalType.BOOL
    ]  # SQLite has them as 0 and 1
    cursor = raw.execute(f'SELECT {listed} FROM "{physical.schema}"."{physical.name}"')
    try:
        while True:
            with no_cycle_search():
                columns: list[Sequence[Any]] = list(zip(*cursor.fetchmany(SCAN_ROWS), strict=True))
            if not columns:
                return
            for place in truths:
                columns[place] = [None if value is None else bool(value) for value in columns[place]]
            yield tuple(columns)
    finally:
        cursor.close()


def _postgres(raw: Any, physical: sa.Table, table: TableDef) -> Iterator[Columns]:
    # as bytes at once: a UUID object costs a microsecond
    listed = [
        sql.SQL("uuid_send({})").format(sql.Identifier(column.name))
        if column.type is LogicalType.UUID
        else sql.Identifier(column.name)
        for column in table.stored
    ]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(listed), sql.Identifier(str(physical.schema), physical.name)
    )
    with raw.cursor("federation_scan", binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(SCAN_ROWS):
            yield tuple(zip(*rows, strict=True))


def _arrow(
    raw: psycopg.Connection[Any], arrow: ArrowConnection, physical: sa.Table, table: TableDef
) -> Iterator[Columns]:
    listed = sql.SQL(", ").join(map(sql.Identifier, table.stored_names))
    query = sql.SQL("SELECT {} FROM {}").format(listed, sql.Identifier(str(physical.schema), physical.name))
    try:
        with arrow.query(query.as_string(raw), _BATCH_BYTES) as batches:
            for batch in batches:
                for start in range(0, batch.num_rows, SCAN_ROWS):
                    part = batch.slice(start, SCAN_ROWS)
                    yield tuple(map(_values, part.columns))
    except (OSError, pa.ArrowException) as error:
        text = " ".join(str(error).split())
        raise UnavailableError(
            f"{physical.schema}.{physical.name} can't be read: {text}", hint="check that the database runs"
        ) from error


def _values(column: pa.Array) -> Sequence[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_fixed_size_binary(column.type) and not column.null_count:
        width = column.type.byte_width
        found = np.frombuffer(column.buffers()[1], f"V{width}")[column.offset : column.offset + len(column)]
        values: list[Any] = found.tolist()
        return values
    if pa.types.is_string(column.type) and not column.null_count:
        coded = column.dictionary_encode()
        if len(coded.dictionary) * _ROWS_PER_TEXT <= len(column):
            return Coded(coded.dictionary.to_pylist(), _numbers(coded.indices).astype(np.int64))
    if pa.types.is_integer(column.type) and not column.null_count:
        numbers: list[Any] = _numbers(column).tolist()
        return numbers
    others: list[Any] = column.to_pylist()
    return others


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Integers without nulls as an array; pyarrow's own way would import pandas first, which takes half a second."""
    found = np.frombuffer(column.buffers()[1], str(column.type))
    return found[column.offset : column.offset + len(column)]
