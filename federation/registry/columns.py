"""Rows from callers as columns of checked values: from mappings, from an Arrow table, or column by column."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
from lsst.sphgeom import Region

from federation.errors import UserError
from federation.model.coded import Coded
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Rows", "check_coded", "check_values", "columns_of", "is_storable_text", "transposed"]

#: rows as a caller may give them; the mapping has one sequence a column
Rows: TypeAlias = "Sequence[Mapping[str, Any]] | pa.Table | Mapping[str, Sequence[Any]]"

_PYTHON: dict[LogicalType, tuple[type, ...]] = {
    LogicalType.INT64: (int,),
    LogicalType.FLOAT64: (float, int),
    LogicalType.BOOL: (bool,),
    LogicalType.STRING: (str,),
    LogicalType.BYTES: (bytes,),
    LogicalType.UUID: (uuid.UUID, bytes),
    LogicalType.TIMESTAMP: (int,),
}
_INT64 = range(-(1 << 63), 1 << 63)


def columns_of(rows: Rows, known: Iterable[str], what: str) -> tuple[dict[str, list[Any]], int]:
    """(values by column for each of ``known``, row count); a column that no row has is all None.

    `UserError` for a column that is not known and for columns of different lengths; ``what`` names the rows.
    """
    names = list(known)
    if isinstance(rows, pa.Table):
        given = {name: _arrow_values(rows.column(name)) for name in rows.column_names}
    elif isinstance(rows, Mapping):
        given = {name: list(values) for name, values in rows.items()}
    else:
        given = transposed(rows)
    _check_names(set(given), names, what)
    lengths = {len(values) for values in given.values()}
    if len(lengths) > 1:
        raise UserError(
            f"columns of {what} have different lengths: "
            + ", ".join(f"{name} {len(values)}" for name, values in given.items()),
            hint="give every column one value a row",
        )
    count = lengths.pop() if lengths else 0 if isinstance(rows, Mapping) else len(rows)
    return {name: given.get(name) or [None] * count for name in names}, count


def transposed(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Values by column for all that any of the rows has."""
    names = tuple(rows[0]) if rows else ()
    try:
        # all of the first row's columns, and no more: the rows have the same ones
        if sum(map(len, rows)) == len(names) * len(rows):
            return {name: [row[name] for row in rows] for name in names}
    except KeyError:
        pass
    return {name: [row.get(name) for row in rows] for name in set().union(*rows)}


def _check_names(given: set[str], known: Sequence[str], what: str) -> None:
    unknown = sorted(given - set(known))
    if unknown:
        raise UserError(
            f"{what} has no column {', '.join(unknown)}", hint="its columns: " + (", ".join(known) or "none")
        )


def _arrow_values(column: pa.ChunkedArray) -> list[Any]:
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns")).cast(pa.int64())
    found: list[Any] = column.to_pylist()
    return found


def check_values(type_: LogicalType, values: list[Any], what: str) -> list[Any]:
    """Values of one column as they are stored; regions may be given as objects, integers for floats.

    `UserError` names ``what`` and the first value that is not of the type, or out of its range.
    """
    kinds = set(map(type, values)) - {type(None)}
    if type_ is LogicalType.BYTES and any(issubclass(kind, Region) for kind in kinds):
        values = [value.encode() if isinstance(value, Region) else value for value in values]
        kinds = set(map(type, values)) - {type(None)}
    allowed = _PYTHON[type_]
    if not kinds <= set(allowed):
        values = [_plain(value, allowed) for value in values]
        wrong = next((value for value in values if value is not None and type(value) not in allowed), None)
        if wrong is not None:
            raise UserError(
                f"{what}={wrong!r} is not of type {allowed[0].__name__}", hint="correct the value"
            )
    present = [value for value in values if value is not None] if None in values else values
    if not present:
        return values
    if type_ in (LogicalType.INT64, LogicalType.TIMESTAMP):
        for bound in (min(present), max(present)):
            if bound not in _INT64:
                raise UserError(f"{what}={bound} does not fit in 64 bits", hint="correct the value")
    elif type_ is LogicalType.FLOAT64 and int in kinds:
        values = [None if value is None else float(value) for value in values]
    elif type_ is LogicalType.STRING:
        _check_texts(present, what)
    elif type_ is LogicalType.UUID and bytes in kinds:
        wrong = next((v for v in present if type(v) is bytes and len(v) != 16), None)
        if wrong is not None:
            raise UserError(f"{what}={wrong!r} is no UUID of 16 bytes", hint="correct the value")
    return values


def check_coded(type_: LogicalType, values: Sequence[Any], what: str) -> Coded:
    """`check_values` for a column of hashable values that repeat."""
    if isinstance(values, Coded):
        return Coded(check_values(type_, list(values.values), what), values.codes)
    kinds = set(map(type, values)) - {type(None)}
    # values of other types may be equal to them and not the same, as True is to 1
    if kinds <= {_PYTHON[type_][0]}:
        coded = Coded.of(values)
        return Coded(check_values(type_, list(coded.values), what), coded.codes)
    return Coded.of(check_values(type_, list(values), what))


def _plain(value: Any, allowed: tuple[type, ...]) -> Any:
    """Subclasses and numpy's scalars as the plain values they stand for; a bool is never an int."""
    if value is None or type(value) in allowed or isinstance(value, bool):
        return value
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        value = value.item()
    for kind in allowed:
        if kind is not uuid.UUID and isinstance(value, kind):
            return kind(value)
    return value


def _check_texts(values: Sequence[str], what: str) -> None:
    for value in set(values):
        if not is_storable_text(value):
            raise UserError(
                f"{what}={value!r} holds a character that no database keeps",
                hint="leave out NUL characters and lone surrogates",
            )


def is_storable_text(value: str) -> bool:
    """Whether every database keeps the text: it has neither NUL nor half of a surrogate pair."""
    if "\0" in value:
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False
