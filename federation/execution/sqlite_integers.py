"""Sums of integers for SQLite, which turns one that is out of range into a float where others raise an error."""

from __future__ import annotations

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.sqltypes import logical_type

__all__ = ["guard_sums"]

_SUMS = (exp.Add, exp.Sub, exp.Neg)


def guard_sums(tree: exp.Expr) -> exp.Expr:
    """Make every sum, difference and negation of integers fail where its value has become a float; the tree's root.

    A part that has become a float makes the whole one, so only the outermost operation is looked at.
    """
    for node in list(tree.find_all(*_SUMS)):
        if logical_type(node) is not LogicalType.INT64 or _is_inner(node) or node.find(exp.Column) is None:
            continue
        guarded = exp.Case(ifs=[exp.If(this=_is_float(node.copy()), true=_failure())], default=node.copy())
        guarded.type = node.type
        if node is tree:
            return guarded
        node.replace(guarded)
    return tree


def _is_inner(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    return isinstance(parent, _SUMS) and logical_type(parent) is LogicalType.INT64


def _is_float(node: exp.Expr) -> exp.Expr:
    kind = exp.Anonymous(this="typeof", expressions=[node])
    return exp.EQ(this=kind, expression=exp.Literal.string("real"))


def _failure() -> exp.Expr:
    """SQLite's own error for an integer that is out of range: https://sqlite.org/lang_corefunc.html#abs."""
    least = exp.Sub(
        this=exp.Neg(this=exp.Literal.number(2**63 - 1)),
        expression=exp.Literal.number(1),
    )
    return exp.Anonymous(this="abs", expressions=[least])
