"""``timespan_overlaps(begin, end, begin, end)`` written out as comparisons, which every database evaluates alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.sqltypes import sql_type
from federation.planner.wording import function_name

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["expand_timespan_functions"]


def expand_timespan_functions(draft: Draft) -> None:
    """Rule: rewrite each call; a NULL bound is unbounded, and an empty timespan overlaps nothing."""
    for call in list(draft.tree.find_all(exp.Anonymous)):
        if function_name(call) != "timespan_overlaps":
            continue
        if len(call.expressions) != 4:
            raise draft.error(
                f"timespan_overlaps takes 4 arguments, not {len(call.expressions)}",
                call,
                hint="timespan_overlaps(begin_1, end_1, begin_2, end_2)",
            )
        begin_1, end_1, begin_2, end_2 = call.expressions
        pairs = ((begin_1, end_2), (begin_2, end_1), (begin_1, end_1), (begin_2, end_2))
        parts = [part for part in (_before(begin, end) for begin, end in pairs) if part is not None]
        overlap: exp.Expr = exp.paren(exp.and_(*parts), copy=False) if parts else exp.true()
        if isinstance(call.parent, exp.Select):
            overlap = exp.alias_(overlap, "timespan_overlaps", quoted=True)
        call.replace(overlap)


def _before(begin: exp.Expr, end: exp.Expr) -> exp.Expr | None:
    """``begin < end`` where both are bounded; None when one is NULL, so that it always holds."""
    if isinstance(begin, exp.Null) or isinstance(end, exp.Null):
        return None
    unbounded = [
        exp.Is(this=bound.copy(), expression=exp.Null())
        for bound in (begin, end)
        if not isinstance(bound, (exp.Literal, exp.Cast))
    ]
    return exp.paren(exp.or_(*unbounded, exp.LT(this=_moment(begin), expression=_moment(end))), copy=False)


def _moment(bound: exp.Expr) -> exp.Expr:
    if isinstance(bound, exp.Literal):
        return exp.Cast(this=bound.copy(), to=sql_type(LogicalType.TIMESTAMP))
    return bound.copy()
