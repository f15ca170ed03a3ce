"""What the rows of a table or of a query look like: how many, and for each column how many values, which, how wide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from federation.model.logical import LogicalType
from federation.model.statistics import ColumnStats, Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from federation.planner.draft import Arm, Relation

__all__ = ["DEFAULT_WIDTH", "UNKNOWN", "Profile", "distinct_of", "relation_profile", "thinned"]

#: bytes of a value where nothing is known of the column
DEFAULT_WIDTH: dict[LogicalType, float] = {
    LogicalType.INT64: 8,
    LogicalType.FLOAT64: 8,
    LogicalType.BOOL: 1,
    LogicalType.STRING: 20,
    LogicalType.BYTES: 200,
    LogicalType.UUID: 16,
    LogicalType.TIMESTAMP: 8,
}
UNKNOWN = ColumnStats()
#: share of rows that have different values, for a column of which nothing is known
_DISTINCT_SHARE = 0.1
#: common values that are kept when several schemas' are put together
_COMMON_MAX = 100


@attrs.frozen
class Profile:
    """``rows`` is None where some table has no statistics; ``keys`` are sets of columns that no two rows agree in."""

    rows: float | None
    columns: Mapping[str, ColumnStats]
    keys: tuple[frozenset[str], ...] = ()

    def column(self, name: str) -> ColumnStats:
        return self.columns.get(name, UNKNOWN)


def relation_profile(relation: Relation, names: Collection[str] | None = None) -> Profile:
    """The rows of a relation's arms together, with its columns, or those of ``names`` alone."""
    counts = [arm.row_count for arm in relation.arms]
    rows = None if None in counts else float(sum(count or 0 for count in counts))
    columns = {
        definition.name: _joined(
            [_arm_column(arm, definition.name, definition.type) for arm in relation.arms]
        )
        for definition in relation.columns
        if names is None or definition.name in names
    }
    return Profile(rows, columns, (frozenset(relation.key),) if relation.key else ())


def _arm_column(arm: Arm, name: str, type_: LogicalType) -> tuple[float, ColumnStats]:
    """(rows, what is known of the column there)."""
    rows = float(arm.row_count or 0)
    found = arm.stats.get(name)
    if found is None:
        definition = next((column for column in arm.table.columns if column.name == name), None)
        if definition is None:
            found = ColumnStats(0.0, 1.0, width=0.0)
        elif definition.origin:
            site = arm.schema.site
            found = ColumnStats(1.0, 0.0, site, site, True, ((site, 1.0),), float(len(site)))
        elif arm.table.key == (name,):
            found = ColumnStats(rows)
        else:
            found = ColumnStats()
    return rows, found if found.width is not None else attrs.evolve(found, width=DEFAULT_WIDTH[type_])


def _joined(parts: Sequence[tuple[float, ColumnStats]]) -> ColumnStats:
    """One column's statistics over several schemas, weighted by their rows."""
    parts = [part for part in parts if part[0] > 0] or list(parts)
    if len(parts) == 1:
        return parts[0][1]
    total = sum(rows for rows, _ in parts)
    if not parts or not total:
        return UNKNOWN
    common: dict[Value, float] = {}
    for rows, stats in parts:
        for value, share in stats.common:
            common[value] = common.get(value, 0.0) + share * rows / total
    ranked = sorted(common.items(), key=lambda item: -item[1])[:_COMMON_MAX]
    filled = [stats for _, stats in parts if stats.null_fraction < 1.0]
    bounded = bool(filled) and all(stats.low is not None and stats.high is not None for stats in filled)
    return ColumnStats(
        _joined_distinct(parts),
        sum(rows * stats.null_fraction for rows, stats in parts) / total,
        _extreme((stats.low for stats in filled), least=True) if bounded else None,
        _extreme((stats.high for stats in filled), least=False) if bounded else None,
        bounded and all(stats.is_exact for stats in filled),
        tuple(ranked),
        sum(rows * (stats.width or 0.0) for rows, stats in parts) / total,
    )


def _joined_distinct(parts: Sequence[tuple[float, ColumnStats]]) -> float | None:
    """Values of columns that tell rows apart add up; others are taken to be the same values everywhere."""
    known = [(rows, stats.distinct_count) for rows, stats in parts]
    if any(distinct is None for _, distinct in known):
        return None
    counts = [(rows, distinct or 0.0) for rows, distinct in known]
    most = max(distinct for _, distinct in counts)
    own = sum(distinct for rows, distinct in counts if distinct >= rows * 0.5)
    return max(most, own)


def _extreme(values: Iterable[Value | None], *, least: bool) -> Value | None:
    present = [value for value in values if value is not None]
    try:
        return (min if least else max)(present)
    except TypeError:
        return None


def distinct_of(profile: Profile, columns: Iterable[str]) -> float | None:
    """Different combinations of values in some columns; None without rows or with nothing known of any column."""
    names = frozenset(columns)
    rows = profile.rows
    if rows is None:
        return None
    if any(key <= names for key in profile.keys):
        return rows
    product, is_known = 1.0, False
    for name in names:
        stats = profile.column(name)
        if stats.distinct_count is None:
            product *= max(rows * _DISTINCT_SHARE, 1.0)
        else:
            is_known = True
            product *= max(stats.distinct_count + (stats.null_fraction > 0), 1.0)
    return min(product, rows) if is_known or not names else None


def thinned(stats: ColumnStats, rows_before: float, rows_after: float) -> ColumnStats:
    """A column of which only some rows are left, chosen by something else."""
    distinct = stats.distinct_count
    if distinct is None or rows_before <= rows_after or distinct <= 0:
        return stats
    if rows_after <= 0:
        return attrs.evolve(stats, distinct_count=0.0)
    # each value has rows_before / distinct rows; the chance that all of them go (Yao's formula, with replacement)
    left = rows_after / rows_before
    kept = distinct * (1.0 - math.pow(1.0 - left, max(rows_before / distinct, 1.0)))
    return attrs.evolve(stats, distinct_count=max(min(kept, rows_after), 1.0))
