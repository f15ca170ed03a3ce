"""Rows in PostgreSQL's binary COPY form, laid out by arrays, all rows of one shape at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from federation.model.coded import Coded
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = ["HEADER", "TRAILER", "Field", "block_of", "shapes_of"]

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
#: shapes of rows for which laying out bytes by arrays is worth its start
_SHAPES_MAX = 64
_FIXED = {
    LogicalType.INT64: ">i8",
    LogicalType.FLOAT64: ">f8",
    LogicalType.BOOL: "?",
    LogicalType.TIMESTAMP: ">i8",
}


@attrs.frozen(eq=False)
class Field:
    """One column in PostgreSQL's binary form: ``widths`` (int32) in bytes by row, -1 for NULL, and the values.

    ``data`` is an array of fixed-width values, or a list of bytes; by row, or with ``codes`` by place in it.
    """

    widths: NDArray[np.int32]
    data: NDArray[Any] | list[bytes]
    codes: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, type_: LogicalType, column: Sequence[Any]) -> Field:
        if isinstance(column, Coded):
            distinct = cls.of(type_, list(column.values))
            return cls(distinct.widths[column.codes], distinct.data, column.codes)
        count = len(column)
        missing = np.fromiter((value is None for value in column), bool, count) if None in column else None
        data: NDArray[Any] | list[bytes]
        if type_ in _FIXED:
            dtype = np.dtype(_FIXED[type_])
            values: Any = column if missing is None else [0 if value is None else value for value in column]
            data = np.asarray(values, dtype)
            widths = np.full(count, dtype.itemsize, np.int32)
        else:
            texts = type_ is LogicalType.STRING
            data = [b"" if v is None else v.encode() if texts else v for v in column]
            widths = np.fromiter(map(len, data), np.int32, count)
        if missing is not None:
            widths[missing] = -1
        return cls(widths, data)

    def bytes_of(self, rows: Rows, width: int) -> NDArray[Any]:
        """The values of rows that all have ``width`` bytes."""
        if isinstance(self.data, np.ndarray):
            return self.data[rows if self.codes is None else self.codes[rows]]
        if self.codes is None:
            chosen = map(self.data.__getitem__, rows.tolist())
            return np.frombuffer(b"".join(chosen), f"V{width}")
        # values of other widths are not of these rows
        padded = b"".join(value.ljust(width, b"\0")[:width] for value in self.data)
        return np.frombuffer(padded, f"V{width}")[self.codes[rows]]


def shapes_of(fields: Sequence[Field]) -> list[Rows] | None:
    """Rows grouped by the widths of their values; None when the groups are too many for arrays to pay."""
    count = len(fields[0].widths)
    varying = [field.widths for field in fields if field.widths.min() != field.widths.max()]
    if not varying:
        return [np.arange(count)]
    shapes, which = np.unique(np.stack(varying, axis=1), axis=0, return_inverse=True)
    if len(shapes) > min(_SHAPES_MAX, max(1, count // 100)):
        return None
    return [np.flatnonzero(which.reshape(-1) == number) for number in range(len(shapes))]


def block_of(fields: Sequence[Field], rows: Rows) -> bytes:
    """Tuples of rows of one shape.

    A tuple is a 16-bit count of fields, then for each a 32-bit length (-1: NULL) and its bytes, all big-endian:
    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS-BINARY-FORMAT
    """
    widths = [int(field.widths[rows[0]]) for field in fields]
    parts = [
        field.bytes_of(rows, width) if width > 0 else None
        for field, width in zip(fields, widths, strict=True)
    ]
    types: list[tuple[str, Any]] = [("count", ">i2")]
    for place, part in enumerate(parts):
        types.append((f"length{place}", ">i4"))
        if part is not None:
            types.append((f"value{place}", part.dtype))
    block = np.empty(len(rows), np.dtype(types))
    block["count"] = len(fields)
    for place, (width, part) in enumerate(zip(widths, parts, strict=True)):
        block[f"length{place}"] = width
        if part is not None:
            block[f"value{place}"] = part
    return block.tobytes()
