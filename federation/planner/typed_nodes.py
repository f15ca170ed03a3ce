"""Nodes made by rules, with the types that the rules after them ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.expand import column, identifier, output
from federation.planner.sqltypes import logical_type, sql_type

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_source", "column_like", "conjunction", "named", "set_where", "typed"]


def typed(node: exp.Expr, kind: LogicalType | None) -> exp.Expr:
    """``node`` annotated with a logical type."""
    if kind is not None:
        node.type = sql_type(kind)
    return node


def column_like(name: str, table: str, other: exp.Expr) -> exp.Expr:
    """A column of the type that ``other`` has."""
    return typed(column(name, table), logical_type(other))


def named(node: exp.Expr, name: str) -> exp.Expr:
    """``node AS name``, with the node's type."""
    return typed(output(node, name), logical_type(node))


def conjunction(parts: Sequence[exp.Expr]) -> exp.Expr:
    """``a AND b AND ...`` of the parts themselves, which are not copied; TRUE of none."""
    whole: exp.Expr | None = None
    for part in parts:
        inner = part
        if isinstance(part, exp.Or) and len(parts) > 1:
            inner = typed(exp.paren(part, copy=False), LogicalType.BOOL)
        whole = inner if whole is None else typed(exp.And(this=whole, expression=inner), LogicalType.BOOL)
    return typed(exp.true(), LogicalType.BOOL) if whole is None else whole


def set_where(select: exp.Select, parts: Sequence[exp.Expr]) -> None:
    """Make ``parts`` the WHERE of a SELECT; none leaves it without."""
    select.set("where", exp.Where(this=conjunction(parts)) if parts else None)


def as_source(query: exp.Expr, alias: str) -> exp.Subquery:
    """``(query) AS alias``."""
    return exp.Subquery(this=query, alias=exp.TableAlias(this=identifier(alias)))
