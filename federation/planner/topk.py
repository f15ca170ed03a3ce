"""The first rows of a UNION ALL are among the first rows of its sides, so that a site need not send the others."""

from __future__ import annotations

from sqlglot import exp

from federation.planner.expand import identifier

__all__ = ["push_limit"]


def push_limit(union: exp.SetOperation) -> None:
    """Give each side of ``UNION ALL ... ORDER BY ... LIMIT n`` the same order and limit, in place.

    Only where the order is by output columns; sides that have an order or a limit of their own are left alone.
    """
    order, limit, offset = (union.args.get(name) for name in ("order", "limit", "offset"))
    count = limit.args.get("expression") or limit.args.get("count") if limit else None
    if not isinstance(count, exp.Literal) or order is None:
        return
    names = union.named_selects
    if not all(isinstance(item.this, exp.Column) and not item.this.table for item in order.expressions):
        return
    rows = int(count.name) + (int(offset.expression.name) if offset else 0)
    positions = [names.index(item.this.name) for item in order.expressions]
    for side in _sides(union):
        if any(side.args.get(name) for name in ("order", "limit", "offset", "distinct")):
            continue
        own = side.named_selects
        keys = []
        for item, position in zip(order.expressions, positions, strict=True):
            key = item.copy()
            key.this.set("this", identifier(own[position]))
            keys.append(key)
        if len(set(own)) == len(own):
            side.set("order", exp.Order(expressions=keys))
            side.set("limit", exp.Limit(expression=exp.Literal.number(rows)))
            wrapped = exp.Subquery()
            side.replace(wrapped)
            wrapped.set("this", side)


def _sides(union: exp.SetOperation) -> list[exp.Select]:
    """The SELECTs that a chain of UNION ALL puts together; none of a chain that removes duplicates."""
    found: list[exp.Select] = []
    if not isinstance(union, exp.Union) or union.args.get("distinct"):
        return found
    for side in (union.this, union.expression):
        if isinstance(side, exp.Select):
            found.append(side)
        elif isinstance(side, exp.Union) and not any(
            side.args.get(n) for n in ("order", "limit", "offset", "with_")
        ):
            found.extend(_sides(side))
    return found
