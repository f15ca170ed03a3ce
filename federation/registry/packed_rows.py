"""Rows of a bulk insert as a few parameters of one SQLite statement, which costs a third of one execution a row.

A JSON array has a number for each row, which holds the integers of the row as fields of bits; ``json_each`` gives the
rows. Bytes of one width, and texts, lie end to end in one parameter a column, and constants are parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import numpy as np

from federation.model.coded import Coded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["PackedRows", "packed"]

#: below this an execution for each row costs no more
PACKED_ROWS_MIN = 50
#: rows of one statement
_STATEMENT_ROWS = 50_000
#: what json_each reads as an integer, without its sign
_NUMBER_BITS = 62
#: texts are filled up to one width with this, which none of them ends with
_FILLING = "\1"
_TEXT_BYTES_MAX = 64
_JSON = msgspec.json.Encoder()


@attrs.frozen(eq=False)
class PackedRows:
    """``select`` gives the rows of a table, a batch for each of ``batches``: its parameters."""

    select: str
    constants: dict[str, Any]
    #: the integers of each row
    numbers: NDArray[np.int64]
    #: by parameter: width in bytes, and the values end to end
    joined: dict[str, tuple[int, bytes]]

    def batches(self) -> Iterator[dict[str, Any]]:
        """Parameters of statements that together have all rows, in order."""
        for begin in range(0, len(self.numbers), _STATEMENT_ROWS):
            end = begin + _STATEMENT_ROWS
            parameters = {**self.constants, "rows": _JSON.encode(self.numbers[begin:end].tolist()).decode()}
            for name, (width, data) in self.joined.items():
                parameters[name] = data[begin * width : end * width]
            yield parameters


def packed(columns: Sequence[Sequence[Any]]) -> PackedRows | None:
    """The rows of columns of one length; None where some column is of no kind that packs, or rows are few."""
    count = len(columns[0])
    if count < PACKED_ROWS_MIN:
        return None
    parts: list[str] = []
    constants: dict[str, Any] = {}
    joined: dict[str, tuple[int, bytes]] = {}
    numbers, bits = np.zeros(count, np.int64), 0
    for place, column in enumerate(columns):
        name = f"p{place}"
        kinds = set(map(type, column.values if isinstance(column, Coded) else column))
        if isinstance(column, Coded) and len(column.values) == 1:
            parts.append(f":{name}")
            constants[name] = column.values[0]
        elif kinds == {int}:
            values = _integers(column)
            least = int(values.min())
            width = (int(values.max()) - least).bit_length()
            if bits + width > _NUMBER_BITS:
                return None
            numbers |= (values - least) << bits
            parts.append(f"((value >> :{name}s) & :{name}m) + :{name}")
            constants |= {f"{name}s": bits, f"{name}m": (1 << width) - 1, name: least}
            bits += width
        else:
            found = _bytes(column) if kinds == {bytes} else _texts(column) if kinds == {str} else None
            if found is None:
                return None
            joined[name], constants[f"{name}w"] = found, found[0]
            piece = f"substr(:{name}, :{name}w * key + 1, :{name}w)"
            parts.append(
                piece if kinds == {bytes} else f"rtrim(CAST({piece} AS TEXT), char({ord(_FILLING)}))"
            )
    return PackedRows(f"SELECT {', '.join(parts)} FROM json_each(:rows)", constants, numbers, joined)


def _integers(column: Sequence[Any]) -> NDArray[np.int64]:
    if isinstance(column, Coded):
        return np.asarray(column.values, np.int64)[column.codes]
    return np.asarray(column, np.int64)


def _bytes(column: Sequence[bytes]) -> tuple[int, bytes] | None:
    """(width, the values end to end); None where they are of several widths, or empty."""
    widths = set(map(len, column))
    return (widths.pop(), b"".join(column)) if len(widths) == 1 and 0 not in widths else None


def _texts(column: Sequence[str]) -> tuple[int, bytes] | None:
    """(width in bytes, the texts filled up to it, end to end); None where they are long, or may not be filled up."""
    coded = Coded.of(column)
    encoded = [value.encode() for value in coded.values]
    width = max(1, *map(len, encoded))  # of texts that are all empty, too
    if width > _TEXT_BYTES_MAX or any(value.endswith(_FILLING) for value in coded.values):
        return None
    filled = b"".join(value.ljust(width, _FILLING.encode()) for value in encoded)
    return width, np.frombuffer(filled, f"V{width}")[coded.codes].tobytes()
