"""What the closure asks and what it is told: set-wise lookups in logical tables, answered for all sites at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from federation.model.timespan import Timespan

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from federation.model.position import SchemaId

__all__ = ["Answer", "Lookup", "Requests", "RowsByIds", "RowsByKeys", "RowsByTimespan"]


@attrs.frozen
class RowsByIds:
    """All rows of ``table`` whose UUID ``column`` is in ``ids``.

    With ``follow``, a second UUID column of table ``provenance``, also the rows reached from these by taking the
    values of ``follow`` as further ids, at any depth or at most ``depth`` steps, and not beyond datasets of the types
    ``stop_at`` unless they are among ``ids``.
    """

    table: str
    column: str
    ids: AbstractSet[uuid.UUID]
    follow: str = ""
    depth: int | None = None
    stop_at: tuple[str, ...] = ()


@attrs.frozen
class RowsByKeys:
    """All rows of ``table`` whose ``columns`` have one of the value tuples ``keys``."""

    table: str
    columns: tuple[str, ...]
    keys: AbstractSet[tuple[Any, ...]]


@attrs.frozen
class RowsByTimespan:
    """Rows of ``table`` whose ``column`` is in ``names`` and whose timespan overlaps one of ``timespans``.

    The row's timespan is ``timespan_begin <= t < timespan_end``, NULL unbounded. ``timespans`` are disjoint and in
    order. Giving more rows than asked is allowed: the closure looks again.
    """

    table: str
    column: str
    names: frozenset[str]
    timespans: tuple[Timespan, ...]


Lookup = RowsByIds | RowsByKeys | RowsByTimespan
#: lookups to be answered together, in one round; empty when nothing is left to ask
Requests = tuple[Lookup, ...]


@attrs.frozen
class Answer:
    """Rows that one schema has for a lookup; several schemas give several answers, a schema without rows may give none.

    ``columns`` are stored columns, those of the table's key among them; a TIMESTAMP is an int of TAI nanoseconds.
    ``followed`` rows are all edges that a lookup with ``follow`` leads to; others may be its first ones only.
    """

    table: str
    source: SchemaId
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    followed: bool = False

    def mappings(self) -> Iterator[Mapping[str, Any]]:
        """The rows, each by column name."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)
