"""Rows of a lowered statement as Arrow batches, read in the snapshot of an open connection."""

from __future__ import annotations

import itertools
import math
import sqlite3
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import attrs
import psycopg
import pyarrow as pa

from federation.errors import CorruptionError, LimitError, QueryError, UnavailableError, UserError
from federation.execution.caller_watch import cancelled_without_caller
from federation.execution.cost import STEPS, StepsSpent, check_estimate
from federation.execution.key_tables import ArrayParameters, fill_key_table
from federation.execution.packed_reading import lies_in_order, packed_rows
from federation.storage import PostgresDatabase
from federation.wire.arrow import retype_batch, rows_to_batch
from federation.wire.messages import ExecuteCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import sqlalchemy as sa

    from federation.execution.lowering import Lowered, LoweredPart
    from federation.storage import Database

__all__ = ["read_batches"]

#: rows in the first batch, which somebody waits for, and in the others: a message costs as much as some hundred rows
FIRST_ROWS = 500
BATCH_ROWS = 16_384
#: rows that sqlite3 makes Python objects of at a time: with many more they fall out of the processor's cache
_FETCH_ROWS = 2_000
#: PostgreSQL's rows that are taken without Arrow: so few are here before another connection has joined the snapshot
FEW_ROWS = 1_000
#: PostgreSQL's batches, in bytes as they come: about as many rows
_BATCH_BYTES = 64 << 10
_ALWAYS_ACTIVE = attrs.fields(ExecuteCall).is_active.default


def read_batches(
    database: Database,
    connection: sa.Connection,
    lowered: Lowered,
    call: ExecuteCall,
    schema: pa.Schema,
    cost_max: float = math.inf,
    *,
    expects_few: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Run ``lowered`` in the transaction of ``connection``; leaving the iterator ends the database's work.

    With ``expects_few``, of about `FEW_ROWS`, more rows come as well, but take longer.
    Raises `LimitError` when time runs out, the caller is gone or it costs more than ``cost_max``, `QueryError` for a
    value out of range.
    """
    with _driver_errors(database.describe(), call):
        if isinstance(database, PostgresDatabase):
            yield from _postgres(database, connection, lowered, call, schema, cost_max, expects_few)
        else:
            raw = connection.connection.dbapi_connection
            yield from _sqlite(raw, lowered, call, schema, cost_max)


def _sqlite(
    raw: Any, lowered: Lowered, call: ExecuteCall, schema: pa.Schema, cost_max: float
) -> Iterator[pa.RecordBatch]:
    cursor = raw.cursor()
    for name in lowered.key_names:
        fill_key_table(cursor, name, call.keys[name])
    is_over = _is_over(call)
    work = StepsSpent(cost_max, is_over)
    raw.set_progress_handler(work.step, STEPS)
    try:
        yield from _gathered(_fetched(cursor, lowered, schema))
    except sqlite3.OperationalError as error:
        work.check(error)
        # the handler is where a signal is noticed, and the driver makes this of what it raises there
        if "interrupted" in str(error) and not is_over():
            raise KeyboardInterrupt from error
        raise
    finally:
        raw.set_progress_handler(None, 0)
        cursor.close()


def _fetched(cursor: sqlite3.Cursor, lowered: Lowered, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    size = FIRST_ROWS
    for part in lowered.parts:
        fetched = _fetched_schema(part, schema)
        if part.scan is not None and lies_in_order(cursor, part.scan):
            for batch in packed_rows(cursor, part.scan, fetched, size, _FETCH_ROWS):
                yield _with_constants(batch, part, schema)
                size = _FETCH_ROWS
            continue
        cursor.execute(part.sql)
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
    cost_max: float,
    expects_few: bool,
) -> Iterator[pa.RecordBatch]:
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    parameters = ArrayParameters(call.keys)
    # COPY takes no parameters: keys are written into the text, quoted by the library
    quoting = psycopg.ClientCursor(raw)
    texts = [quoting.mogrify(part.sql, parameters) for part in lowered.parts]
    if cost_max < math.inf:
        check_estimate(raw, texts, cost_max)
    read = _read_few(raw, call) if expects_few else _copied(database, raw, call)
    with read as batches_of:

        def parts() -> Iterator[pa.RecordBatch]:
            for part, text in zip(lowered.parts, texts, strict=True):
                fetched = _fetched_schema(part, schema)
                for batch in _gathered(batches_of(text, fetched)):
                    yield _with_constants(batch, part, schema)

        yield from _gathered(parts())


@contextmanager
def _copied(
    database: PostgresDatabase, raw: psycopg.Connection[Any], call: ExecuteCall
) -> Iterator[Callable[[str, pa.Schema], Iterator[pa.RecordBatch]]]:
    """Arrow as the driver makes it of a binary COPY, on a connection that shares the snapshot of ``raw``."""
    row = raw.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    with database.arrow(row[0], call.timeout_s) as arrow, ExitStack() as watched:
        if call.is_active is not _ALWAYS_ACTIVE:
            watched.enter_context(cancelled_without_caller(call.is_active, arrow.cancel))

        def batches(text: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
            with arrow.query(text, _BATCH_BYTES) as found:
                for batch in found:
                    yield retype_batch(batch, schema)

        yield batches


@contextmanager
def _read_few(
    raw: psycopg.Connection[Any], call: ExecuteCall
) -> Iterator[Callable[[str, pa.Schema], Iterator[pa.RecordBatch]]]:
    """Arrow made of rows as Python objects, on the connection that has the snapshot already."""
    is_over = _is_over(call)
    with cancelled_without_caller(lambda: not is_over(), raw.cancel):

        def batches(text: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
            with raw.cursor(binary=True) as cursor:
                rows = cursor.stream(text.encode(), size=FEW_ROWS)
                try:
                    while found := list(itertools.islice(rows, FEW_ROWS)):
                        yield rows_to_batch(found, schema)
                finally:
                    rows.close()  # type: ignore[attr-defined]  # a generator: what is left is cancelled

        yield batches


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
