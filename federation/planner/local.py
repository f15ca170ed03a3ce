"""The local statement as DuckDB text, with PostgreSQL's meaning where the two differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from federation.model.logical import LogicalType
from federation.planner.expand import identifier
from federation.planner.fragments import unique_names
from federation.planner.local_time import extract, shift, to_microseconds, truncate
from federation.planner.plan import OutputColumn, PairTable
from federation.planner.sqltypes import logical_type, sql_type
from federation.planner.units import output_units

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["finish_local", "name_columns"]

_L = LogicalType
_T = exp.DataType.Type
_TIMESTAMP_NS = exp.DataType(this=_T.TIMESTAMP_NS, nested=False)


class _LocalDialect(DuckDB):
    """DuckDB's text with the local engine's settings: what NULLS FIRST and LAST may be left out differs."""

    NULL_ORDERING = "nulls_are_large"


def name_columns(draft: Draft) -> None:
    """Rule: fix names and types of the result's columns; a repeated name ``x`` becomes ``x_1``."""
    assert isinstance(draft.tree, exp.Query)
    selects = draft.tree.selects
    names = unique_names([select.alias_or_name for select in selects])
    draft.columns = tuple(
        OutputColumn(name, kind, unit)
        for name, kind, unit in zip(names, _output_types(draft.tree), output_units(draft), strict=True)
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
    # from the leaves up: what replaces a node may hold copies of those below it
    for node in reversed(list(tree.walk())):
        _adapt(draft, node)
    for select in tree.find_all(exp.Select):
        if not isinstance(select.parent, exp.Exists):
            for item in select.expressions:
                _fix_width(item)
    for values in tree.find_all(exp.Values):
        for value in values.expressions[0].expressions:
            if isinstance(value, exp.Literal) and value.is_int and not value.is_string:
                value.replace(exp.Cast(this=value.copy(), to=sql_type(_L.INT64)))
    # nobody reads the tree after this: it need not be copied first
    return tree.sql(_LocalDialect, identify=True, copy=False)


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
            node.set("this", to_microseconds(node.this.copy()))
        case exp.Literal(is_string=False) if "." in node.this and "e" not in node.this.lower():
            # without an exponent the engine would read an exact decimal
            node.set("this", node.this + "e0")
        case exp.Div():
            node.set("typed", False)
            node.set("safe", True)
        case exp.Mod() if not _is_nonzero(node.expression):
            divisor = exp.Nullif(this=node.expression.copy(), expression=exp.Literal.number(0))
            node.set("expression", divisor)
        case exp.Like() | exp.ILike() if not isinstance(node.parent, exp.Escape):
            escape = exp.Escape(expression=exp.Literal.string("\\"))
            node.replace(escape)
            escape.set("this", node)
        case exp.Sum() if logical_type(node.this) in {_L.INT64, _L.BOOL, None}:
            _cast_sum(node)
        case exp.TimestampTrunc():
            truncate(draft, node)
        case exp.Extract():
            extract(draft, node)
        case exp.Add() | exp.Sub():
            shift(draft, node)


def _is_nonzero(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and node.is_number and float(node.this) != 0


def _cast_sum(node: exp.Expr) -> None:
    """SUM of integers stays a 64-bit integer, or is an error when it does not fit."""
    argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
    if logical_type(argument) not in {_L.INT64, _L.BOOL}:
        return
    outer = node
    while isinstance(outer.parent, (exp.Filter, exp.Window)) and outer.parent.this is outer:
        outer = outer.parent
    cast = exp.Cast(to=sql_type(_L.INT64))
    cast.type = sql_type(_L.INT64)
    outer.replace(cast)
    cast.set("this", outer)
