"""Duplicates that nobody looks at stay at the sites: in sides of UNION, INTERSECT, EXCEPT, in IN (SELECT ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner import groups
from federation.planner.aggregate_parts import aggregates_of
from federation.planner.estimate import estimate_distinct, estimate_rows
from federation.planner.placement import answering_site, is_in_process, open_queries
from federation.planner.scopes import own_nodes
from federation.planner.sqltypes import logical_type
from federation.planner.unions import arms_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.planner.draft import Draft

__all__ = ["drop_duplicates"]


def drop_duplicates(draft: Draft) -> None:
    """Rule: ask sites for different rows only, where the rest of the statement removes duplicates anyway."""
    if draft.find_first is not None or draft.tree.find(exp.SetOperation, exp.In) is None:
        return
    for query in open_queries(draft):
        for select in _without_need(query):
            if not _has_duplicates(select):
                continue
            site, _ = answering_site(draft, select)
            if site is None or is_in_process(draft, site):
                continue
            rows = estimate_rows(select, draft.relations)
            distinct = estimate_distinct(select, select.named_selects, draft.relations)
            if rows is None or distinct is None or distinct > rows * groups.SHARE:
                continue
            select.set("distinct", exp.Distinct())
            draft.decide(
                f"{', '.join(select.named_selects)}: {site} gives about {distinct} different ones of {rows}"
            )


def _without_need(query: exp.Query) -> Iterator[exp.Select]:
    """SELECTs below a query in which it does not matter how often a row comes."""
    if isinstance(query, exp.SetOperation) and query.args.get("distinct"):
        sides = [query.this, query.expression]
    else:
        found = (node.args.get("query") for node in own_nodes(query) if isinstance(node, exp.In))
        sides = [side for side in found if side is not None]
    for side in sides:
        for arm in arms_of(side):
            if isinstance(arm, exp.Select):
                yield arm


def _has_duplicates(select: exp.Select) -> bool:
    if any(select.args.get(name) for name in ("distinct", "group", "having", "limit", "offset", "order")):
        return False
    if not select.args.get("from_") or aggregates_of(select):
        return False
    kinds = {logical_type(one) for one in select.selects}
    return not kinds & {None, LogicalType.FLOAT64, LogicalType.BYTES}
