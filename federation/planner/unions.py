"""Chains of UNION ALL as lists of their arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["arms_of", "union_of"]

_MODIFIERS = ("order", "limit", "offset", "with_")


def arms_of(query: exp.Expr) -> list[exp.Query]:
    """What a chain of UNION ALL puts together, in order; a query that is none is its own only arm.

    An arm in parentheses with an ORDER BY or LIMIT of its own stays as it is.
    """
    if isinstance(query, exp.Subquery) and not any(query.args.get(name) for name in (*_MODIFIERS, "alias")):
        return arms_of(query.this)
    if isinstance(query, exp.Union) and not query.args.get("distinct") and not _is_modified(query):
        return [*arms_of(query.this), *arms_of(query.expression)]
    return [query] if isinstance(query, exp.Query) else []


def _is_modified(query: exp.Expr) -> bool:
    return any(query.args.get(name) for name in _MODIFIERS)


def union_of(arms: Sequence[exp.Query]) -> exp.Query:
    """The chain of UNION ALL over ``arms``; one with an order or a limit goes in parentheses."""
    union: exp.Query | None = None
    for arm in arms:
        operand = exp.Subquery(this=arm) if isinstance(arm, exp.Select) and _is_modified(arm) else arm
        union = operand if union is None else exp.Union(this=union, expression=operand, distinct=False)
    assert union is not None
    return union
