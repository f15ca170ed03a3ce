"""What the planner hands to an executor: fragments for sites, one statement for the local engine, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

    from federation.model.logical import LogicalType
    from federation.model.position import Position, SchemaId

__all__ = [
    "FindFirst",
    "Fragment",
    "KeyInput",
    "KeySource",
    "LiteralTable",
    "Missing",
    "MissingRange",
    "OutputColumn",
    "PairTable",
    "Plan",
    "PlanOptions",
    "RegionMatch",
    "Source",
]


@attrs.frozen
class PlanOptions:
    """What the caller asks of the answer besides its rows.

    ``max_staleness_s`` admits replicas that were equal to their owner at most so long ago. ``partial`` accepts an
    answer without the sites that don't answer. ``chain`` names schemas to search before the home site's own.
    ``rules_off`` names optional rules of the planner to leave out; the rows are the same without them. Copies that
    lack an entry up to a position of ``after`` are not read. With ``as_of``, one position for each schema, only copies
    that are at it exactly are.
    """

    max_staleness_s: float = 0.0
    partial: bool = False
    chain: tuple[str, ...] = ()
    rules_off: frozenset[str] = frozenset()
    after: tuple[Position, ...] = ()
    as_of: tuple[Position, ...] | None = None


@attrs.frozen
class OutputColumn:
    """One column of a result; ``type`` is None where only the local engine knows it (an interval, a list).

    ``unit`` is that of the table's column which it shows, in the words of the VOUnits standard; ``""`` where none is
    known.
    """

    name: str
    type: LogicalType | None
    unit: str = attrs.field(default="", eq=False)


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
    the rows is cheaper then. With no more than ``filter_count_max`` it sends a Bloom filter of them, too: of the rows
    that the fragment gives, only those change the answer whose columns ``outputs`` are a key.
    """

    name: str
    columns: tuple[str, ...]
    sources: tuple[KeySource, ...]
    conditions: tuple[str, ...]
    key_count_max: int
    key_count_estimate: int
    outputs: tuple[str, ...] = ()
    filter_count_max: int = 0

    @property
    def expects_filter(self) -> bool:
        """Whether the keys are expected to be so many that a filter of them is sent."""
        return self.key_count_max < self.key_count_estimate <= self.filter_count_max


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
    def givers(self) -> frozenset[str]:
        """The fragments that its keys come from."""
        return frozenset(source.fragment for key in self.keys for source in key.sources)

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
class RegionMatch:
    """The answer is what is in two fragments, for each pair of their rows whose regions match.

    ``kind`` is that of a `PairTable`: for ``"overlap"`` the one column of ``right_columns`` is a region too, for
    ``"contain"`` they are right ascension and declination in degrees. ``outputs`` are (fragment, column).
    """

    kind: str
    left: str
    region: str
    right: str
    right_columns: tuple[str, ...]
    outputs: tuple[tuple[str, str], ...]


@attrs.frozen
class MissingRange:
    """Values of a column that the missing rows had when they were last heard of: texts as a query gives them."""

    column: str
    least: str
    greatest: str


@attrs.frozen
class Missing:
    """Part of the federation that a partial answer lacks; ``schema`` is None where not even its schemas are known.

    ``row_count`` and ``ranges`` are of the last known catalog: how many rows the table had there, and from when to
    when; None and empty where no catalog is known.
    """

    site: str
    schema: SchemaId | None
    table: str
    reason: str
    row_count: int | None = None
    ranges: tuple[MissingRange, ...] = ()

    def __str__(self) -> str:
        text = f"{self.table} of {self.schema or f'site {self.site}'}: {self.reason}"
        if self.row_count is None:
            return text
        spans = "".join(f", {one.column} from {one.least} to {one.greatest}" for one in self.ranges)
        return f"{text}; it had {self.row_count} row{'' if self.row_count == 1 else 's'}{spans}"


@attrs.frozen
class Plan:
    """Fragments to run at sites, and the DuckDB statement over their results, loaded under the fragments' ids.

    With ``find_first`` or ``region_match`` an executor need not run the statement, which gives the same rows.
    """

    sql: str
    fragments: tuple[Fragment, ...]
    local_sql: str
    columns: tuple[OutputColumn, ...]
    decisions: tuple[str, ...]
    missing: tuple[Missing, ...] = ()
    #: states of schemas that need not be read, as what is known of them tells that they give no row
    consulted: tuple[Position, ...] = ()
    literal_tables: tuple[LiteralTable, ...] = ()
    pair_tables: tuple[PairTable, ...] = ()
    find_first: FindFirst | None = None
    region_match: RegionMatch | None = None
    #: the planner's rule that made each decision
    deciders: tuple[str, ...] = ()

    @property
    def stages(self) -> dict[str, int]:
        """The stage of each fragment, from 1 on: one after all those whose rows it gets its keys from."""
        found: dict[str, int] = {}
        waiting = {fragment.id: fragment for fragment in self.fragments}
        while waiting:
            ready = [one for one in waiting.values() if all(giver in found for giver in one.givers)]
            assert ready, "fragments wait for each other"
            for fragment in ready:
                found[fragment.id] = 1 + max((found[giver] for giver in fragment.givers), default=0)
                del waiting[fragment.id]
        return found
