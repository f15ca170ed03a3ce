"""Conditions that move into a source of their SELECT, which then need not be checked again around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.pushdown import conditions_of, conjuncts
from federation.planner.scopes import sources_of
from federation.planner.typed_nodes import conjunction, set_where

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.planner.pushdown import Conditions

__all__ = ["drop_conditions", "settled_conditions"]

_Conditions = tuple[exp.Expr, ...]


def settled_conditions(
    select: exp.Select, alias: str, conditions: Conditions | None = None
) -> tuple[_Conditions, _Conditions]:
    """The conditions that rows of a source must meet, and those of them that are settled when they do.

    The latter are nodes of the SELECT's WHERE and ON, for `drop_conditions`. ``conditions`` are the SELECT's, where
    the caller has them.
    """
    conditions = conditions or conditions_of(select)
    node = sources_of(select)[alias]
    join = node.parent if isinstance(node.parent, exp.Join) else None
    joins = select.args.get("joins") or []
    places = []
    if alias in conditions.preserved and all(other.side in {"", "LEFT"} for other in joins):
        where = select.args.get("where")
        places = [where.this if where else None]
        places += [other.args.get("on") for other in joins if other.side == ""]
    elif join is not None and join.side == "LEFT":
        places = [join.args.get("on")]
    parts = {id(part) for place in places for part in conjuncts(place)}
    found = conditions.filters.get(alias, ())
    return found, tuple(condition for condition in found if id(condition) in parts)


def drop_conditions(select: exp.Select, settled: Iterable[exp.Expr]) -> None:
    """Take conditions out of WHERE and ON."""
    gone = {id(condition) for condition in settled}
    if not gone:
        return
    where = select.args.get("where")
    if where is not None:
        set_where(select, [part for part in conjuncts(where.this) if id(part) not in gone])
    for join in select.args.get("joins") or ():
        on = join.args.get("on")
        if on is None or not any(id(part) in gone for part in conjuncts(on)):
            continue
        rest = [part for part in conjuncts(on) if id(part) not in gone]
        # an inner join without a condition is a cross join, which the databases spell so
        if not rest and join.side == "":
            join.set("on", None)
            join.set("kind", "CROSS")
        else:
            join.set("on", conjunction(rest))
