"""How many rows a join of several sources has: |A| |B| / max(values of the key) for each pair that it equates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.profiles import distinct_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.planner.profiles import Profile

__all__ = ["joined_rows"]


def joined_rows(
    select: exp.Select,
    sources: Mapping[str, Profile],
    filtered: Mapping[str, Profile],
    conditions: Sequence[exp.Expr],
) -> float | None:
    """Rows of the FROM and JOINs of one SELECT after its conditions; None where a source's rows are not known.

    ``sources`` are as they are in their tables, ``filtered`` after the conditions that name them alone. Sources that
    no equality ties together, but some other condition does, are taken to have one partner each.
    """
    if any(profile.rows is None for profile in filtered.values()):
        return None
    group = {alias: alias for alias in sources}
    size = {alias: profile.rows or 0.0 for alias, profile in filtered.items()}
    for (left, right), columns in _equated(conditions, sources).items():
        one, two = group[left], group[right]
        if one == two:
            continue
        divisor = _values(sources[left], [a for a, _ in columns], sources[right], [b for _, b in columns])
        _merge(group, size, one, two, size[one] * size[two] / max(divisor, 1.0))
    for condition in conditions:
        if condition.find(exp.Query) is not None:
            continue
        tied = sorted({group[c.table] for c in condition.find_all(exp.Column) if c.table in group})
        for other in tied[1:]:
            _merge(group, size, tied[0], other, max(size[tied[0]], size[other]))
    rows = 1.0
    for count in size.values():
        rows *= count
    return _preserved(select, filtered, rows)


def _merge(group: dict[str, str], size: dict[str, float], one: str, two: str, rows: float) -> None:
    for alias, of in group.items():
        if of == two:
            group[alias] = one
    del size[two]
    size[one] = rows


def _preserved(select: exp.Select, filtered: Mapping[str, Profile], rows: float) -> float:
    """An outer join has every row of the side that it keeps."""
    aliases = list(filtered)
    joins = select.args.get("joins") or []
    for number, join in enumerate(joins):
        position = len(aliases) - len(joins) + number
        if join.side in {"LEFT", "FULL"}:
            rows = max(rows, filtered[aliases[0]].rows or 0.0)
        if join.side in {"RIGHT", "FULL"} and position < len(aliases):
            rows = max(rows, filtered[aliases[position]].rows or 0.0)
    return rows


def _equated(
    conditions: Sequence[exp.Expr], sources: Mapping[str, Profile]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Columns that must be equal, by the two sources that they are of."""
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for condition in conditions:
        node = condition.unnest()
        if not isinstance(node, exp.EQ):
            continue
        left, right = node.this.unnest(), node.expression.unnest()
        if not (isinstance(left, exp.Column) and isinstance(right, exp.Column)):
            continue
        if left.table == right.table or left.table not in sources or right.table not in sources:
            continue
        if left.table > right.table:
            left, right = right, left
        pairs.setdefault((left.table, right.table), []).append((left.name, right.name))
    return pairs


def _values(left: Profile, left_columns: list[str], right: Profile, right_columns: list[str]) -> float:
    """Different keys on the side that has more of them; where neither is known, the smaller side is taken to have
    one row for each, as a table that others refer to has."""
    counts = (distinct_of(left, left_columns), distinct_of(right, right_columns))
    known = [count for count in counts if count is not None]
    return max(known) if known else min(left.rows or 0.0, right.rows or 0.0)
