"""Cutting a statement into what sites run and what is left to the local engine.

The largest closed sub-queries that one site can answer alone become one fragment each. Where a SELECT needs several
sites, sources of one site that are joined with one another become one fragment (`federation.planner.merge`), and
every other table is scanned where it is, with the columns that are used and the conditions that may be pushed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.expand import below_shadowing, column, empty_select, identifier, nearest_rows, output
from federation.planner.fragments import add_fragment, needed_columns
from federation.planner.merge import merge_joined_sources
from federation.planner.placement import RANGES, answering_site, slow_there
from federation.planner.pushdown import conditions_of
from federation.planner.repeated_scans import repeated_scan
from federation.planner.scopes import own_nodes, sources_of
from federation.planner.sqltypes import sql_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Arm, Draft, Relation
    from federation.planner.plan import Fragment

__all__ = ["cut_fragments"]


def cut_fragments(draft: Draft) -> None:
    """Rule: replace everything that sites run by the fragments' results."""
    assert isinstance(draft.tree, exp.Query)
    draft.tree = _cut(draft, draft.tree)


def _cut(draft: Draft, query: exp.Query) -> exp.Query:
    if isinstance(query, exp.Subquery) and not any(
        query.args.get(n) for n in ("order", "limit", "offset", "with_")
    ):
        query.set("this", _cut(draft, query.this))
        return query
    site = _single_site(draft, query)
    if site is not None:
        fragment = add_fragment(draft, site, query, draft.relations)
        draft.decide(f"{fragment.id}: {site} answers {_what(query)} alone")
        return _select_from(fragment, [select.alias_or_name for select in query.selects])
    with_ = query.args.get("with_")
    for cte in with_.expressions if with_ else ():
        cte.set("this", _cut(draft, cte.this))
    if isinstance(query, exp.SetOperation):
        query.set("this", _cut(draft, query.this))
        query.set("expression", _cut(draft, query.expression))
    elif isinstance(query, exp.Subquery):
        query.set("this", _cut(draft, query.this))
    elif isinstance(query, exp.Select):
        _cut_select(draft, query)
    return query


def _what(query: exp.Query) -> str:
    if query.parent is None:
        return "the statement"
    if isinstance(query.parent, exp.SetOperation):
        return f"one side of {query.parent.key.upper()}"
    return "a sub-select"


def _single_site(draft: Draft, query: exp.Query) -> str | None:
    """The site that can answer a whole query by itself, if there is one."""
    site, reason = answering_site(draft, query)
    if reason is not None:
        draft.decide(f"{_what(query)} reads {reason}")
    return site


def _select_from(fragment: Fragment, names: Sequence[str]) -> exp.Select:
    """All of a fragment's result, under the names that the statement uses."""
    expressions: list[exp.Expr] = []
    for name, known in zip(names, fragment.columns, strict=True):
        source = column(known.name, fragment.id)
        if known.type is not None:
            source.type = sql_type(known.type)
        expressions.append(output(source, name))
        expressions[-1].type = source.type
    return exp.Select(expressions=expressions, from_=exp.From(this=_result(fragment, fragment.id)))


def _result(fragment: Fragment, alias: str) -> exp.Table:
    return exp.Table(this=identifier(fragment.id), alias=exp.TableAlias(this=identifier(alias)))


def _cut_select(draft: Draft, select: exp.Select) -> None:
    sources = sources_of(select).values()
    relations = [draft.relations[source.name] for source in sources if source.name in draft.relations]
    if not any(slow_there(draft, site, select) == RANGES for one in relations for site in one.sites):
        merge_joined_sources(draft, select)
    conditions = conditions_of(select)
    scans = {
        alias: (relation, needed_columns(select, alias, relation), conditions.filters.get(alias, ()))
        for alias, source in sources_of(select).items()
        if isinstance(source, exp.Table) and (relation := draft.relations.get(source.name)) is not None
    }
    with_ = select.args.get("with_")
    nested = [n for n in own_nodes(select) if isinstance(n, exp.Query) and not isinstance(n, exp.Subquery)]
    for query in nested:
        if with_ is not None and query.find_ancestor(exp.With) is with_:
            continue
        fresh = _cut(draft, query)
        if fresh is not query:
            query.replace(fresh)
    for alias, source in sources_of(select).items():
        if alias in scans:
            source.replace(_scan(draft, alias, *scans[alias]))


def _scan(
    draft: Draft, alias: str, relation: Relation, names: list[str], conditions: Sequence[exp.Expr]
) -> exp.Expr:
    """What stands locally for one table: a fragment's result, or the nearest rows of several."""
    if relation.literal is not None:
        return exp.Table(this=identifier(relation.literal.name), alias=exp.TableAlias(this=identifier(alias)))
    if not relation.arms:
        draft.decide(f"{relation.table}: nothing to read")
        return empty_select(relation, names, alias)
    if len(relation.sites) == 1:
        return _result(_scan_fragment(draft, alias, relation, names, conditions), alias)
    wanted = list(dict.fromkeys((*names, *relation.key)))
    below = below_shadowing(relation, conditions)
    arms = []
    first: tuple[Fragment, Arm, str] | None = None
    for arm in relation.arms:
        part = attrs.evolve(relation, arms=(arm,))
        fragment = repeated_scan(draft, first[0], first[1], part) if first is not None else None
        if fragment is not None and first is not None:
            draft.decide(f"{fragment.id}: {relation.table} ({alias}) is read at {fragment.site}{first[2]}")
        else:
            present = set(arm.table.column_names)
            usable = [c for c in below if {used.name for used in c.find_all(exp.Column)} <= present]
            fragment = _scan_fragment(draft, alias, part, wanted, usable)
            first = fragment, arm, _pushed(usable)
        arms.append(
            exp.Select(
                expressions=[output(column(name, fragment.id), name) for name in wanted],
                from_=exp.From(this=_result(fragment, fragment.id)),
            )
        )
    return nearest_rows(arms, names, relation.key, alias)


def _scan_fragment(
    draft: Draft, alias: str, relation: Relation, names: Sequence[str], conditions: Sequence[exp.Expr]
) -> Fragment:
    """Read the columns ``names`` of a relation whose arms are all at one site."""
    types = {definition.name: definition.type for definition in relation.columns}
    # the fragment calls the table by its own name, so that scans under different aliases can be shared
    expressions: list[exp.Expr] = []
    for name in names:
        expressions.append(output(column(name, relation.table), name))
        expressions[-1].type = sql_type(types[name])
    select = exp.Select(
        expressions=expressions,
        from_=exp.From(
            this=exp.Table(
                this=identifier(relation.name), alias=exp.TableAlias(this=identifier(relation.table))
            )
        ),
    )
    if conditions:
        copies = [condition.copy() for condition in conditions]
        for copy in copies:
            for used in copy.find_all(exp.Column):
                used.set("table", identifier(relation.table))
        select.set("where", exp.Where(this=exp.and_(*copies, copy=False)))
    fragment = add_fragment(draft, relation.arms[0].site, select, {relation.name: relation})
    draft.decide(f"{fragment.id}: {relation.table} ({alias}) is read at {fragment.site}{_pushed(conditions)}")
    return fragment


def _pushed(conditions: Sequence[exp.Expr]) -> str:
    return "; pushed: " + " AND ".join(_shown(c) for c in conditions) if conditions else ""


def _shown(condition: exp.Expr) -> str:
    shown = exp.paren(condition) if isinstance(condition, exp.Or) else condition
    text = shown.sql("postgres").replace('"', "")
    return text if len(text) <= 100 else text[:97] + "..."
