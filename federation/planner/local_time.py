"""Functions of time as DuckDB text, exact to the nanosecond: its own calendar knows microseconds only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.intervals import UNITS, length_of, unit_name
from federation.planner.sqltypes import is_date, is_moment, logical_type

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["extract", "shift", "to_microseconds", "truncate"]

_T = exp.DataType.Type
_TIMESTAMP_NS = exp.DataType(this=_T.TIMESTAMP_NS, nested=False)
_CALENDAR = {"WEEK", "MONTH", "QUARTER", "YEAR", "DECADE", "CENTURY"}
_PARTS = {
    *("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOW", "ISODOW", "DOY"),
    *("HOUR", "MINUTE", "SECOND", "EPOCH"),
}
_MINUTE_NS = 60_000_000_000


def _put(node: exp.Expr, fresh: exp.Expr) -> None:
    """Replace ``node``, keeping its type, which what is around it looks at."""
    fresh.type = node.type
    node.replace(fresh)


def _ns(node: exp.Expr) -> exp.Expr:
    if is_date(node):
        node = exp.Cast(this=node, to=_TIMESTAMP_NS.copy())
    return exp.Anonymous(this="epoch_ns", expressions=[node])


def _timestamp(ns: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="make_timestamp_ns", expressions=[ns])


def _modulo(value: exp.Expr, unit_ns: int) -> exp.Expr:
    """``value`` nanoseconds modulo ``unit_ns``, not negative before 1970 either."""

    def once(inner: exp.Expr) -> exp.Expr:
        return exp.paren(
            exp.Mod(this=exp.paren(inner, copy=False), expression=exp.Literal.number(unit_ns)), copy=False
        )

    return once(exp.Add(this=once(value), expression=exp.Literal.number(unit_ns)))


def _floor(node: exp.Expr, unit_ns: int) -> exp.Expr:
    """``node`` nanoseconds rounded down to a multiple of ``unit_ns``, before 1970 too."""
    return exp.paren(exp.Sub(this=node, expression=_modulo(node.copy(), unit_ns)), copy=False)


def to_microseconds(node: exp.Expr) -> exp.Expr:
    """The timestamp without its last three digits: the engine's calendar functions would round them up."""
    micro = exp.Div(this=_floor(_ns(node), 1000), expression=exp.Literal.number(1000))
    return exp.Anonymous(this="make_timestamp", expressions=[micro])


def truncate(draft: Draft, node: exp.TimestampTrunc) -> None:
    """``date_trunc``, in place; `QueryError` for a unit that is not known."""
    unit = unit_name(node.args.get("unit"))
    value = node.this.copy()
    if unit in _CALENDAR:
        call = exp.Anonymous(
            this="date_trunc", expressions=[exp.Literal.string(unit.lower()), to_microseconds(value)]
        )
        _put(node, exp.Cast(this=call, to=_TIMESTAMP_NS.copy()))
    elif unit in UNITS:
        _put(node, _timestamp(_floor(_ns(value), UNITS[unit])))
    else:
        raise draft.error(
            f"date_trunc does not know {unit.lower()!r}",
            node,
            hint="one of " + ", ".join(sorted({*UNITS, *_CALENDAR})).lower(),
        )


def extract(draft: Draft, node: exp.Extract) -> None:
    """``extract(part FROM moment)`` or ``extract(epoch FROM moment - moment)``, in place."""
    part = node.name.upper()
    value = node.expression.unnest()
    if part not in _PARTS:
        raise draft.error(
            f"extract does not know {part.lower()!r}",
            node,
            hint="one of " + ", ".join(sorted(_PARTS)).lower(),
        )
    if part == "EPOCH" and isinstance(value, exp.Sub) and is_moment(value.this) and not is_moment(value):
        ns: exp.Expr = exp.paren(
            exp.Sub(this=_ns(value.this.copy()), expression=_ns(value.expression.copy())), copy=False
        )
        _put(node, _seconds(ns))
        return
    if not is_moment(value):
        raise draft.error(
            f"extract takes a timestamp, not {logical_type(value) or 'this'}",
            node,
            hint="cast it, or for a duration write extract(epoch FROM a - b)",
        )
    if part == "EPOCH":
        _put(node, _seconds(_ns(value.copy())))
    elif part == "SECOND":
        _put(node, _seconds(_modulo(_ns(value.copy()), _MINUTE_NS)))
    else:
        node.set("expression", to_microseconds(value.copy()))


def _seconds(ns: exp.Expr) -> exp.Expr:
    return exp.paren(exp.Div(this=ns, expression=exp.Literal.number("1e9")), copy=False)


def shift(draft: Draft, node: exp.Expr) -> None:
    """A moment plus or minus an interval, exact to the nanosecond, and sums of days, in place."""
    left, right = node.this.unnest(), node.args["expression"].unnest()
    if isinstance(left, exp.Interval):
        left, right = right, left
    if is_moment(left) and is_moment(right):
        if not (is_date(left) and is_date(right)) and not isinstance(
            node.find_ancestor(exp.Extract, exp.Query), exp.Extract
        ):
            raise draft.error(
                "a difference of timestamps is an interval, which is not supported",
                node,
                hint="write extract(epoch FROM a - b) for seconds",
            )
        return
    if not isinstance(right, exp.Interval):
        for day, number in ((node.this, node.args["expression"]), (node.args["expression"], node.this)):
            if is_date(day) and logical_type(number) is LogicalType.INT64:
                number.replace(exp.Cast(this=number.copy(), to=exp.DataType(this=_T.INT, nested=False)))
        return
    length = length_of(right, draft.sql)
    length = length.negated() if isinstance(node, exp.Sub) else length
    if not length.months:
        _put(node, _timestamp(_plus(_ns(left.copy()), length.ns)))
        return
    months = exp.Anonymous(this="to_months", expressions=[exp.cast(exp.Literal.number(length.months), "int")])
    day = exp.Add(this=to_microseconds(left.copy()), expression=months)
    micro = exp.Anonymous(this="epoch_us", expressions=[day])
    ns = exp.Mul(this=micro, expression=exp.Literal.number(1000))
    _put(node, _timestamp(exp.Add(this=ns, expression=_modulo(_ns(left.copy()), 1000))))


def _plus(node: exp.Expr, number: int) -> exp.Expr:
    operation = exp.Add if number >= 0 else exp.Sub
    return operation(this=node, expression=exp.Literal.number(abs(number)))
