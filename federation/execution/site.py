"""Runs fragments at the site that holds the tables: checked, lowered, and read in one snapshot."""

from __future__ import annotations

import sqlite3
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import psycopg
import pyarrow as pa
from sqlglot import exp

from federation.changelog import log_state
from federation.errors import CorruptionError, LimitError, QueryError, UnavailableError, UserError
from federation.execution.lowering import Lowered, PhysicalTable, lower
from federation.model.logical import LogicalType
from federation.model.position import Position, SchemaId
from federation.planner.parse import parse_query
from federation.wire.arrow import arrow_schema, logical_of, rows_to_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import sqlalchemy as sa

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import ExecuteCall

__all__ = ["Answer", "SiteExecutor"]

Answer = tuple[tuple[Position, ...], pa.Schema, "Iterator[pa.RecordBatch]"]

#: rows in one batch
BATCH_ROWS = 10_000
#: steps of SQLite's virtual machine between two looks at the clock: about ten milliseconds
_STEPS = 1_000_000


@attrs.frozen
class SiteExecutor:
    """Answers fragments from one registry; ``row_count_max`` is the site's own limit for one answer."""

    registry: Registry
    row_count_max: int = 10_000_000

    def execute(self, call: ExecuteCall) -> Answer:
        """(positions that were read, Arrow schema, batches); the batches hold the snapshot until they are closed.

        Raises `QueryError` and `NotFoundError` for what the site does not run, `LimitError` at a limit.
        """
        schema = arrow_schema(call.columns)
        run = self._run(call, schema)
        positions = next(run)
        return positions, schema, run

    def _run(self, call: ExecuteCall, schema: pa.Schema) -> Generator[Any, None, None]:
        """Yields the positions first, then batches."""
        held = self._referenced(call.sql)
        with self.registry.database.read([one.physical for one in held]) as connection:
            lowered = self._lower(call, connection, held)
            if lowered.column_names != tuple(name for name, _ in call.columns):
                raise QueryError(
                    f"the statement gives columns {', '.join(lowered.column_names)}, "
                    f"not {', '.join(name for name, _ in call.columns)}",
                    hint="ask for the columns in their order and under their names",
                    sql=call.sql,
                )
            yield tuple(_position(connection, one) for one in held)
            limit = min(filter(None, (call.row_count_max, self.row_count_max)))
            raw = connection.connection.dbapi_connection
            assert raw is not None
            run = _sqlite_rows if self.registry.database.kind == "sqlite" else _postgres_rows
            row_count = 0
            with _driver_errors(self.registry.database.describe(), call):
                for rows in run(raw, lowered, call):
                    row_count += len(rows)
                    if row_count > limit:
                        raise LimitError(
                            f"site {self.registry.site}: more than {limit} rows for one fragment",
                            hint="narrow the WHERE clause, add a LIMIT, or raise row_count_max in [query]",
                        )
                    yield rows_to_batch(rows, schema)

    def _referenced(self, sql: str) -> tuple[HeldSchema, ...]:
        """The schemas held here that a fragment names; `lower` refuses any other."""
        named = {table.db for table in parse_query(sql).find_all(exp.Table) if "/" in table.db}
        return tuple(held for held in self.registry.held() if str(held.schema) in named)

    def _lower(self, call: ExecuteCall, connection: sa.Connection, held: Sequence[HeldSchema]) -> Lowered:
        tables = {
            (str(one.schema), name): PhysicalTable(one.physical, table, one.schema.site)
            for one in held
            for name, table in self.registry.tables_in(connection, one.physical).items()
        }
        keys = {name: logical_of(values.type) for name, values in call.keys.items()}
        return lower(call.sql, self.registry.database.kind, tables, keys)


def _position(connection: sa.Connection, held: HeldSchema) -> Position:
    schema: SchemaId = held.schema
    state = log_state(connection, held.physical)
    return Position(schema.site, schema.name, state.epoch, state.lsn)


def _key_values(values: pa.Array) -> list[Any]:
    """Keys as Python values: UUIDs as `uuid.UUID`, timestamps as TAI nanoseconds."""
    if logical_of(values.type) is LogicalType.TIMESTAMP:
        values = values.cast(pa.int64())
    found: list[Any] = values.to_pylist()
    return found


def _sqlite_rows(raw: Any, lowered: Lowered, call: ExecuteCall) -> Iterator[list[tuple[Any, ...]]]:
    cursor = raw.cursor()
    for name in lowered.key_names:
        values = _key_values(call.keys[name])
        cursor.execute(f'CREATE TABLE temp."param_{name}" (value)')
        cursor.executemany(
            f'INSERT INTO temp."param_{name}" VALUES (?)',
            ((value.bytes if isinstance(value, uuid.UUID) else value,) for value in values),
        )
    raw.set_progress_handler(_is_over(call), _STEPS)
    try:
        cursor.execute(lowered.sql)
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield rows
    finally:
        raw.set_progress_handler(None, 0)
        cursor.close()


def _is_over(call: ExecuteCall) -> Callable[[], bool]:
    deadline = None if call.timeout_s is None else time.monotonic() + call.timeout_s

    def over() -> bool:
        return not call.is_active() or (deadline is not None and time.monotonic() > deadline)

    return over


def _postgres_rows(raw: Any, lowered: Lowered, call: ExecuteCall) -> Iterator[list[tuple[Any, ...]]]:
    parameters = {name: _key_values(call.keys[name]) for name in lowered.key_names}
    if call.timeout_s is not None:
        raw.execute(f"SET LOCAL statement_timeout = {max(1, int(min(call.timeout_s, 1e6) * 1000))}")
    # a cursor of the server: only the batch at hand is in memory
    with raw.cursor(name=f"fragment_{uuid.uuid4().hex}") as cursor:
        cursor.execute(lowered.sql, parameters)
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield rows


@contextmanager
def _driver_errors(place: str, call: ExecuteCall) -> Iterator[None]:
    """A driver's errors as ours; both drivers' cursors are used directly here."""
    try:
        yield
    except (sqlite3.Error, psycopg.Error) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "interrupted" in text or isinstance(error, psycopg.errors.QueryCanceled):
            raise LimitError(
                f"{place}: a fragment took too long", hint="narrow it, or allow more time"
            ) from error
        if "malformed" in text or "not a database" in text:
            raise CorruptionError(f"{place}: {text}", hint="restore the file from a backup") from error
        if isinstance(error, psycopg.OperationalError) or "locked" in text:
            raise UnavailableError(f"{place}: {text}", hint="check that the database runs") from error
        if isinstance(error, (sqlite3.OperationalError, psycopg.DataError)):
            raise QueryError(f"{place}: {text}", hint="a value is out of its range", sql=call.sql) from error
        raise UserError(f"{place} refuses a fragment: {text}", hint="report the statement") from error
