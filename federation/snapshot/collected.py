"""Rows that a closure has been given, each once for every schema that has it, in a file rather than in memory."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import attrs

from federation.errors import ConflictError
from federation.snapshot.scratch import decode, encode, scratch_database

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping

    from federation.model.position import SchemaId
    from federation.snapshot.lookup import Answer

__all__ = ["CollectedRows", "TableRows"]

_FETCH_ROWS = 2000


@attrs.frozen(eq=False)
class TableRows:
    """Rows of one logical table from one schema, in a fixed order; read anew each time they are gone through."""

    source: SchemaId
    table: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


class CollectedRows:
    """Rows by (schema, table) and key, in a scratch database."""

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self._connection = database or scratch_database()
        self._connection.execute(
            "CREATE TABLE row (place INTEGER, key BLOB, data BLOB, PRIMARY KEY (place, key)) WITHOUT ROWID"
        )
        self._places: dict[tuple[SchemaId, str], int] = {}
        self._columns: dict[int, tuple[str, ...]] = {}
        #: which columns hold UUIDs, as far as values have shown it
        self._uuids: dict[int, set[int]] = {}

    def add(self, answer: Answer, key_columns: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
        """Keep the rows of ``answer``; those that its schema had not given before, as mappings.

        `ConflictError` when a schema gives one table with two sets of columns.
        """
        place = self._places.setdefault((answer.source, answer.table), len(self._places))
        columns = self._columns.setdefault(place, answer.columns)
        if sorted(columns) != sorted(answer.columns):
            raise ConflictError(
                f"{answer.source} gave table {answer.table!r} with columns {', '.join(answer.columns)} "
                f"after {', '.join(columns)}",
                hint="its schema changed meanwhile; run again",
            )
        order = None if columns == answer.columns else [answer.columns.index(name) for name in columns]
        keys = [columns.index(name) for name in key_columns]
        uuids = self._uuids.setdefault(place, set())
        for given in answer.rows:
            row = given if order is None else tuple(given[number] for number in order)
            uuids.update(number for number, value in enumerate(row) if isinstance(value, uuid.UUID))
            values = (place, encode([row[number] for number in keys]), encode(row))
            if self._connection.execute("INSERT OR IGNORE INTO row VALUES (?, ?, ?)", values).rowcount == 1:
                yield dict(zip(columns, row, strict=True))

    def select(self, keep: Callable[[str, Mapping[str, Any]], bool]) -> tuple[TableRows, ...]:
        """The rows for which ``keep(table, row)``, ordered by schema, table and key; empty tables left out."""
        selected = []
        for source, table in sorted(self._places):
            place = self._places[source, table]
            rows = _Rows(self, place, table, keep)
            if len(rows):
                selected.append(TableRows(source, table, self._columns[place], rows))
        return tuple(selected)

    def kept(
        self, place: int, table: str, keep: Callable[[str, Mapping[str, Any]], bool]
    ) -> Iterator[tuple[Any, ...]]:
        """The rows of one table for which ``keep`` is true."""
        columns, uuids = self._columns[place], sorted(self._uuids.get(place, ()))
        with contextlib.closing(self._connection.cursor()) as cursor:
            cursor.execute("SELECT data FROM row WHERE place = ? ORDER BY key", (place,))
            while found := cursor.fetchmany(_FETCH_ROWS):
                for (data,) in found:
                    values = decode(data)
                    for number in uuids:
                        if values[number] is not None:
                            values[number] = uuid.UUID(bytes=values[number])
                    if keep(table, dict(zip(columns, values, strict=True))):
                        yield tuple(values)


class _Rows(Sequence[tuple[Any, ...]]):
    """A view of rows in the file."""

    def __init__(
        self, rows: CollectedRows, place: int, table: str, keep: Callable[[str, Mapping[str, Any]], bool]
    ) -> None:
        self._rows, self._place, self._table, self._keep = rows, place, table, keep
        self._count = sum(1 for _ in self)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows.kept(self._place, self._table, self._keep)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Any, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, ...] | Sequence[tuple[Any, ...]]:
        return tuple(self)[index]
