"""Outer joins that a condition makes inner ones, and RIGHT JOIN as LEFT JOIN, so that more conditions may pass.

A condition that does not hold for a row of NULLs drops what an outer join adds. ``a RIGHT JOIN b`` is ``b LEFT JOIN
a``, which sites run alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.pushdown import conjuncts
from federation.planner.scopes import sources_of

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["narrow_outer_joins", "rejects_nulls"]

_STRICT = (exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Paren)


def narrow_outer_joins(draft: Draft) -> None:
    """Rule: drop the outer side of joins whose added rows a condition drops; turn RIGHT JOIN round."""
    for select in draft.tree.find_all(exp.Select):
        joins = select.args.get("joins") or []
        if not any(join.side for join in joins) or any(isinstance(join.this, exp.Lateral) for join in joins):
            continue
        while _narrow(draft, select, joins):
            pass
        _turn_round(select, joins)


def _narrow(draft: Draft, select: exp.Select, joins: list[exp.Join]) -> bool:
    """Narrow one join; whether there was one."""
    sources = list(sources_of(select))
    where = select.args.get("where")
    conditions = conjuncts(where.this if where else None)
    if all(join.side in {"", "LEFT"} for join in joins):
        conditions += [part for join in joins if join.side == "" for part in conjuncts(join.args.get("on"))]
    for number, join in enumerate(joins):
        right = sources[len(sources) - len(joins) + number]
        left = sources[: len(sources) - len(joins) + number]
        if join.side in {"LEFT", "FULL"} and _is_rejected(conditions, [right]):
            side = "" if join.side == "LEFT" else "RIGHT"
        elif join.side in {"RIGHT", "FULL"} and _is_rejected(conditions, left):
            side = "" if join.side == "RIGHT" else "LEFT"
        else:
            continue
        draft.decide(
            f"{join.side} JOIN of {right} is {side + ' JOIN' if side else 'an inner join'}: "
            "a condition drops the rows that it would add"
        )
        join.set("side", side)
        join.set("kind", "" if not side else join.kind)
        return True
    return False


def _is_rejected(conditions: list[exp.Expr], aliases: list[str]) -> bool:
    return any(rejects_nulls(condition, alias) for condition in conditions for alias in aliases)


def rejects_nulls(condition: exp.Expr, alias: str) -> bool:
    """Whether a condition does not hold where all columns of a source are NULL."""
    match condition:
        case exp.Paren():
            return rejects_nulls(condition.this, alias)
        case exp.And():
            return rejects_nulls(condition.this, alias) or rejects_nulls(condition.expression, alias)
        case exp.Or():
            return rejects_nulls(condition.this, alias) and rejects_nulls(condition.expression, alias)
        case exp.In():
            return _is_null(condition.this, alias)
        case exp.Is():
            is_not_null = isinstance(condition.expression, exp.Null) and condition.args.get("negate")
            return bool(is_not_null) and _is_null(condition.this, alias)
        case exp.Not(this=inner):
            inner = inner.unnest()
            if isinstance(inner, exp.Is):
                is_null = isinstance(inner.expression, exp.Null) and not inner.args.get("negate")
                return is_null and _is_null(inner.this, alias)
            return _is_unknown(inner, alias)
        case _:
            return _is_unknown(condition, alias)


def _is_unknown(condition: exp.Expr, alias: str) -> bool:
    """Whether a condition is NULL, so that its negation does not hold either."""
    match condition:
        case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE() | exp.Like() | exp.ILike():
            if any(isinstance(side, (exp.Any, exp.All)) for side in (condition.this, condition.expression)):
                return False  # of no rows it is known
            return _is_null(condition.this, alias) or _is_null(condition.expression, alias)
        case exp.Between():
            return _is_null(condition.this, alias)
        case exp.In():
            return condition.args.get("query") is None and _is_null(condition.this, alias)
        case exp.Column():
            return _is_null(condition, alias)
    return False


def _is_null(node: exp.Expr, alias: str) -> bool:
    """Whether an expression is NULL where all columns of a source are."""
    if isinstance(node, exp.Column):
        return bool(node.table == alias)
    if isinstance(node, _STRICT):
        return any(_is_null(child, alias) for child in node.iter_expressions())
    return False


def _turn_round(select: exp.Select, joins: list[exp.Join]) -> None:
    """Make the first join, if it is RIGHT, a LEFT JOIN."""
    if not joins or joins[0].side != "RIGHT":
        return
    from_ = select.args["from_"]
    first, second = from_.this, joins[0].this
    from_.set("this", second)
    joins[0].set("this", first)
    joins[0].set("side", "LEFT")
