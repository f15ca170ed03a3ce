"""Reading rows by many keys: by lists of keys, or where the keys lie close together by the range that they span."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

__all__ = ["chunks", "has_none_in_range", "select_by_keys"]

#: bound values in one statement; SQLite takes 32,766, PostgreSQL 65,535
VALUES_MAX = 8000
#: from this many keys on, the range that they span is tried first
_RANGE_MIN = 20
#: rows of the range for each key, beyond which lists of keys cost less
_RANGE_ROWS_PER_KEY = 4


def chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most ``size`` values."""
    chunk: list[Any] = []
    for value in values:
        chunk.append(value)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def select_by_keys(
    connection: sa.Connection,
    table: sa.Table,
    columns: Sequence[str],
    keys: Iterable[tuple[Any, ...]],
    names: Sequence[str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Rows whose ``columns`` have one of the value tuples ``keys`` (no NULLs), as tuples of ``names`` (None: all)."""
    wanted = keys if isinstance(keys, (set, dict)) else dict.fromkeys(keys)
    if not wanted:
        return
    width = len(columns)
    statement = _selected(table, columns, names)
    if len(wanted) >= _RANGE_MIN:
        spans = [(min(values), max(values)) for values in zip(*wanted, strict=True)]
        # UUIDs lie anywhere, and it is only seen whether there are any: new ones are of later times than all there are
        are_anywhere = width == 1 and isinstance(next(iter(wanted))[0], uuid.UUID)
        found = _in_range(connection, table, columns, spans, statement, 0 if are_anywhere else len(wanted))
        if found is not None:
            for row in found:
                if tuple(row[:width]) in wanted:
                    yield tuple(row[width:])
            return
    for chunk in chunks(wanted, VALUES_MAX // max(width, 1)):
        where: sa.ColumnElement[bool]
        if width == 1:
            where = table.c[columns[0]].in_([key[0] for key in chunk])
        elif width == 0:
            where = sa.true()
        else:
            where = sa.tuple_(*(table.c[name] for name in columns)).in_(chunk)
        for row in connection.execute(statement.where(where)):
            yield tuple(row[width:])


def has_none_in_range(
    connection: sa.Connection, table: sa.Table, columns: Mapping[str, Sequence[Any]]
) -> bool:
    """Whether no row lies between the least and the greatest value (no NULLs) of every column."""
    spans = [(min(values), max(values)) for values in columns.values()]
    found = _in_range(connection, table, list(columns), spans, sa.select(sa.literal(1)), 0)
    return found is not None


def _selected(table: sa.Table, columns: Sequence[str], names: Sequence[str] | None) -> sa.Select[Any]:
    """Columns of the key, then those asked for; labelled, as one may be both."""
    selected = [*columns, *(names if names is not None else table.c.keys())]
    return sa.select(*(table.c[name].label(f"c{place}") for place, name in enumerate(selected)))


def _in_range(
    connection: sa.Connection,
    table: sa.Table,
    columns: Sequence[str],
    spans: Sequence[tuple[Any, Any]],
    statement: sa.Select[Any],
    key_count: int,
) -> Sequence[sa.Row[Any]] | None:
    """All rows in the spans; None where they are too many for so few keys.

    Columns are compared as bytes or numbers on either database, so Python's order is theirs.
    """
    for name, (low, high) in zip(columns, spans, strict=True):
        column = table.c[name]
        between = (column == low,) if low == high else (column >= low, column <= high)
        statement = statement.where(*between)
    limit = key_count * _RANGE_ROWS_PER_KEY
    found = connection.execute(statement.select_from(table).limit(limit + 1)).all()
    return None if len(found) > limit else found
