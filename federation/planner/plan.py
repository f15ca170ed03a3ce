"""What the planner hands to an executor: fragments for sites, one statement for the local engine, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

    from federation.model.logical import LogicalType
    from federation.model.position import SchemaId

__all__ = [
    "FindFirst",
    "Fragment",
    "KeyInput",
    "KeySource",
    "LiteralTable",
    "Missing",
    "OutputColumn",
    "PairTable",
    "Plan",
    "PlanOptions",
    "Source",
]


@attrs.frozen
class PlanOptions:
    """What the caller asks of the answer besides its rows.

    ``max_staleness_s`` admits replicas that were equal to their owner at most so long ago. ``partial`` accepts an
    answer without the sites that don't answer. ``chain`` names schemas to search before the home site's own.
    ``rules_off`` names optional rules of the planner to leave out; the rows are the same without them.
    """

    max_staleness_s: float = 0.0
    partial: bool = False
    chain: tuple[str, ...] = ()
    rules_off: frozenset[str] = frozenset()


@attrs.frozen
class OutputColumn:
    """One column of a result; ``type`` is None where only the local engine knows it (an interval, a list)."""

    name: str
    type: LogicalType | None


@attrs.frozen
class Source:
    """A table that a fragment reads; ``staleness_s`` is 0 at the owner, the replica's lag elsewhere."""

    schema: SchemaId
    table: str
    is_replica: bool
    staleness_s: float


@attrs.frozen
class KeySource:
    """Columns of another fragment's rows, whose values are keys."""

    fragment: str
    columns: tuple[str, ...]


@attrs.frozen
class KeyInput:
    """Keys that a fragment's statement reads as table ``param.NAME``, so that it gives only rows that they meet.

    They are the different rows without NULL that the ``sources`` have together, under the names ``columns``.
    ``conditions`` are all that the statement says of them. Where each of these is TRUE instead, the fragment gives more
    rows, none of which changes the answer: an executor does that with more than ``key_count_max`` keys, as fetching
    the rows is cheaper then.
    """

    name: str
    columns: tuple[str, ...]
    sources: tuple[KeySource, ...]
    conditions: tuple[str, ...]
    key_count_max: int
    key_count_estimate: int


@attrs.frozen
class Fragment:
    """What one site runs: ``sql`` in the logical dialect over ``"site/schema"."table"``.

    It waits for the fragments that its ``keys`` come from. The estimates are None where a table has no statistics.
    """

    id: str
    site: str
    sql: str
    columns: tuple[OutputColumn, ...]
    inputs: tuple[Source, ...]
    row_count_estimate: int | None
    byte_estimate: int | None
    keys: tuple[KeyInput, ...] = ()

    def sql_without(self, names: Collection[str]) -> str:
        """The statement without the conditions on the keys called ``names``."""
        sql = self.sql
        for key in self.keys:
            if key.name in names:
                for condition in key.conditions:
                    sql = sql.replace(condition, "TRUE")
        return sql

    @property
    def sources(self) -> tuple[tuple[SchemaId, str], ...]:
        """(schema, table) of everything the fragment reads."""
        return tuple((source.schema, source.table) for source in self.inputs)

    @property
    def is_replica(self) -> bool:
        """Whether some of what it reads is a replica."""
        return any(source.is_replica for source in self.inputs)


@attrs.frozen
class LiteralTable:
    """Rows that the planner knows itself; the executor loads them under ``name``."""

    name: str
    columns: tuple[OutputColumn, ...]
    rows: tuple[tuple[Any, ...], ...]


@attrs.frozen
class PairTable:
    """Pairs that the executor finds before it runs the local statement, and loads under ``name``.

    ``left_sql`` gives distinct regions, in one column. For ``kind`` ``"overlap"`` so does ``right_sql``, and the
    table has columns ``l`` and ``r``: the regions that overlap. For ``"contain"`` it gives right ascension and
    declination in degrees, and the table has ``l``, ``ra`` and ``dec``: the positions that each region contains.
    The statements may read pair tables made before.
    """

    name: str
    kind: str
    left_sql: str
    right_sql: str


@attrs.frozen
class FindFirst:
    """The answer is the first row of ``fragment`` for each ``key``, as they come: in order of its column ``place``.

    ``place`` counts from 0 to ``place_last``; rows of one place have different keys. ``outputs`` are the fragment's
    columns that the result has, in its order, and ``limit`` the number of rows that is enough.
    """

    fragment: str
    key: tuple[str, ...]
    place: str
    place_last: int
    outputs: tuple[str, ...]
    limit: int | None = None


@attrs.frozen
class Missing:
    """Part of the federation that a partial answer lacks; ``schema`` is None where not even its schemas are known."""

    site: str
    schema: SchemaId | None
    table: str
    reason: str

    def __str__(self) -> str:
        return f"{self.table} of {self.schema or f'site {self.site}'}: {self.reason}"


@attrs.frozen
class Plan:
    """Fragments to run at sites, and the DuckDB statement over their results, loaded under the fragments' ids.

    With ``find_first`` an executor need not run the statement, which gives the same rows.
    """

    sql: str
    fragments: tuple[Fragment, ...]
    local_sql: str
    columns: tuple[OutputColumn, ...]
    decisions: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    literal_tables: tuple[LiteralTable, ...] = ()
    pair_tables: tuple[PairTable, ...] = ()
    find_first: FindFirst | None = None
