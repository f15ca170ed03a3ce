"""Intervals: where they may stand, how long they are, and sums of a literal moment and one, computed at once."""

from __future__ import annotations

import calendar
import datetime as dt

import attrs
from sqlglot import exp

from federation.errors import QueryError
from federation.model.logical import LogicalType
from federation.model.timespan import format_tai, parse_tai
from federation.planner.position import position_of
from federation.planner.sqltypes import is_moment, sql_type

__all__ = ["UNITS", "Length", "fold_shifts", "length_of", "shifted", "unit_name"]

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND
#: units of fixed length, in nanoseconds
UNITS = {
    "NANOSECOND": 1,
    "MICROSECOND": 1_000,
    "MILLISECOND": 1_000_000,
    "SECOND": _SECOND,
    "MINUTE": 60 * _SECOND,
    "HOUR": 3600 * _SECOND,
    "DAY": _DAY,
    "WEEK": 7 * _DAY,
}
#: units of the calendar, in months
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_HINT = "write one number and one unit: INTERVAL '30 seconds', INTERVAL '1 month'"


@attrs.frozen
class Length:
    """An interval: either whole months, or nanoseconds."""

    months: int = 0
    ns: int = 0

    def negated(self) -> Length:
        return Length(-self.months, -self.ns)


def unit_name(node: exp.Expr | None) -> str:
    """A unit as written, in capitals and without the plural's ``S``."""
    return node.name.upper().removesuffix("S") if node is not None else ""


def length_of(interval: exp.Interval, sql: str) -> Length:
    """How long an interval is; `QueryError` for one that is not one number of one known unit."""

    def refused(message: str, hint: str = _HINT) -> QueryError:
        return QueryError(message, hint=hint, sql=sql, position=position_of(interval))

    unit = unit_name(interval.args.get("unit"))
    if not isinstance(interval.this, exp.Literal):
        raise refused("an interval takes a literal")
    if unit not in UNITS and unit not in _MONTHS:
        hint = "one of " + ", ".join((*UNITS, *_MONTHS)).lower()
        raise refused(f"an interval of {unit.lower() or 'mixed'} units is not known", hint)
    try:
        if unit in _MONTHS:
            return Length(months=int(interval.name) * _MONTHS[unit])
        whole, _, fraction = interval.name.strip().partition(".")
        if not fraction:
            return Length(ns=int(whole) * UNITS[unit])
        return Length(ns=round(float(interval.name) * UNITS[unit]))
    except (ValueError, OverflowError) as error:
        kind = "a whole number" if unit in _MONTHS else "a number"
        raise refused(f"{interval.name!r} is not {kind}") from error


def shifted(tai_ns: int, length: Length) -> int:
    """A moment and an interval, in nanoseconds; a day that the month lacks becomes its last, as in PostgreSQL."""
    if not length.months:
        return tai_ns + length.ns
    days, rest = divmod(tai_ns, _DAY)
    day = dt.date(1970, 1, 1) + dt.timedelta(days=days)
    years, month = divmod(day.year * 12 + day.month - 1 + length.months, 12)
    last = calendar.monthrange(years, month + 1)[1]
    return ((dt.date(years, month + 1, min(day.day, last)) - dt.date(1970, 1, 1)).days) * _DAY + rest


def fold_shifts(tree: exp.Expr, sql: str) -> None:
    """Compute ``TIMESTAMP '...' + INTERVAL '...'``, so that sites may compare with it, and check all other intervals.

    `QueryError` for an interval that is not added to a moment or subtracted from one, and for a sum out of range.
    """
    for interval in list(tree.find_all(exp.Interval)):
        node, other = _operation(interval)
        if node is None or other is None:
            raise QueryError(
                "an interval may only be added to a timestamp or subtracted from one",
                hint="write timespan_begin + INTERVAL '30 seconds'",
                sql=sql,
                position=position_of(interval),
            )
        length_of(interval, sql)
    # the innermost first, so that a sum of a sum is one literal too
    for node in reversed(list(tree.find_all(exp.Add, exp.Sub))):
        literal, interval_ = _literal_and_interval(node)
        if literal is None or interval_ is None:
            continue
        length = length_of(interval_, sql)
        length = length.negated() if isinstance(node, exp.Sub) else length
        literal.this.set("this", _text(literal, length, node, sql))
        literal.set("to", sql_type(LogicalType.TIMESTAMP))
        literal.type = sql_type(LogicalType.TIMESTAMP)
        node.replace(literal.copy() if literal.parent is None else literal)


def _text(literal: exp.Expr, length: Length, node: exp.Expr, sql: str) -> str:
    try:
        tai_ns = shifted(parse_tai(literal.this.name), length)
        if -(2**63) < tai_ns < 2**63:
            return format_tai(tai_ns)
    except (ValueError, OverflowError):
        pass
    raise QueryError(
        f"{literal.this.name!r} and the interval are out of range",
        hint="timestamps reach from 1678 to 2261",
        sql=sql,
        position=position_of(node),
    )


def _operation(interval: exp.Interval) -> tuple[exp.Expr | None, exp.Expr | None]:
    """The sum or difference that an interval stands in, and the moment beside it."""
    inner: exp.Expr = interval
    while isinstance(inner.parent, exp.Paren):
        inner = inner.parent
    node = inner.parent
    if not isinstance(node, (exp.Add, exp.Sub)):
        return None, None
    other = node.expression if node.this is inner else node.this
    if not is_moment(other) or (isinstance(node, exp.Sub) and node.this is inner):
        return None, None
    return node, other


def _literal_and_interval(node: exp.Expr) -> tuple[exp.Cast | None, exp.Interval | None]:
    left, right = node.this.unnest(), node.args["expression"].unnest()
    if isinstance(left, exp.Interval):
        left, right = right, left
    literal = (
        isinstance(left, exp.Cast)
        and is_moment(left)
        and isinstance(left.this, exp.Literal)
        and left.this.is_string
    )
    return (left if literal else None), (right if isinstance(right, exp.Interval) else None)
