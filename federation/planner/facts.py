"""What holds of every row of a schema's table, and whether a condition can hold for any: certain, never estimated."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.pushdown import conjuncts
from federation.planner.selectivity import literal_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from federation.model.statistics import ColumnStats, TableStats, Value

__all__ = ["Fact", "Ranges", "are_apart", "excludes", "facts_of"]


@attrs.frozen
class Fact:
    """Every value of a column that is not NULL lies from ``low`` to ``high``, and is one of ``values`` if given."""

    low: Value
    high: Value
    values: frozenset[Value] | None = None

    def admits(self, value: Value) -> bool:
        """Whether some row may have the value."""
        if not _compare(value, self.low):
            return True
        if value < self.low or value > self.high:  # type: ignore[operator]
            return False
        return self.values is None or value in self.values

    def admits_range(self, low: Value | None, high: Value | None) -> bool:
        """Whether some row may have a value from ``low`` to ``high``; None is no bound."""
        if any(bound is not None and not _compare(bound, self.low) for bound in (low, high)):
            return True
        if self.values is not None:
            return any(
                (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]
                for value in self.values
            )
        return not (
            (low is not None and self.high < low)  # type: ignore[operator]
            or (high is not None and self.low > high)  # type: ignore[operator]
        )


def facts_of(stats: TableStats | None) -> dict[str, Fact]:
    """What the statistics say for certain, at the position of the catalog that has them."""
    if stats is None or not stats.is_current:
        return {}
    found = {name: _fact(column) for name, column in stats.columns.items()}
    return {name: fact for name, fact in found.items() if fact is not None}


def _fact(column: ColumnStats) -> Fact | None:
    if not column.is_exact or column.low is None or column.high is None:
        return None
    values = frozenset(value for value, _ in column.common) if column.is_complete else None
    return Fact(column.low, column.high, values)


@attrs.frozen
class Ranges:
    """Where the values of several columns lie: ranges in order that do not touch, each from a low to a high value."""

    ranges: tuple[tuple[Value, Value], ...]

    @classmethod
    def of(cls, facts: Iterable[Fact]) -> Ranges:
        """All values that some of the columns may have; of different kinds, nothing is certain."""
        parts: list[tuple[Value, Value]] = []
        for fact in facts:
            if fact.values is None:
                parts.append((fact.low, fact.high))
            else:
                parts += [(value, value) for value in fact.values]
        if len({isinstance(low, str) for low, _ in parts}) != 1:
            return cls(())
        parts.sort()
        merged = [parts[0]]
        for low, high in parts[1:]:
            if low <= merged[-1][1]:  # type: ignore[operator]
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    def are_apart_from(self, fact: Fact) -> bool:
        """Whether no value that a column may have is among these."""
        if not self.ranges or not _compare(self.ranges[0][0], fact.low):
            return False
        if fact.values is not None:
            return not any(self._meet(value, value) for value in fact.values)
        return not self._meet(fact.low, fact.high)

    def _meet(self, low: Value, high: Value) -> bool:
        place = bisect.bisect_right(self.ranges, high, key=lambda one: one[0])
        return place > 0 and self.ranges[place - 1][1] >= low  # type: ignore[operator]


def are_apart(one: Fact, other: Fact) -> bool:
    """Whether no value is in both columns."""
    return Ranges.of((one,)).are_apart_from(other)


def excludes(facts: Mapping[str, Fact], condition: exp.Expr) -> bool:
    """Whether a condition on the columns that ``facts`` are about holds for no row; False where that is not certain."""
    node = condition.unnest()
    if isinstance(node, exp.And):
        return any(excludes(facts, part) for part in conjuncts(node))
    if isinstance(node, exp.Or):
        return excludes(facts, node.this) and excludes(facts, node.expression)
    if isinstance(node, (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.EQ)):
        return _excludes_comparison(facts, node)
    fact = _fact_for(facts, node.this) if isinstance(node, (exp.In, exp.Between)) else None
    if fact is None:
        return False
    if isinstance(node, exp.In):
        values = [literal_value(one) for one in node.expressions]
        return bool(values) and all(value is not None and not fact.admits(value) for value in values)
    low, high = literal_value(node.args["low"]), literal_value(node.args["high"])
    return low is not None and high is not None and not fact.admits_range(low, high)


def _excludes_comparison(facts: Mapping[str, Fact], node: exp.Expr) -> bool:
    fact, value, is_mirrored = _fact_for(facts, node.this), literal_value(node.expression), False
    if fact is None:
        fact, value, is_mirrored = _fact_for(facts, node.expression), literal_value(node.this), True
    if fact is None or value is None or not _compare(value, fact.low):
        return False
    if isinstance(node, exp.EQ):
        return not fact.admits(value)
    if isinstance(node, (exp.LT, exp.LTE)) != is_mirrored:
        strict = isinstance(node, (exp.LT, exp.GT))
        return fact.low > value or (strict and fact.low == value)  # type: ignore[operator]
    strict = isinstance(node, (exp.LT, exp.GT))
    return fact.high < value or (strict and fact.high == value)  # type: ignore[operator]


def _fact_for(facts: Mapping[str, Fact], node: exp.Expr | None) -> Fact | None:
    inner = node.unnest() if node is not None else None
    return facts.get(inner.name) if isinstance(inner, exp.Column) else None


def _compare(one: Value, other: Value) -> bool:
    """Whether two values are of kinds that compare: texts with texts, numbers with numbers."""
    return isinstance(one, str) == isinstance(other, str)
