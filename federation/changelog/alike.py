"""Bodies of log entries that differ in values only, decoded together: a column at a time, from the same places of all.

Small transactions repeat each other: rows of the same tables, one a table, of the same columns. In bodies of one length
that agree in every byte but those of values, each value lies where it lies in the first one. So one body is read as
MessagePack, and arrays take the rest: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import numpy as np

from federation.model.change import Change, Operation
from federation.model.coded import Coded

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

__all__ = ["ALIKE_MIN", "alike_changes"]

#: fewer bodies are decoded as quickly one by one
ALIKE_MIN = 64
#: bodies for each that is read to see what others look like, at least: with fewer they are not alike
_BODIES_PER_FORM = 24
#: first byte of a value -> its type of array; the rest of the value is that
_NUMBERS = {
    0xCA: ">f4",
    0xCB: ">f8",
    0xCC: ">u1",
    0xCD: ">u2",
    0xCE: ">u4",
    0xCF: ">u8",
    0xD0: ">i1",
    0xD1: ">i2",
    0xD2: ">i4",
    0xD3: ">i8",
}
#: first byte of texts and bytes -> bytes that their length takes
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
#: the least number that is not one byte with its type
_SMALL_END = 0x80

_ENCODER = msgspec.msgpack.Encoder()
_HEADS = msgspec.msgpack.Decoder(list[tuple[str, str, tuple[str, ...], int, list[tuple[int, msgspec.Raw]]]])


class _OtherFormError(Exception):
    """A body is not one single row a table, or has values that lie nowhere in particular."""


@attrs.frozen
class _Head:
    """One change of a body without its values."""

    table: str
    operation: str
    columns: tuple[str, ...]


@attrs.frozen
class _Field:
    """Where a value lies in a body: its own bytes, after those that say what it is."""

    kind: str
    begin: int
    end: int

    def values(self, bodies: Bytes) -> Sequence[Any]:
        """The values of bodies, one below the other."""
        part = np.ascontiguousarray(bodies[:, self.begin : self.end])
        if self.kind == "constant":
            value = msgspec.msgpack.decode(part[0].tobytes())
            return [value] * len(part)
        if self.kind not in ("text", "bytes"):
            found: list[Any] = part.view(self.kind)[:, 0].tolist()
            return found
        width = self.end - self.begin
        if self.kind == "text" and (width == 0 or (part == part[0]).all()):
            return Coded.constant(part[0].tobytes().decode(), len(part))
        joined = part.tobytes()
        if self.kind == "text" and part.max() < _SMALL_END:
            text = joined.decode("ascii")
            return [text[place : place + width] for place in range(0, len(text), width)]
        pieces = [joined[place : place + width] for place in range(0, len(joined), width or 1)]
        if self.kind == "text":
            return [piece.decode() for piece in pieces]
        return pieces if width else [b""] * len(part)


@attrs.frozen
class _Form:
    """What bodies of one form have in common."""

    heads: tuple[_Head, ...]
    #: of each change its columns' values
    fields: tuple[tuple[_Field, ...], ...]
    #: the places whose bytes are not of values, and those of numbers of one byte
    fixed: npt.NDArray[np.intp]
    small: npt.NDArray[np.intp]

    @classmethod
    def of(cls, body: bytes) -> _Form:
        """The form of a body; `_OtherFormError` where it has none, `msgspec.DecodeError` if it is no body."""
        changes = _HEADS.decode(body[1:])
        heads, fields, small = [], [], []
        is_fixed = np.ones(len(body), dtype=bool)
        place = _after(body, 1, _array_of(len(changes)))
        for table, operation, columns, count, packed in changes:
            if count != 1 or len(packed) != len(columns):
                raise _OtherFormError
            heads.append(_Head(table, operation, columns))
            place = _after(body, place, _array_of(5), *map(_ENCODER.encode, (table, operation, columns, 1)))
            place = _after(body, place, _array_of(len(packed)))
            found = []
            for _, raw in packed:
                begin, value = _after(body, place, b"\x92\x00"), bytes(raw)
                field = _field(value, begin)
                place = begin + len(value)
                if field.kind != "constant":
                    is_fixed[field.begin : field.end] = False
                if len(value) == 1 and field.kind == ">u1":
                    small.append(begin)
                found.append(field)
            fields.append(tuple(found))
        if len({head.table for head in heads}) < len(heads):
            raise _OtherFormError
        return cls(tuple(heads), tuple(fields), np.flatnonzero(is_fixed), np.array(small, dtype=np.intp))

    def fits(self, bodies: Bytes) -> npt.NDArray[np.bool_]:
        """Which of some bodies have this form; the first one has."""
        is_alike = (bodies[:, self.fixed] == bodies[0, self.fixed]).all(axis=1)
        found: npt.NDArray[np.bool_] = is_alike & (bodies[:, self.small] < _SMALL_END).all(axis=1)
        return found


def _field(value: bytes, begin: int) -> _Field:
    """The field of a packed value that begins at a place."""
    first, end = value[0], begin + len(value)
    if first < _SMALL_END:
        return _Field(">u1", begin, end)
    if first in _NUMBERS:
        return _Field(_NUMBERS[first], begin + 1, end)
    if first in _LENGTHS:
        return _Field("bytes" if first < 0xD0 else "text", begin + 1 + _LENGTHS[first], end)
    if 0xA0 <= first < 0xC0:
        return _Field("text", begin + 1, end)
    if len(value) == 1:  # nil, a boolean, a small negative number: the byte itself is what must be the same
        return _Field("constant", begin, end)
    raise _OtherFormError


def _array_of(count: int) -> bytes:
    """The beginning of an array, as our encoder writes it."""
    return _ENCODER.encode((None,) * count)[:-count] if count else b"\x90"


def _after(body: bytes, place: int, *expected: bytes) -> int:
    """The place after what is expected at a place; `_OtherFormError` where it is written otherwise."""
    joined = b"".join(expected)
    if body[place : place + len(joined)] != joined:
        raise _OtherFormError
    return place + len(joined)


@attrs.frozen
class _Part:
    """The rows that bodies of one form, at ``places`` among all, have for one table: its change of that number."""

    places: npt.NDArray[np.intp]
    form: _Form
    number: int
    bodies: Bytes

    @property
    def head(self) -> _Head:
        return self.form.heads[self.number]

    def column(self, place: int) -> Sequence[Any]:
        return self.form.fields[self.number][place].values(self.bodies)


def alike_changes(bodies: Sequence[bytes], apart: Container[str]) -> list[Change] | None:
    """The changes of bodies, one for each table, with the rows in the order of the bodies.

    None where they are not alike, or no bodies of the present format, or change a table that is in ``apart``. Raises
    `ValueError` for texts that are none.
    """
    if len(bodies) < ALIKE_MIN or any(body[:1] != b"\2" for body in bodies):
        return None
    by_length: dict[int, list[int]] = {}
    for number, body in enumerate(bodies):
        by_length.setdefault(len(body), []).append(number)
    forms_max = len(bodies) // _BODIES_PER_FORM
    if len(by_length) > forms_max:
        return None
    parts: dict[str, list[_Part]] = {}
    try:
        for numbers in by_length.values():
            joined = b"".join([bodies[number] for number in numbers])
            rest = np.frombuffer(joined, np.uint8).reshape(len(numbers), -1)
            places = np.array(numbers, dtype=np.intp)
            while len(rest):
                form = _Form.of(rest[0].tobytes())
                forms_max -= 1
                if forms_max < 0 or any(head.table in apart for head in form.heads):
                    return None
                fits = form.fits(rest)
                for number, head in enumerate(form.heads):
                    parts.setdefault(head.table, []).append(_Part(places[fits], form, number, rest[fits]))
                places, rest = places[~fits], rest[~fits]
    except (_OtherFormError, msgspec.DecodeError):
        return None
    if any(part.head != found[0].head for found in parts.values() for part in found):
        return None
    in_order = sorted(parts.values(), key=lambda found: min((part.places[0], part.number) for part in found))
    return [_change(found) for found in in_order]


def _change(parts: Sequence[_Part]) -> Change:
    """The rows of one table."""
    head = parts[0].head
    order = np.argsort(np.concatenate([part.places for part in parts]))
    columns = [[part.column(place) for part in parts] for place in range(len(head.columns))]
    values = tuple(_in_order(column, order) for column in columns)
    return Change(head.table, Operation(head.operation), head.columns, values)


def _in_order(parts: Sequence[Sequence[Any]], order: npt.NDArray[np.intp]) -> Sequence[Any]:
    """One column from its parts, and the order in which they come to the right one."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, Coded) and part[0] == parts[0][0] for part in parts):
        return Coded.constant(parts[0][0], len(order))
    values = np.empty(len(order), dtype=object)
    values[:] = list(chain.from_iterable(parts))
    found: list[Any] = values[order].tolist()
    return found
