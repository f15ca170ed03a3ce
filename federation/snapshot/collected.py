"""Rows that a closure has been given, each once for every schema that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from federation.model.position import SchemaId
    from federation.snapshot.lookup import Answer

__all__ = ["CollectedRows", "TableRows"]


@attrs.frozen
class TableRows:
    """Rows of one logical table from one schema, in order of their keys."""

    source: SchemaId
    table: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class CollectedRows:
    """Rows by (schema, table) and key."""

    def __init__(self) -> None:
        self._rows: dict[tuple[SchemaId, str], dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        self._columns: dict[tuple[SchemaId, str], tuple[str, ...]] = {}

    def add(self, answer: Answer, key_columns: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
        """Keep the rows of ``answer``; those that its schema had not given before, as mappings.

        `ConflictError` when a schema gives one table with two sets of columns.
        """
        place = (answer.source, answer.table)
        columns = self._columns.setdefault(place, answer.columns)
        if sorted(columns) != sorted(answer.columns):
            raise ConflictError(
                f"{answer.source} gave table {answer.table!r} with columns {', '.join(answer.columns)} "
                f"after {', '.join(columns)}",
                hint="its schema changed meanwhile; run again",
            )
        known = self._rows.setdefault(place, {})
        for row in answer.mappings():
            key = tuple(row[name] for name in key_columns)
            if key not in known:
                known[key] = tuple(row[name] for name in columns)
                yield row

    def select(self, keep: Callable[[str, Mapping[str, Any]], bool]) -> tuple[TableRows, ...]:
        """The rows for which ``keep(table, row)``, ordered by schema, table and key; empty tables left out."""
        selected = []
        for source, table in sorted(self._rows):
            columns, rows = self._columns[source, table], self._rows[source, table]
            kept = tuple(
                rows[key]
                for key in sorted(rows, key=_sortable)
                if keep(table, dict(zip(columns, rows[key], strict=True)))
            )
            if kept:
                selected.append(TableRows(source, table, columns, kept))
        return tuple(selected)


def _sortable(key: tuple[Any, ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((type(value).__name__, value if value is not None else 0) for value in key)
