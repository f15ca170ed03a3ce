"""EXISTS and IN (SELECT ...) about tables of one site are checked there, before its rows travel to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.moved import drop_conditions, settled_conditions
from federation.planner.placement import answering_site, open_queries
from federation.planner.pushdown import conditions_of, conjuncts
from federation.planner.scopes import binder, bound_columns, sources_of
from federation.planner.typed_nodes import as_source, column_like, named, set_where

if TYPE_CHECKING:
    from federation.planner.draft import Draft, Relation

__all__ = ["gather_semi_joins"]


def gather_semi_joins(draft: Draft) -> None:
    """Rule: move a condition with a sub-select to the table that it is about, where one site has all that it reads."""
    if draft.find_first is not None or draft.tree.find(exp.Exists, exp.In) is None:
        return
    for query in open_queries(draft):
        if not isinstance(query, exp.Select) or not _with_sub_selects(query):
            continue
        relations = {
            alias: relation
            for alias, source in sources_of(query).items()
            if isinstance(source, exp.Table)
            and (relation := draft.relations.get(source.name)) is not None
            and len(relation.sites) == 1
        }
        for alias, relation in relations.items():
            # sources of one site are joined there as they are
            if not any(other.sites == relation.sites for one, other in relations.items() if one != alias):
                _gather(draft, query, alias, relation)


def _with_sub_selects(select: exp.Select) -> list[exp.Expr]:
    """Conditions of WHERE that hold a sub-select."""
    where = select.args.get("where")
    found = conjuncts(where.this if where else None)
    return [condition for condition in found if condition.find(exp.Query) is not None]


def _gather(draft: Draft, select: exp.Select, alias: str, relation: Relation) -> None:
    joins = select.args.get("joins") or []
    if any(join.side not in {"", "LEFT"} for join in joins) or not _is_preserved(select, alias):
        return
    simple, settled = settled_conditions(select, alias)
    for condition in _with_sub_selects(select):
        outside = [used for used in condition.find_all(exp.Column) if binder(used) is select]
        if not outside or any(used.table != alias for used in outside):
            continue
        gone = {id(used) for one in (*settled, condition) for used in one.find_all(exp.Column)}
        used = {c.name: c for c in bound_columns(select, alias) if id(c) not in gone} or {
            outside[0].name: outside[0]
        }
        first = exp.Select(
            expressions=[named(column_like(name, alias, one), name) for name, one in used.items()],
            from_=exp.From(this=sources_of(select)[alias].copy()),
        )
        set_where(first, [one.copy() for one in (*simple, condition)])
        site, _ = answering_site(draft, first)
        if site is None:
            continue
        drop_conditions(select, [*settled, condition])
        sources_of(select)[alias].replace(as_source(first, alias))
        draft.decide(f"{relation.table} ({alias}): {site} checks a condition with a sub-select")
        return


def _is_preserved(select: exp.Select, alias: str) -> bool:
    return alias in conditions_of(select).preserved
