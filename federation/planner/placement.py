"""Which site can answer a whole query by itself, and which SELECTs of a statement none can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.estimate import estimate_rows
from federation.planner.pushable import obstacle
from federation.planner.scopes import is_closed, own_nodes, tables_of
from federation.planner.sqltypes import logical_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.planner.draft import Draft

__all__ = ["RANGES", "answering_site", "is_in_process", "open_queries", "slow_there"]

#: rows of a table, and rows of a join
_LARGE, _MANY = 20_000, 5_000
RANGES = "the local engine is quicker at joins on ranges"


def answering_site(draft: Draft, query: exp.Query) -> tuple[str | None, str | None]:
    """The site that can answer a whole query by itself, if there is one; else why the one that it reads can't.

    Both are None for a query that reads several sites, or that refers to something outside itself.
    """
    sites: set[str] = set()
    for table in tables_of(query):
        relation = draft.relations.get(table.name)
        if relation is None:
            # the name of a WITH query, which must be inside too
            if not any(cte.alias == table.name and _is_inside(cte, query) for cte in _ctes_around(table)):
                return None, None
        elif relation.literal is not None or not relation.arms:
            return None, None
        else:
            sites |= relation.sites
    if len(sites) != 1 or not is_closed(query):
        return None, None
    site = next(iter(sites))
    reason = obstacle(query) or slow_there(draft, site, query)
    if reason is None and any(logical_type(select) is None for select in query.selects):
        reason = "the type of an output column is not known"
    return (site, None) if reason is None else (None, f"{site} only but is finished locally: {reason}")


def open_queries(draft: Draft) -> Iterator[exp.Query]:
    """Queries, outer ones first, that no site answers alone, by themselves or as a part of what is around them.

    What a caller makes of a query that it got is looked at next, so that its new parts come too.
    """
    todo: list[exp.Expr] = [draft.tree]
    while todo:
        query = todo.pop()
        if not isinstance(query, exp.Query) or answering_site(draft, query)[0] is not None:
            continue
        yield query
        nested = (node for node in own_nodes(query) if isinstance(node, exp.Query))
        todo.extend(node for node in nested if not isinstance(node, exp.Subquery))


def is_in_process(draft: Draft, site: str) -> bool:
    """Whether moving rows from the site costs nothing."""
    known = draft.catalog.site(site)
    return known is not None and known.is_in_process


def slow_there(draft: Draft, site: str, query: exp.Query) -> str | None:
    """Why a site that could answer a query had better not; only where its rows cost nothing to move.

    The local engine takes some hundredths of a second to start, which only large tables give back.
    """
    if not is_in_process(draft, site):
        return None
    read = [draft.relations[table.name] for table in tables_of(query) if table.name in draft.relations]
    if max((arm.row_count or 0 for relation in read for arm in relation.arms), default=0) < _LARGE:
        return None
    if query.find(exp.Window) is not None:
        return "the local engine is quicker at window functions"
    comparisons = query.find_all(exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between)
    # few rows are joined by the site's indexes
    if any(_is_between_tables(node) for node in comparisons) and (
        (estimate_rows(query, draft.relations) or 0) >= _MANY
    ):
        return RANGES
    return None


def _is_between_tables(comparison: exp.Expr) -> bool:
    return len({column.table for column in comparison.find_all(exp.Column)}) > 1


def _is_inside(node: exp.Expr, query: exp.Expr) -> bool:
    around: exp.Expr | None = node
    while around is not None and around is not query:
        around = around.parent
    return around is query


def _ctes_around(table: exp.Expr) -> list[exp.CTE]:
    found: list[exp.CTE] = []
    node: exp.Expr | None = table
    while node is not None:
        with_ = node.args.get("with_") if isinstance(node, exp.Query) else None
        if with_ is not None:
            found.extend(with_.expressions)
        node = node.parent
    return found
