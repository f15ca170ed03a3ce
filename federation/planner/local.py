"""The local statement as DuckDB text, with PostgreSQL's meaning where the two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.expand import identifier
from federation.planner.fragments import unique_names
from federation.planner.plan import OutputColumn, PairTable
from federation.planner.sqltypes import logical_type, sql_type

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["finish_local", "name_columns"]

_L = LogicalType
_T = exp.DataType.Type
_TIMESTAMP_NS = exp.DataType(this=_T.TIMESTAMP_NS, nested=False)
_SECOND = 1_000_000_000
_UNITS = {
    "NANOSECOND": 1,
    "MICROSECOND": 1_000,
    "MILLISECOND": 1_000_000,
    "SECOND": _SECOND,
    "MINUTE": 60 * _SECOND,
    "HOUR": 3600 * _SECOND,
    "DAY": 86_400 * _SECOND,
    "WEEK": 7 * 86_400 * _SECOND,
}
_CALENDAR = {"WEEK", "MONTH", "QUARTER", "YEAR", "DECADE", "CENTURY"}
_PARTS = {
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "DOW",
    "ISODOW",
    "DOY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "EPOCH",
}


def name_columns(draft: Draft) -> None:
    """Rule: fix names and types of the result's columns; a repeated name ``x`` becomes ``x_1``."""
    assert isinstance(draft.tree, exp.Query)
    selects = draft.tree.selects
    names = unique_names([select.alias_or_name for select in selects])
    draft.columns = tuple(
        OutputColumn(name, kind) for name, kind in zip(names, _output_types(draft.tree), strict=True)
    )
    for name, select in zip(names, selects, strict=True):
        if isinstance(select, exp.Alias) and select.alias != name:
            select.set("alias", identifier(name))


def _output_types(query: exp.Expr) -> list[LogicalType | None]:
    """Types of a query's columns; in a set operation those that hold both sides' values."""
    if isinstance(query, exp.SetOperation):
        sides = zip(_output_types(query.this), _output_types(query.expression), strict=True)
        return [_common(left, right) for left, right in sides]
    if isinstance(query, exp.Subquery):
        return _output_types(query.this)
    return [logical_type(select) for select in query.selects] if isinstance(query, exp.Query) else []


def _common(left: LogicalType | None, right: LogicalType | None) -> LogicalType | None:
    if {left, right} == {_L.INT64, _L.FLOAT64}:
        return _L.FLOAT64
    return left if left is right else None


def finish_local(draft: Draft) -> None:
    """Rule: write the tree for DuckDB, and the queries of the pair tables."""
    draft.local_sql = _duckdb_sql(draft, draft.tree)
    for pairs in draft.pair_queries:
        left, right = _duckdb_sql(draft, pairs.left), _duckdb_sql(draft, pairs.right)
        draft.pair_tables.append(PairTable(pairs.name, pairs.kind, left, right))


def _duckdb_sql(draft: Draft, tree: exp.Expr) -> str:
    for node in list(tree.walk()):
        _adapt(draft, node)
    for select in tree.find_all(exp.Select):
        if not isinstance(select.parent, exp.Exists):
            for item in select.expressions:
                _fix_width(item)
    for values in tree.find_all(exp.Values):
        for value in values.expressions[0].expressions:
            if isinstance(value, exp.Literal) and value.is_int and not value.is_string:
                value.replace(exp.Cast(this=value.copy(), to=sql_type(_L.INT64)))
    return tree.sql("duckdb", identify=True)


def _fix_width(item: exp.Expr) -> None:
    """Cast an output to its logical type: the engine's own integers and decimals are narrower or wider."""
    kind, inner = logical_type(item), item.unalias()
    if kind not in {_L.INT64, _L.FLOAT64} or isinstance(inner, exp.Column) or not isinstance(item, exp.Alias):
        return
    to = sql_type(kind)
    if not isinstance(inner, exp.Cast) or inner.to.this is not to.this:
        item.set("this", exp.Cast(this=inner.copy(), to=to))


def _adapt(draft: Draft, node: exp.Expr) -> None:
    match node:
        case exp.Cast() if node.to.this is _T.TIMESTAMP:
            node.set("to", _TIMESTAMP_NS.copy())
        case exp.Cast() if node.to.this is _T.DATE and logical_type(node.this) is _L.TIMESTAMP:
            node.set("this", _to_microseconds(node.this.copy()))
        case exp.Literal(is_string=False) if "." in node.this and "e" not in node.this.lower():
            # without an exponent the engine would read an exact decimal
            node.set("this", node.this + "e0")
        case exp.Div():
            node.set("typed", False)
            node.set("safe", True)
        case exp.Like() | exp.ILike() if not isinstance(node.parent, exp.Escape):
            escape = exp.Escape(expression=exp.Literal.string("\\"))
            node.replace(escape)
            escape.set("this", node)
        case exp.Sum() if logical_type(node.this) in {_L.INT64, _L.BOOL, None}:
            _cast_sum(node)
        case exp.TimestampTrunc():
            _truncate(draft, node)
        case exp.Extract():
            _extract(draft, node)
        case exp.Add() | exp.Sub():
            _shift(draft, node)


def _cast_sum(node: exp.Expr) -> None:
    """SUM of integers stays a 64-bit integer, or is an error when it does not fit."""
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    if logical_type(argument) not in {_L.INT64, _L.BOOL}:
        return
    outer = node
    while isinstance(outer.parent, (exp.Filter, exp.Window)) and outer.parent.this is outer:
        outer = outer.parent
    cast = exp.Cast(to=sql_type(_L.INT64))
    outer.replace(cast)
    cast.set("this", outer)


def _ns(node: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="epoch_ns", expressions=[node])


def _timestamp(ns: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this="make_timestamp_ns", expressions=[ns])


def _floor(node: exp.Expr, unit_ns: int) -> exp.Expr:
    """``node`` nanoseconds rounded down to a multiple of ``unit_ns``, before 1970 too."""

    def modulo(value: exp.Expr) -> exp.Expr:
        return exp.paren(
            exp.Mod(this=exp.paren(value, copy=False), expression=exp.Literal.number(unit_ns)), copy=False
        )

    remainder = modulo(exp.Add(this=modulo(node.copy()), expression=exp.Literal.number(unit_ns)))
    return exp.paren(exp.Sub(this=node, expression=remainder), copy=False)


def _to_microseconds(node: exp.Expr) -> exp.Expr:
    """The timestamp without its last three digits: the engine's calendar functions would round them up."""
    micro = exp.Div(this=_floor(_ns(node), 1000), expression=exp.Literal.number(1000))
    return exp.Anonymous(this="make_timestamp", expressions=[micro])


def _unit(node: exp.Expr | None) -> str:
    return node.name.upper().removesuffix("S") if node is not None else ""


def _truncate(draft: Draft, node: exp.TimestampTrunc) -> None:
    unit = _unit(node.args.get("unit"))
    value = node.this.copy()
    if unit in _CALENDAR:
        call = exp.Anonymous(
            this="date_trunc", expressions=[exp.Literal.string(unit.lower()), _to_microseconds(value)]
        )
        node.replace(exp.Cast(this=call, to=_TIMESTAMP_NS.copy()))
    elif unit in _UNITS:
        node.replace(_timestamp(_floor(_ns(value), _UNITS[unit])))
    else:
        raise draft.error(
            f"date_trunc does not know {unit.lower()!r}",
            node,
            hint="one of " + ", ".join(sorted({*_UNITS, *_CALENDAR})).lower(),
        )


def _extract(draft: Draft, node: exp.Extract) -> None:
    part = node.name.upper()
    value = node.expression.unnest()
    if part not in _PARTS:
        raise draft.error(
            f"extract does not know {part.lower()!r}",
            node,
            hint="one of " + ", ".join(sorted(_PARTS)).lower(),
        )
    if part == "EPOCH":
        if isinstance(value, exp.Sub) and logical_type(value.this) is _L.TIMESTAMP:
            ns: exp.Expr = exp.paren(
                exp.Sub(this=_ns(value.this.copy()), expression=_ns(value.expression.copy())), copy=False
            )
        else:
            ns = _ns(value.copy())
        seconds = exp.Div(this=ns, expression=exp.Literal.number("1e9"))
        node.replace(exp.paren(seconds, copy=False))
    else:
        node.set("expression", _to_microseconds(value.copy()))


def _shift(draft: Draft, node: exp.Expr) -> None:
    """A timestamp plus or minus an interval, exact to the nanosecond."""
    left, right = node.this.unnest(), node.args["expression"].unnest()
    if logical_type(left) is _L.TIMESTAMP is logical_type(right):
        if isinstance(node.find_ancestor(exp.Extract, exp.Query), exp.Extract):
            return
        raise draft.error(
            "a difference of timestamps is an interval, which is not supported",
            node,
            hint="write extract(epoch FROM a - b) for seconds",
        )
    if isinstance(left, exp.Interval) and isinstance(node, exp.Add):
        left, right = right, left
    if not isinstance(right, exp.Interval):
        return
    unit = _unit(right.args.get("unit"))
    if unit not in _UNITS:
        raise draft.error(
            f"an interval of {unit.lower() or 'mixed'} units has no fixed length",
            node,
            hint="use weeks, days, hours, minutes, seconds or fractions of them, one unit at a time",
        )
    try:
        length_ns = round(float(right.name) * _UNITS[unit])
    except ValueError as error:
        raise draft.error(f"{right.name!r} is not a number", right, hint="INTERVAL '30 seconds'") from error
    operation = type(node)(this=_ns(left.copy()), expression=exp.Literal.number(abs(length_ns)))
    if length_ns < 0:
        operation = (exp.Sub if isinstance(node, exp.Add) else exp.Add)(**operation.args)
    node.replace(_timestamp(operation))
