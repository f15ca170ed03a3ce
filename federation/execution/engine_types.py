"""What DuckDB gives as Arrow, in the types that a plan announces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from federation.errors import QueryError
from federation.model.logical import LogicalType
from federation.wire.arrow import ARROW_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.plan import OutputColumn

__all__ = ["first_line", "typed"]


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return str(error).strip().splitlines()[0]


def typed(table: pa.Table, columns: Sequence[OutputColumn]) -> pa.Table:
    """The engine's columns in the planned types, or where none is planned in plain Arrow ones."""
    arrays, fields = [], []
    for column, values in zip(columns, table.columns, strict=True):
        try:
            fixed = _plain(values)
            if column.type is not None and fixed.type != ARROW_TYPES[column.type]:
                fixed = _cast(fixed, column.type)
        except pa.ArrowException as error:
            raise QueryError(
                f"column {column.name!r} holds a value that is no {column.type}: {first_line(error)}",
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
