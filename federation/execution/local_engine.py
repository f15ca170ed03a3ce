"""The local engine: DuckDB, in memory, over the fragments' rows."""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import duckdb
import pyarrow as pa

from federation.errors import LimitError, QueryError, UserError
from federation.execution.region_functions import pair_table, register_region_functions
from federation.model.logical import LogicalType
from federation.model.sql_text import quoted, text_literal
from federation.wire.arrow import ARROW_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from federation.errors import FederationError
    from federation.planner.plan import OutputColumn, PairTable

__all__ = ["LocalEngine"]

_SETTINGS = (
    "SET integer_division = true",
    "SET default_null_order = 'postgres'",
    "SET arrow_lossless_conversion = true",
    "SET TimeZone = 'UTC'",
)


@attrs.frozen
class LocalEngine:
    """Runs local statements, each in a database of its own; more than ``memory_limit`` is spilled to a file."""

    memory_limit: str = "2GB"

    def run(
        self,
        tables: Mapping[str, pa.Table],
        sql: str,
        columns: Sequence[OutputColumn],
        timeout_s: float | None = None,
        pairs: Sequence[PairTable] = (),
    ) -> pa.Table:
        """Load ``tables`` under their names, find ``pairs``, run ``sql``, and give its columns the planned types.

        Raises `QueryError` for a value that a function can't take, `LimitError` when memory or time run out.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        failures: list[FederationError] = []
        text = " ".join((sql, *(part for pair in pairs for part in (pair.left_sql, pair.right_sql))))
        with (
            tempfile.TemporaryDirectory(prefix="federation-query-", ignore_cleanup_errors=True) as spill,
            _engine_errors(sql, failures),
            closing(duckdb.connect(":memory:")) as connection,
        ):
            register_region_functions(connection, text, failures)
            self._configure(connection, spill)
            for name, table in tables.items():
                _load(connection, name, table)
            for pair in pairs:
                with _interrupted_after(connection, timeout_s):
                    left = connection.sql(pair.left_sql).to_arrow_table()
                    right = connection.sql(pair.right_sql).to_arrow_table()
                _load(
                    connection, pair.name, pair_table(pair.kind, left, right, lambda: _check_time(deadline))
                )
            with _interrupted_after(connection, _remaining(deadline)):
                found = connection.sql(sql).to_arrow_table()
        return _typed(found, columns)

    def _configure(self, connection: Any, spill: str) -> None:
        for setting in _SETTINGS:
            connection.execute(setting)
        try:
            connection.execute(f"SET memory_limit = {text_literal(self.memory_limit)}")
        except duckdb.Error as error:
            raise UserError(
                f"memory_limit {self.memory_limit!r} is not a size", hint='write "2GB" or "512MB" in [query]'
            ) from error
        connection.execute(f"SET temp_directory = {text_literal(spill)}")
        # statements read what was loaded and nothing else of this machine
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")


def _load(connection: Any, name: str, table: pa.Table) -> None:
    connection.register("arriving", table)
    connection.execute(f"CREATE TEMP TABLE {quoted(name)} AS SELECT * FROM arriving")
    connection.unregister("arriving")


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _check_time(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise LimitError("the local part of the query took too long", hint="allow more time")


@contextmanager
def _interrupted_after(connection: Any, timeout_s: float | None) -> Iterator[None]:
    timer = threading.Timer(timeout_s, connection.interrupt) if timeout_s is not None else None
    if timer is None:
        yield
        return
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def _engine_errors(sql: str, failures: Sequence[FederationError]) -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException as error:
        raise LimitError("the local part of the query took too long", hint="allow more time") from error
    except duckdb.OutOfMemoryException as error:
        raise LimitError(
            f"the local engine is out of memory: {_first_line(error)}",
            hint="select fewer rows or columns, or raise memory_limit in [query]",
        ) from error
    except duckdb.Error as error:
        if failures:
            raise QueryError(failures[0].message, hint=failures[0].hint, sql=sql) from error
        raise QueryError(_first_line(error), hint="a value is not what a function needs", sql=sql) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _typed(table: pa.Table, columns: Sequence[OutputColumn]) -> pa.Table:
    """The engine's columns in the planned types, or where none is planned in plain Arrow ones."""
    arrays, fields = [], []
    for column, values in zip(columns, table.columns, strict=True):
        try:
            fixed = _plain(values)
            if column.type is not None and fixed.type != ARROW_TYPES[column.type]:
                fixed = _cast(fixed, column.type)
        except pa.ArrowException as error:
            raise QueryError(
                f"column {column.name!r} holds a value that is no {column.type}: {_first_line(error)}",
                hint="cast it to another type",
            ) from error
        arrays.append(fixed)
        fields.append(pa.field(column.name, fixed.type))
    return pa.table(arrays, schema=pa.schema(fields))


def _cast(values: pa.ChunkedArray, kind: LogicalType) -> pa.ChunkedArray:
    if kind is LogicalType.UUID and not pa.types.is_null(values.type):
        return pa.chunked_array(
            [pa.ExtensionArray.from_storage(pa.uuid(), chunk.cast(pa.binary(16))) for chunk in values.chunks],
            type=pa.uuid(),
        )
    return values.cast(ARROW_TYPES[kind])


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """DuckDB's own extension types as Arrow's: booleans of one byte, and integers of 128 bits as decimals."""
    if values.type == pa.uuid() or not isinstance(values.type, pa.BaseExtensionType):
        return values
    if values.type.extension_name == "arrow.bool8":
        return pa.chunked_array([chunk.storage.cast(pa.bool_()) for chunk in values.chunks], type=pa.bool_())
    if values.type.extension_name == "arrow.opaque" and "hugeint" in str(values.type):
        kind = pa.decimal128(38, 0)
        return pa.chunked_array([_hugeint(chunk.storage, kind) for chunk in values.chunks], type=kind)
    raise QueryError(
        f"a column of type {values.type} has no meaning outside the engine", hint="cast it to text"
    )


def _hugeint(storage: pa.Array, kind: pa.DataType) -> pa.Array:
    # both are signed 128-bit integers, least byte first
    buffers = storage.buffers()
    array = pa.Array.from_buffers(kind, len(storage), buffers, offset=storage.offset)
    array.validate(full=True)
    return array
