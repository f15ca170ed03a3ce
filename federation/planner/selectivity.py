"""Which share of rows a condition keeps, by the statistics of the columns it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.errors import UserError
from federation.model.statistics import Value
from federation.model.timespan import parse_tai
from federation.planner.pushdown import conjuncts

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.model.statistics import ColumnStats

    Lookup = Callable[[exp.Column], ColumnStats]

__all__ = ["literal_value", "selectivity"]

#: shares where nothing is known, as PostgreSQL's planner has them in rank if not in size
EQUALITY, RANGE, PATTERN = 0.1, 0.3, 0.1
_RANGES = (exp.LT, exp.LTE, exp.GT, exp.GTE)
_MIRRORED = {exp.LT: exp.GT, exp.LTE: exp.GTE, exp.GT: exp.LT, exp.GTE: exp.LTE, exp.EQ: exp.EQ}
_T = exp.DataType.Type


def literal_value(node: exp.Expr) -> Value | None:
    """The value of a typed literal, as statistics have it; None for any other expression."""
    node = node.unnest()
    if isinstance(node, exp.Neg):
        inner = literal_value(node.this)
        return -inner if isinstance(inner, (int, float)) else None
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Literal):
        if node.is_string:
            return str(node.name)
        try:
            return int(node.name)
        except ValueError:
            return float(node.name)
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
        if node.to.this is _T.TIMESTAMP:
            try:
                return parse_tai(node.this.name)
            except UserError:
                return None
        return str(node.this.name) if node.to.this in (_T.UUID, _T.TEXT, _T.VARCHAR) else None
    return None


def selectivity(condition: exp.Expr, stats_of: Lookup) -> float:
    """The share of rows (0 to 1) for which a condition over one source holds; ``stats_of`` knows its columns."""
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        share = 1.0
        for part in conjuncts(condition):
            share *= selectivity(part, stats_of)
        return share
    if isinstance(condition, exp.Or):
        left, right = selectivity(condition.this, stats_of), selectivity(condition.expression, stats_of)
        return min(1.0, left + right - left * right)
    if isinstance(condition, exp.Not):
        return _negated(condition.this.unnest(), stats_of)
    if isinstance(condition, exp.Boolean):
        return 1.0 if condition.this else 0.0
    if isinstance(condition, exp.Column):
        return _equal(stats_of(condition), True)
    return _comparison(condition, stats_of)


def _negated(inner: exp.Expr, stats_of: Lookup) -> float:
    nulls = 0.0
    if not isinstance(inner, exp.Is):
        # where the operand is NULL, neither the condition nor its negation holds
        nulls = max((stats_of(column).null_fraction for column in inner.find_all(exp.Column)), default=0.0)
    return max(0.0, 1.0 - nulls - selectivity(inner, stats_of))


def _comparison(node: exp.Expr, stats_of: Lookup) -> float:
    column = node.this.unnest() if isinstance(node.this, exp.Expr) else None
    if isinstance(node, (exp.EQ, exp.NEQ, *_RANGES)) and not isinstance(column, exp.Column):
        other = node.expression.unnest()
        mirrored = _MIRRORED.get(type(node))
        if isinstance(other, exp.Column) and mirrored is not None:
            return _comparison(mirrored(this=other, expression=node.this.copy()), stats_of)
    if not isinstance(column, exp.Column):
        return EQUALITY if isinstance(node, (exp.EQ, exp.In)) else RANGE
    stats = stats_of(column)
    if isinstance(node, exp.EQ):
        return _equal(stats, literal_value(node.expression))
    if isinstance(node, exp.NEQ):
        return max(0.0, 1.0 - stats.null_fraction - _equal(stats, literal_value(node.expression)))
    if isinstance(node, exp.In):
        shares = (_equal(stats, literal_value(one)) for one in node.expressions)
        return min(1.0, sum(shares)) if node.expressions else EQUALITY
    if isinstance(node, exp.Between):
        low, high = literal_value(node.args["low"]), literal_value(node.args["high"])
        return _between(stats, low, high)
    if isinstance(node, (exp.LT, exp.LTE)):
        return _between(stats, None, literal_value(node.expression), is_open=True)
    if isinstance(node, (exp.GT, exp.GTE)):
        return _between(stats, literal_value(node.expression), None, is_open=True)
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        return stats.null_fraction if stats.distinct_count is not None else EQUALITY
    if isinstance(node, exp.Like):
        pattern = literal_value(node.expression)
        if isinstance(pattern, str):
            return _like(stats, pattern)
    return RANGE


def _like(stats: ColumnStats, pattern: str) -> float:
    prefix = pattern.split("%", 1)[0].split("_", 1)[0]
    if prefix == pattern:
        return _equal(stats, pattern)
    if not prefix:
        return PATTERN
    # one range of texts; the rest of the pattern keeps some of it
    share = _between(stats, prefix, prefix + "\U0010ffff")
    return share if pattern == prefix + "%" else share * RANGE


def _equal(stats: ColumnStats, value: Value | None) -> float:
    """The share of rows with one value; ``None`` stands for a value that is not known before."""
    if stats.distinct_count is None:
        return EQUALITY
    filled = 1.0 - stats.null_fraction
    if value is not None:
        for known, share in stats.common:
            if known == value:
                return share
        if _is_outside(stats, value):
            return 0.0
    else:
        return filled / max(stats.distinct_count, 1.0)
    others = max(stats.distinct_count - len(stats.common), 0.0)
    rest = max(filled - sum(share for _, share in stats.common), 0.0)
    return rest / max(others, 1.0)


def _is_outside(stats: ColumnStats, value: Value) -> bool:
    if not stats.is_exact or stats.low is None or stats.high is None:
        return False
    try:
        return bool(value < stats.low or value > stats.high)  # type: ignore[operator]
    except TypeError:
        return False


def _between(stats: ColumnStats, low: Value | None, high: Value | None, *, is_open: bool = False) -> float:
    """The share of rows in a range; a bound that is None is open when ``is_open``, else not known before."""
    if (low is None and high is None) or (not is_open and (low is None or high is None)):
        return RANGE
    if stats.low is None or stats.high is None:
        return RANGE
    try:
        listed = sum(share for value, share in stats.common if _inside(value, low, high))
        rest = max(1.0 - stats.null_fraction - sum(share for _, share in stats.common), 0.0)
        return min(1.0, listed + rest * _span(stats.low, stats.high, low, high))
    except TypeError:
        return RANGE


def _inside(value: Value, low: Value | None, high: Value | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]


def _span(least: Value, greatest: Value, low: Value | None, high: Value | None) -> float:
    """The part of ``least`` to ``greatest`` that lies between ``low`` and ``high``, values spread evenly."""
    if isinstance(least, str) != isinstance(low if low is not None else high, str):
        raise TypeError
    skip = 0
    if isinstance(least, str) and isinstance(greatest, str):
        while skip < min(len(least), len(greatest)) and least[skip] == greatest[skip]:
            skip += 1
        if low is not None and str(low)[:skip] > least[:skip]:
            return 0.0
        if high is not None and str(high)[:skip] < least[:skip]:
            return 0.0
        if low is not None and str(low)[:skip] < least[:skip]:
            low = None
        if high is not None and str(high)[:skip] > least[:skip]:
            high = None
    start, end = _number(least, skip), _number(greatest, skip)
    if end <= start:
        return 1.0 if _inside(least, low, high) else 0.0
    first = max(start, _number(low, skip)) if low is not None else start
    last = min(end, _number(high, skip)) if high is not None else end
    return max(0.0, min(1.0, (last - first) / (end - start)))


def _number(value: Value, skip: int) -> float:
    """A value on a line; of a text the first characters after those that all have."""
    if not isinstance(value, str):
        return float(value)
    number, scale = 0.0, 1.0
    for character in value[skip : skip + 8]:
        scale /= 128.0
        number += min(ord(character), 127) * scale
    return number
