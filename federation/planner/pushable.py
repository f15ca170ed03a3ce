"""What of a statement any site's database evaluates as the local engine does.

The planner asks `obstacle` before it pushes an expression to a site, and a site asks it of every text it receives.
Everything that differs between SQLite, PostgreSQL and DuckDB stays out: integer division, SUM of computed integers
(widening), mixed types (affinity), LIKE unless its pattern is a literal, ILIKE, casts, text and time functions,
FULL JOIN, DISTINCT ON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.like_patterns import pattern_of
from federation.planner.scopes import binder, sources_of
from federation.planner.sqltypes import logical_type
from federation.planner.wording import describe, function_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["obstacle"]

_T = exp.DataType.Type
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_FRAGMENT_NODES = (
    *(exp.Select, exp.Union, exp.Intersect, exp.Except, exp.Subquery, exp.With, exp.CTE, exp.From, exp.Join),
    *(
        exp.Table,
        exp.TableAlias,
        exp.Where,
        exp.Group,
        exp.Having,
        exp.Order,
        exp.Ordered,
        exp.Limit,
        exp.Offset,
    ),
    *(exp.Distinct, exp.Column, exp.Identifier, exp.Star, exp.Literal, exp.Null, exp.Boolean, exp.DataType),
    *(exp.Alias, exp.Paren, exp.And, exp.Or, exp.Not, *_COMPARISONS, exp.Is, exp.In, exp.Between, exp.Exists),
    *(exp.Add, exp.Sub, exp.Neg, exp.Case, exp.If, exp.Cast, exp.Coalesce, exp.Nullif),
    *(exp.Like, exp.Escape),
    *(exp.Count, exp.Min, exp.Max, exp.Sum, exp.Avg, exp.Window, exp.RowNumber),
)
_L = LogicalType
_NUMERIC = {_L.INT64, _L.FLOAT64}
_ORDERED = {_L.INT64, _L.FLOAT64, _L.STRING, _L.TIMESTAMP}


def obstacle(tree: exp.Expr) -> str | None:
    """Why a site's database might evaluate an annotated tree differently; None when it does not."""
    for node in tree.walk():
        if type(node) not in _FRAGMENT_NODES:
            return f"{describe(node)} is evaluated locally"
        reason = _node_obstacle(node)
        if reason:
            return reason
    return None


def _node_obstacle(node: exp.Expr) -> str | None:
    if isinstance(node, _COMPARISONS):
        return _unlike((node.this, node.expression))
    if isinstance(node, (exp.And, exp.Or)):
        return _not_boolean((node.this, node.expression))
    if isinstance(node, (exp.Not, exp.Where, exp.Having)):
        return _not_boolean((node.this,))
    if isinstance(node, exp.SetOperation):
        return _set_operation_obstacle(node)
    if isinstance(node, (exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Count, exp.Window)):
        return _aggregate_obstacle(node)
    match node:
        case exp.Between():
            return _unlike((node.this, node.args["low"], node.args["high"]))
        case exp.In():
            return _in_obstacle(node)
        case exp.Coalesce():
            return _unlike((node.this, *node.expressions))
        case exp.Nullif():
            return _unlike((node.this, node.expression))
        case exp.Case():
            return _case_obstacle(node)
        case exp.Is():
            right = node.expression
            if isinstance(right, exp.Boolean):
                return _not_boolean((node.this,))
            return None if isinstance(right, exp.Null) else "IS takes NULL, TRUE or FALSE"
        case exp.Add() | exp.Sub():
            return _unlike((node.this, node.expression)) or _outside((node.this, node.expression), _NUMERIC)
        case exp.Neg():
            return _outside((node.this,), _NUMERIC)
        case exp.Like() | exp.Escape():
            return _like_obstacle(node)
        case exp.Cast():
            known = (
                node.to.this in _LITERAL_CASTS and isinstance(node.this, exp.Literal) and node.this.is_string
            )
            return None if known or isinstance(node.this, exp.Null) else "a cast is evaluated locally"
        case exp.Join():
            return f"{node.side} JOIN is evaluated locally" if node.side not in {"", "LEFT"} else None
        case exp.With():
            return "a recursive query is evaluated locally" if node.args.get("recursive") else None
        case exp.Distinct():
            return "DISTINCT ON is evaluated locally" if node.args.get("on") else None
        case exp.Subquery():
            return _scalar_obstacle(node)
        case exp.Star():
            return None if isinstance(node.parent, exp.Count) else "* must be written out"
        case exp.Column() | exp.Ordered():
            return (
                None
                if logical_type(node if isinstance(node, exp.Column) else node.this) or _is_output(node)
                else (f"the type of {node.sql('postgres')} is not known")
            )
    return None


_LITERAL_CASTS = {_T.UUID, _T.TIMESTAMP}


def _is_output(node: exp.Expr) -> bool:
    """Whether a node of ORDER BY names an output column, whose type is that of the projection."""
    column = node.this if isinstance(node, exp.Ordered) else node
    return isinstance(column, exp.Column) and not column.table and column.find_ancestor(exp.Order) is not None


def _is_null(node: exp.Expr) -> bool:
    return isinstance(node.unnest(), exp.Null)


def _unlike(nodes: Iterable[exp.Expr]) -> str | None:
    """Whether the operands are of different logical types (an integer literal passes for a float)."""
    found: set[LogicalType] = set()
    integers = False
    for node in nodes:
        if _is_null(node):
            continue
        kind = logical_type(node)
        if kind is None:
            return f"the type of {node.sql('postgres')} is not known"
        if (
            kind is _L.INT64
            and isinstance(node.unnest(), (exp.Literal, exp.Neg))
            and not node.find(exp.Column)
        ):
            integers = True
        else:
            found.add(kind)
    if integers and not found & _NUMERIC:
        found.add(_L.INT64)
    if len(found) > 1:
        return "a comparison of " + " and ".join(sorted(found)) + " is evaluated locally"
    return None


def _not_boolean(nodes: Iterable[exp.Expr]) -> str | None:
    return _outside(nodes, {_L.BOOL})


def _outside(nodes: Iterable[exp.Expr], kinds: set[LogicalType]) -> str | None:
    for node in nodes:
        if not _is_null(node) and logical_type(node) not in kinds:
            return f"{node.sql('postgres')} is not of type {' or '.join(sorted(kinds))}"
    return None


def _in_obstacle(node: exp.In) -> str | None:
    query = node.args.get("query")
    if query is None:
        return _unlike((node.this, *node.expressions))
    inner = query.unnest()
    if not isinstance(inner, exp.Query) or len(inner.selects) != 1:
        return "IN with several columns is evaluated locally"
    return _unlike((node.this, inner.selects[0]))


def _like_obstacle(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Like) and isinstance(node.parent, exp.Escape):
        return None  # looked at with its escape
    like = node.this if isinstance(node, exp.Escape) else node
    if pattern_of(node) is None:
        return "LIKE of a pattern that is no literal is evaluated locally"
    return _outside((like.this,), {_L.STRING})


def _case_obstacle(node: exp.Case) -> str | None:
    ifs = node.args["ifs"]
    default = node.args.get("default")
    results = [branch.args["true"] for branch in ifs] + ([default] if default is not None else [])
    if all(_is_null(result) for result in results):
        return "a CASE of NULLs has no type"
    tests = [branch.this for branch in ifs]
    return _unlike(results) or (_unlike((node.this, *tests)) if node.this else _not_boolean(tests))


def _aggregate_obstacle(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Window):
        order = node.args.get("order")
        keys = [*node.args.get("partition_by", ()), *(o.this for o in (order.expressions if order else ()))]
        plain = all(isinstance(key, exp.Column) for key in keys)
        if isinstance(node.this, exp.RowNumber) and plain and not node.args.get("spec"):
            return None
        return "a window function is evaluated locally"
    argument = node.this
    if isinstance(argument, exp.Distinct):
        if len(argument.expressions) != 1:
            return "DISTINCT of several columns is evaluated locally"
        argument = argument.expressions[0]
    if isinstance(node, exp.Count):
        return None
    kinds = {_L.FLOAT64} if isinstance(node, (exp.Sum, exp.Avg)) else _ORDERED
    if isinstance(node, exp.Sum) and _is_stored(argument):
        kinds = _NUMERIC  # of 64-bit integers the sum is one too, or an error
    if logical_type(argument) not in kinds:
        return f"{function_name(node)} of {logical_type(argument) or 'unknown type'} is evaluated locally"
    return None


def _is_stored(argument: exp.Expr) -> bool:
    """Whether values are those of a table's column, perhaps under a condition, which no database has widened.

    A column of an expression by itself, whose source is not known, passes.
    """
    if isinstance(argument, exp.Case):
        values = [branch.args["true"] for branch in argument.args["ifs"]]
        default = argument.args.get("default")
        return all(_is_stored(value) for value in (*values, *([default] if default is not None else [])))
    if not isinstance(argument, exp.Column):
        return False
    select = binder(argument)
    source = sources_of(select).get(argument.table) if select is not None else None
    if source is None:
        return True
    if isinstance(source, exp.Table):
        return source.name.startswith("#")  # not a WITH query
    return _are_stored(source.this, argument.name) if isinstance(source, exp.Subquery) else False


def _are_stored(query: exp.Expr, name: str) -> bool:
    if isinstance(query, exp.SetOperation):
        position = query.named_selects.index(name)
        return all(_are_stored(side, side.named_selects[position]) for side in (query.this, query.expression))
    if isinstance(query, exp.Subquery):
        return _are_stored(query.this, name)
    return isinstance(query, exp.Select) and all(
        _is_stored(output.unalias()) for output in query.selects if output.alias_or_name == name
    )


def _scalar_obstacle(node: exp.Subquery) -> str | None:
    """A scalar subquery must have one row for certain: SQLite takes the first of many where others fail."""
    if isinstance(
        node.parent, (exp.From, exp.Join, exp.In, exp.Exists, exp.SetOperation, exp.CTE, exp.Subquery)
    ):
        return None
    if node.parent is None:
        return None
    inner = node.unnest()
    one_row = (
        isinstance(inner, exp.Select)
        and not inner.args.get("group")
        and len(inner.selects) == 1
        and isinstance(inner.selects[0].unalias(), exp.AggFunc)
    )
    return None if one_row else "a scalar subquery that may have several rows is evaluated locally"


def _set_operation_obstacle(node: exp.SetOperation) -> str | None:
    if not isinstance(node, exp.Union) and not node.args.get("distinct"):
        return f"{node.key.upper()} ALL is evaluated locally"
    for left, right in zip(node.left.selects, node.right.selects, strict=False):
        if logical_type(left) is None or logical_type(left) is not logical_type(right):
            return "a set operation of different types is evaluated locally"
    order = node.args.get("order")
    if order and not all(isinstance(o.this, exp.Column) and not o.this.table for o in order.expressions):
        return "ORDER BY an expression over a set operation is evaluated locally"
    return None
