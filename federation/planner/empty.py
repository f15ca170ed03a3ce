"""Tables that are not read because nothing could come of it: no row meets the conditions, or a joined one is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.aggregate_parts import aggregates_of
from federation.planner.expand import identifier
from federation.planner.folding import is_false
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import sources_of
from federation.planner.typed_nodes import set_where, typed

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["skip_empty"]


def skip_empty(draft: Draft) -> None:
    """Rule: leave the tables in FROM unread where a SELECT has no rows to look at."""
    if draft.find_first is not None:
        return
    for select in draft.tree.find_all(exp.Select):
        if not _is_without_rows(draft, select):
            continue
        names = [name for source in sources_of(select).values() for name in _emptied(draft, source)]
        if names:
            draft.decide(f"{', '.join(dict.fromkeys(names))}: not read, since no row can come of it")
            set_where(select, [typed(exp.false(), LogicalType.BOOL)])


def _is_without_rows(draft: Draft, select: exp.Select) -> bool:
    """Whether FROM and WHERE give no row."""
    if not select.args.get("from_"):
        return False
    where = select.args.get("where")
    if any(is_false(part) for part in conjuncts(where.this if where else None)):
        return True
    limit = select.args.get("limit")
    count = limit.args.get("expression") or limit.args.get("count") if limit else None
    if isinstance(count, exp.Literal) and count.this == "0":
        return True
    joins = select.args.get("joins") or []
    if any(join.side not in {"", "LEFT"} for join in joins):
        return False
    needed = [select.args["from_"].this, *(join.this for join in joins if join.side == "")]
    ons = [part for join in joins if join.side == "" for part in conjuncts(join.args.get("on"))]
    return any(is_false(part) for part in ons) or any(_is_empty(draft, source) for source in needed)


def _is_empty(draft: Draft, query: exp.Expr) -> bool:
    """Whether a source, or a query, has no rows for certain."""
    if isinstance(query, exp.Table):
        relation = draft.relations.get(query.name)
        return relation is not None and relation.literal is None and not relation.arms
    if isinstance(query, exp.Subquery):
        return _is_empty(draft, query.this)
    if isinstance(query, exp.Union):
        return _is_empty(draft, query.this) and _is_empty(draft, query.expression)
    if isinstance(query, exp.Select):
        makes_a_row = not query.args.get("group") and (query.args.get("having") or aggregates_of(query))
        return not makes_a_row and _is_without_rows(draft, query)
    return False


def _emptied(draft: Draft, source: exp.Expr) -> list[str]:
    """Give every table in a source a relation without schemas; the names of those that had some."""
    found = []
    for table in source.find_all(exp.Table):
        relation = draft.relations.get(table.name)
        if relation is None or relation.literal is not None or not relation.arms:
            continue
        empty = attrs.evolve(relation, name=f"{relation.name}!", arms=())
        draft.relations[empty.name] = empty
        table.set("this", identifier(empty.name))
        found.append(relation.table)
    return found
