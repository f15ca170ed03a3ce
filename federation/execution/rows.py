"""Rows of a lowered statement as Arrow batches, read in the snapshot of an open connection."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import attrs
import psycopg
import pyarrow as pa

from federation.errors import CorruptionError, LimitError, QueryError, UnavailableError, UserError
from federation.model.logical import LogicalType
from federation.storage import PostgresDatabase
from federation.wire.arrow import logical_of, retype_batch, rows_to_batch
from federation.wire.messages import ExecuteCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import sqlalchemy as sa

    from federation.execution.lowering import Lowered, LoweredPart
    from federation.storage import Database
    from federation.storage.postgres_arrow import ArrowConnection

__all__ = ["read_batches"]

#: rows in the first batch, which somebody waits for, and in the others
FIRST_ROWS = 500
BATCH_ROWS = 10_000
#: rows that sqlite3 makes Python objects of at a time: with many more they fall out of the processor's cache
_FETCH_ROWS = 2_000
#: PostgreSQL's batches, in bytes as they come: about as many rows
_BATCH_BYTES = 64 << 10
#: steps of SQLite's virtual machine between two looks at the clock: about ten milliseconds
_STEPS = 1_000_000
#: how often one looks whether the caller is still there while PostgreSQL works
_WATCH_S = 0.2
_ALWAYS_ACTIVE = attrs.fields(ExecuteCall).is_active.default


def read_batches(
    database: Database, connection: sa.Connection, lowered: Lowered, call: ExecuteCall, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Run ``lowered`` in the transaction of ``connection``; leaving the iterator ends the database's work.

    Raises `LimitError` when time runs out or the caller is gone, `QueryError` for a value out of range.
    """
    with _driver_errors(database.describe(), call):
        if isinstance(database, PostgresDatabase):
            yield from _postgres(database, connection, lowered, call, schema)
        else:
            yield from _sqlite(connection.connection.dbapi_connection, lowered, call, schema)


def _key_values(values: pa.Array) -> list[Any]:
    """Keys as Python values: UUIDs as `uuid.UUID`, timestamps as TAI nanoseconds."""
    if logical_of(values.type) is LogicalType.TIMESTAMP:
        values = values.cast(pa.int64())
    found: list[Any] = values.to_pylist()
    return found


def _sqlite(raw: Any, lowered: Lowered, call: ExecuteCall, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    cursor = raw.cursor()
    for name in lowered.key_names:  # the tables go with the transaction
        values = _key_values(call.keys[name])
        cursor.execute(f'CREATE TABLE temp."param_{name}" (value)')
        cursor.executemany(
            f'INSERT INTO temp."param_{name}" VALUES (?)',
            ((value.bytes if isinstance(value, uuid.UUID) else value,) for value in values),
        )
    raw.set_progress_handler(_is_over(call), _STEPS)
    try:
        yield from _gathered(_fetched(cursor, lowered, schema))
    finally:
        raw.set_progress_handler(None, 0)
        cursor.close()


def _fetched(cursor: sqlite3.Cursor, lowered: Lowered, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    size = FIRST_ROWS
    for part in lowered.parts:
        cursor.execute(part.sql)
        fetched = _fetched_schema(part, schema)
        while rows := cursor.fetchmany(size):
            yield _with_constants(rows_to_batch(rows, fetched), part, schema)
            size = _FETCH_ROWS


def _fetched_schema(part: LoweredPart, schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for number, field in enumerate(schema) if number not in part.constants])


def _with_constants(fetched: pa.RecordBatch, part: LoweredPart, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of what was fetched and of the columns that were not."""
    constants = part.constants
    if not constants:
        return fetched
    columns = iter(fetched.columns)
    arrays = [
        pa.repeat(pa.scalar(constants[number], field.type), fetched.num_rows)
        if number in constants
        else next(columns)
        for number, field in enumerate(schema)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _is_over(call: ExecuteCall) -> Callable[[], bool]:
    deadline = None if call.timeout_s is None else time.monotonic() + call.timeout_s

    def over() -> bool:
        return not call.is_active() or (deadline is not None and time.monotonic() > deadline)

    return over


def _postgres(
    database: PostgresDatabase,
    connection: sa.Connection,
    lowered: Lowered,
    call: ExecuteCall,
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """Arrow as the driver makes it of a binary COPY, on a connection that shares the snapshot."""
    snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
    parameters = {name: _key_values(call.keys[name]) for name in lowered.key_names}
    # COPY takes no parameters: keys are written into the text, quoted by the library
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, psycopg.Connection)
    quoting = psycopg.ClientCursor(raw)
    with database.arrow(snapshot) as arrow, _cancelled_without_caller(arrow, call):
        if call.timeout_s is not None:
            arrow.execute(f"SET LOCAL statement_timeout = {max(1, int(min(call.timeout_s, 1e6) * 1000))}")

        def read() -> Iterator[pa.RecordBatch]:
            for part in lowered.parts:
                fetched = _fetched_schema(part, schema)
                with arrow.query(quoting.mogrify(part.sql, parameters), _BATCH_BYTES) as batches:
                    for batch in _gathered(batches):
                        yield _with_constants(retype_batch(batch, fetched), part, schema)

        yield from _gathered(read())


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The first batch at once, the others together until they have `BATCH_ROWS`."""
    held: list[pa.RecordBatch] = []
    count, wanted = 0, 1
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count >= wanted:
            yield _joined(held)
            held, count, wanted = [], 0, BATCH_ROWS
    if held:
        yield _joined(held)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


@contextmanager
def _cancelled_without_caller(arrow: ArrowConnection, call: ExecuteCall) -> Iterator[None]:
    """Cancel the statement when nobody waits for it any more, also while it has not given a row."""
    if call.is_active is _ALWAYS_ACTIVE:
        yield
        return
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(_WATCH_S):
            if not call.is_active():
                arrow.cancel()
                return

    watcher = threading.Thread(target=watch, name="federation-fragment-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


@contextmanager
def _driver_errors(place: str, call: ExecuteCall) -> Iterator[None]:
    """A driver's errors as ours; the drivers' cursors are used directly here."""
    try:
        yield
    except (sqlite3.Error, psycopg.Error, adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
        # the Arrow reader has its driver's error as text only
        text = " ".join(str(error).split()) or type(error).__name__
        if "interrupted" in text or "canceling statement" in text:
            raise LimitError(
                f"{place}: a fragment took too long", hint="narrow it, or allow more time"
            ) from error
        if "malformed" in text or "not a database" in text:
            raise CorruptionError(f"{place}: {text}", hint="restore the file from a backup") from error
        if "locked" in text or "no connection to the server" in text or "server closed" in text:
            raise UnavailableError(f"{place}: {text}", hint="check that the database runs") from error
        if isinstance(
            error,
            (
                sqlite3.OperationalError,
                psycopg.DataError,
                adbc_driver_manager.DataError,
                OSError,
                pa.ArrowException,
            ),
        ):
            raise QueryError(f"{place}: {text}", hint="a value is out of its range", sql=call.sql) from error
        if isinstance(error, (psycopg.OperationalError, adbc_driver_manager.OperationalError)):
            raise UnavailableError(f"{place}: {text}", hint="check that the database runs") from error
        raise UserError(f"{place} refuses a fragment: {text}", hint="report the statement") from error
