"""The changes of several log entries as few changes of many rows: what is applied at once is decoded at once.

Small transactions are the common case, and their cost is by entry, not by row. Those that differ in values only are
decoded by arrays; else all bodies are decoded by one call, and rows of one table that follow each other become columns
only once.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard

from federation.changelog.alike import alike_changes
from federation.changelog.codec import decode_changes, plain_body, unpacked_column
from federation.errors import CorruptionError
from federation.garbage import no_cycle_search
from federation.model.change import Change, Operation
from federation.model.coded import Coded

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

__all__ = ["merged_changes"]

_CONSTANT, _FIXED_WIDTH, _LIST = 0, 1, 2
#: an array of up to 2^32 - 1 values, whose number follows: https://github.com/msgpack/msgpack/blob/master/spec.md
_ARRAY = b"\xdd"


class _Column(msgspec.Struct, array_like=True, gc=False):
    """One column of a change as the codec packs it: ``[0, value]``, ``[1, width, bytes]`` or ``[2, values]``."""

    form: int
    value: Any
    joined: bytes = b""

    def values(self, count: int) -> Sequence[Any]:
        packed = [self.form, self.value]
        return unpacked_column([*packed, self.joined] if self.form == _FIXED_WIDTH else packed, count)


class _Packed(msgspec.Struct, array_like=True, gc=False):
    """One change of a body. The names of columns, mostly the same ones again, are decoded once."""

    table: str
    operation: str
    columns: msgspec.Raw
    count: int
    values: list[_Column]


_DECODER = msgspec.msgpack.Decoder(list[list[_Packed]])
_NAMES = msgspec.msgpack.Decoder(tuple[str, ...])
_ENCODER = msgspec.msgpack.Encoder()


def merged_changes(bodies: Sequence[bytes], apart: Container[str] = ()) -> list[Change]:
    """The changes of bodies of entries, in an order that comes to the same.

    Changes to one table stay in order; they pass those to other tables, but not those to tables in ``apart``, which
    come one by one. `CorruptionError` when the bytes are not bodies.
    """
    with no_cycle_search():
        try:
            alike = alike_changes(bodies, apart)
            if alike is not None:
                return alike
            return list(_merged(chain.from_iterable(_decoded(bodies)), apart))
        except (msgspec.DecodeError, zstandard.ZstdError, ValueError, MemoryError) as error:
            raise CorruptionError(
                f"log entry can't be decoded: {error}", hint="the entry was damaged"
            ) from error


def _merged(packed: Iterable[_Packed], apart: Container[str]) -> Iterator[Change]:
    runs: dict[str, _Run] = {}
    for change in packed:
        table, columns = change.table, bytes(change.columns)
        if table in apart:
            yield from (run.change() for run in runs.values())
            runs.clear()
            yield _Run(table, change.operation, columns).add(change).change()
            continue
        run = runs.get(table)
        if run is None or run.columns != columns or run.operation != change.operation:
            if run is not None:
                yield run.change()
            run = runs[table] = _Run(table, change.operation, columns)
        run.add(change)
    yield from (run.change() for run in runs.values())


def _decoded(bodies: Sequence[bytes]) -> list[list[_Packed]]:
    if any(body[:1] not in (b"\2", b"\3") for body in bodies):
        return [[_repacked(change) for change in decode_changes(body)] for body in bodies]
    decompressor = zstandard.ZstdDecompressor()
    plain = [plain_body(body, decompressor) for body in bodies]
    return _DECODER.decode(b"".join((_ARRAY, len(plain).to_bytes(4, "big"), *plain)))


def _repacked(change: Change) -> _Packed:
    """A change of an older format in the form of this one."""
    values = [_Column(_LIST, list(column)) for column in change.values]
    columns = msgspec.Raw(_ENCODER.encode(change.columns))
    return _Packed(change.table, change.operation.value, columns, change.row_count, values)


class _Run:
    """Changes of one operation to the same columns (msgpack of their names) of one table, one after the other."""

    def __init__(self, table: str, operation: str, columns: bytes) -> None:
        self.table, self.operation, self.columns = table, operation, columns
        self._names = _NAMES.decode(columns)
        #: single rows since the last part
        self._rows: list[list[Any]] = []
        self._parts: list[tuple[int, list[_Column]]] = []

    def add(self, change: _Packed) -> _Run:
        if len(change.values) != len(self._names):
            raise ValueError(f"{len(change.values)} columns for {len(self._names)} names")
        if change.count == 1 and not sum([column.form for column in change.values]):
            self._rows.append([column.value for column in change.values])
        else:
            self._close_rows()
            self._parts.append((change.count, change.values))
        return self

    def _close_rows(self) -> None:
        if self._rows:
            columns = [_column_of(values) for values in zip(*self._rows, strict=True)]
            self._parts.append((len(self._rows), columns))
            self._rows = []

    def change(self) -> Change:
        self._close_rows()
        counts = [count for count, _ in self._parts]
        columns = zip(*(columns for _, columns in self._parts), strict=True)
        values = tuple(_joined(parts, counts) for parts in columns)
        return Change(self.table, Operation(self.operation), self._names, values)


def _column_of(values: Sequence[Any]) -> _Column:
    """The values of single rows as one part; that texts are the same is seen at once."""
    first = values[0]
    if type(first) is str and values[-1] == first and values.count(first) == len(values):
        return _Column(_CONSTANT, first)
    return _Column(_LIST, list(values))


def _joined(parts: Sequence[_Column], counts: Sequence[int]) -> Sequence[Any]:
    """One column from its parts."""
    # repr: 1, 1.0 and True are equal, and not the same; neither are 0.0 and -0.0
    if all(part.form == _CONSTANT for part in parts) and len({repr(part.value) for part in parts}) == 1:
        return Coded.constant(parts[0].value, sum(counts))
    values = [part.values(count) for part, count in zip(parts, counts, strict=True)]
    return values[0] if len(values) == 1 else list(chain.from_iterable(values))
