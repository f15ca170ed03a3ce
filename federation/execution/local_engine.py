"""The local engine: DuckDB, in memory, over the fragments' rows."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from federation.errors import LimitError, QueryError
from federation.execution.caller_watch import cancelled_without_caller
from federation.execution.engine_instances import EngineInstances
from federation.execution.engine_types import first_line, typed
from federation.execution.interruptible import ctrl_c
from federation.execution.join_count import relation_count
from federation.execution.region_functions import pair_table, register_region_functions, uses_region_functions
from federation.model.sql_text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from federation.errors import FederationError
    from federation.execution.result_limit import ResultLimit
    from federation.planner.plan import OutputColumn, PairTable

__all__ = ["LocalEngine"]

#: rows of one batch of a stream
_BATCH_ROWS = 10_000
#: so many bytes of fragments are read where they are; more are loaded, to count to the memory and to be spilled
_REGISTERED_BYTES = 256 << 20
#: rows of one batch of an answer that is wanted whole: with fewer it takes longer
_TABLE_ROWS = 100_000


class LocalEngine:
    """Runs local statements, each in a connection of its own; thread-safe."""

    def __init__(
        self, memory_limit: str = "2GB", spill_limit: str = "20GB", spill_directory: Path | None = None
    ) -> None:
        self._instances = EngineInstances(memory_limit, spill_limit, spill_directory)

    def close(self) -> None:
        """End the engine, once no statement is running; it starts again when it is used."""
        self._instances.close()

    def run(
        self,
        tables: dict[str, pa.Table],
        sql: str,
        columns: Sequence[OutputColumn],
        timeout_s: float | None = None,
        pairs: Sequence[PairTable] = (),
        limit: ResultLimit | None = None,
    ) -> pa.Table:
        """Load ``tables`` under their names, find ``pairs``, run ``sql``, and give its columns the planned types.

        The rows come a batch at a time, so that no more of them than ``limit`` allows are ever held. Takes the tables
        out of the dict as they are loaded, so that their memory is free. Raises `QueryError` for a value that a
        function can't take, `LimitError` when memory or time run out.
        """
        failures: list[FederationError] = []
        with (
            _engine_errors(sql, failures),
            self._prepared(tables, sql, timeout_s, pairs, failures) as connection,
        ):
            reader = connection.sql(sql).to_arrow_reader(_TABLE_ROWS)
            batches = iter(reader) if limit is None else limit.kept(reader)
            return typed(pa.Table.from_batches(list(batches), schema=reader.schema), columns)

    @contextmanager
    def stream(
        self,
        tables: dict[str, pa.Table],
        sql: str,
        columns: Sequence[OutputColumn],
        timeout_s: float | None = None,
        pairs: Sequence[PairTable] = (),
    ) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """As `run`, but the schema, and batches as the engine makes them, within this context."""
        failures: list[FederationError] = []
        with ExitStack() as open_:
            with _engine_errors(sql, failures):
                prepared = self._prepared(tables, sql, timeout_s, pairs, failures)
                connection = open_.enter_context(prepared)
                reader = connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
            schema = typed(reader.schema.empty_table(), columns).schema
            # errors of the caller's own code pass through here as they are
            yield schema, _batches(reader, columns, sql, failures)

    @contextmanager
    def _prepared(
        self,
        tables: dict[str, pa.Table],
        sql: str,
        timeout_s: float | None,
        pairs: Sequence[PairTable],
        failures: list[FederationError],
    ) -> Iterator[Any]:
        """A connection that has the tables and pairs; what it runs is interrupted when the time is over."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        text = " ".join((sql, *(part for pair in pairs for part in (pair.left_sql, pair.right_sql))))
        byte_count = sum(table.nbytes for table in tables.values())
        with (
            self._instances.connection(byte_count, own=uses_region_functions(text)) as connection,
            _interrupted_after(connection, timeout_s),
        ):
            register_region_functions(connection, text, failures)
            is_registered = 0 < byte_count <= _REGISTERED_BYTES and not pairs and relation_count(sql) <= 2
            for name in list(tables):
                if is_registered:
                    connection.register(name, tables.pop(name))
                else:
                    _load(connection, name, tables.pop(name))
            for pair in pairs:
                left = connection.sql(pair.left_sql).to_arrow_table()
                right = connection.sql(pair.right_sql).to_arrow_table()
                found = pair_table(pair.kind, left, right, lambda: _check_time(deadline))
                _load(connection, pair.name, found)
            _check_time(deadline)
            yield connection


def _batches(
    reader: pa.RecordBatchReader,
    columns: Sequence[OutputColumn],
    sql: str,
    failures: Sequence[FederationError],
) -> Iterator[pa.RecordBatch]:
    while True:
        with _engine_errors(sql, failures):
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
        yield from typed(pa.Table.from_batches([batch]), columns).to_batches()


def _load(connection: Any, name: str, table: pa.Table) -> None:
    connection.register("arriving", table)
    connection.execute(f"CREATE TEMP TABLE {quoted(name)} AS SELECT * FROM arriving")
    connection.unregister("arriving")


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise LimitError("the local part of the query took too long", hint="allow more time")


@contextmanager
def _interrupted_after(connection: Any, timeout_s: float | None) -> Iterator[None]:
    end = math.inf if timeout_s is None else time.monotonic() + timeout_s
    with (
        ctrl_c() as is_pressed,
        cancelled_without_caller(lambda: time.monotonic() < end and not is_pressed(), connection.interrupt),
    ):
        yield


@contextmanager
def _engine_errors(sql: str, failures: Sequence[FederationError]) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # what DuckDB makes of Ctrl-C; its own errors are of other classes
        if "Query interrupted" in str(error) and not isinstance(error, duckdb.Error):
            raise KeyboardInterrupt from error
        raise
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise _translated(error, sql, failures) from error


def _translated(error: Exception, sql: str, failures: Sequence[FederationError]) -> FederationError:
    """The error of ours; a reader of Arrow has the engine's error as text only."""
    text = first_line(error)
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in text:
        return LimitError("the local part of the query took too long", hint="allow more time")
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in text:
        return LimitError(
            f"the local engine is out of memory: {text}",
            hint="select fewer rows or columns, or raise memory_limit in [query]",
        )
    if failures:
        return QueryError(failures[0].message, hint=failures[0].hint, sql=sql)
    return QueryError(text, hint="a value is not what a function needs", sql=sql)
