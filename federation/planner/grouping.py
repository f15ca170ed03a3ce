"""Aggregation checked before anything runs: SQLite would pick an arbitrary row where others raise an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.errors import QueryError
from federation.planner.position import position_of
from federation.planner.scopes import binder, own_nodes

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["check_grouping", "check_tree_grouping"]


def check_grouping(draft: Draft) -> None:
    """Rule: every column outside an aggregate is grouped by, and aggregates stand where they may."""
    check_tree_grouping(draft.tree, draft.sql)


def check_tree_grouping(tree: exp.Expr, sql: str) -> None:
    """`QueryError` for the first SELECT of a qualified tree that mixes rows and groups."""
    for select in tree.find_all(exp.Select):
        _check_select(select, sql)


def _error(message: str, node: exp.Expr, hint: str, sql: str) -> QueryError:
    return QueryError(message, hint=hint, sql=sql, position=position_of(node))


def _is_aggregate(node: exp.Expr) -> bool:
    if not isinstance(node, exp.AggFunc) or isinstance(node, exp.RowNumber):
        return False
    parent = node.parent
    while isinstance(parent, (exp.Filter, exp.WithinGroup)):
        parent = parent.parent
    return not isinstance(parent, exp.Window)


def _check_select(select: exp.Select, sql: str) -> None:
    where, group, having, order = (select.args.get(name) for name in ("where", "group", "having", "order"))
    rowwise = [where] if where else []
    rowwise += [join.args["on"] for join in select.args.get("joins") or () if join.args.get("on")]
    rowwise += list(group.expressions) if group else []
    for clause in rowwise:
        for node in (clause, *own_nodes(clause)):
            if isinstance(node, (exp.AggFunc, exp.Window)):
                raise _error(
                    "an aggregate or window function is not allowed in WHERE, ON or GROUP BY",
                    node,
                    "filter aggregates in HAVING, windows in an outer SELECT",
                    sql,
                )
    clauses = [*select.expressions, *([having] if having else []), *([order] if order else [])]
    aggregated = group is not None or having is not None
    if aggregated or any(_is_aggregate(node) for clause in clauses for node in (clause, *own_nodes(clause))):
        keys = list(group.expressions) if group else []
        for clause in clauses:
            _check_grouped(clause, select, keys, sql)
    distinct = select.args.get("distinct")
    if distinct is not None and not distinct.args.get("on") and order is not None:
        outputs = [item.unalias() for item in select.expressions]
        for item in order.expressions:
            if item.this not in outputs and any(column.table for column in item.find_all(exp.Column)):
                raise _error(
                    "SELECT DISTINCT can be ordered by its output columns only",
                    item,
                    "add the expression to the SELECT list",
                    sql,
                )


def _check_grouped(node: exp.Expr, select: exp.Select, keys: list[exp.Expr], sql: str) -> None:
    if any(node == key for key in keys):
        return
    if isinstance(node, exp.Column):
        if node.table and binder(node) is select:
            raise _error(
                f"column {node.name!r} is neither grouped by nor inside an aggregate",
                node,
                f"add it to GROUP BY, or write min({node.name})",
                sql,
            )
        return
    if isinstance(node, (exp.Filter, exp.WithinGroup)) and _is_aggregate(node.this):
        return
    if _is_aggregate(node):
        for inner in own_nodes(node):
            if _is_aggregate(inner):
                raise _error(
                    "an aggregate inside an aggregate", inner, "aggregate in a sub-select first", sql
                )
        return
    for child in node.iter_expressions():
        _check_grouped(child, select, keys, sql)
