"""Sources of one site that are inner-joined with one another become one source, so that the site joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.expand import column, identifier, output
from federation.planner.fragments import add_fragment, needed_columns, unique_names
from federation.planner.pushdown import Conditions, conditions_of, conjuncts
from federation.planner.scopes import bound_columns, sources_of
from federation.planner.sqltypes import sql_type

if TYPE_CHECKING:
    from federation.planner.draft import Draft, Relation

__all__ = ["merge_joined_sources"]


def merge_joined_sources(draft: Draft, select: exp.Select) -> None:
    """Merge within one SELECT whose joins are inner, cross and left joins only.

    Moving an inner join before a left join, and its condition to WHERE, does not change the rows: the condition
    is about sources that the left join only adds to.
    """
    joins = select.args.get("joins") or []
    if any(join.side not in {"", "LEFT"} or isinstance(join.this, exp.Lateral) for join in joins):
        return
    for _ in sources_of(select):
        conditions = conditions_of(select)
        group = _next_group(draft, select, conditions)
        if group is None:
            return
        _merge(draft, select, group, conditions)


def _next_group(draft: Draft, select: exp.Select, conditions: Conditions) -> list[str] | None:
    """Aliases, in FROM order, of sources at one site that equalities connect; None when there are no two."""
    at: dict[str, str] = {}
    for alias, source in sources_of(select).items():
        relation = draft.relations.get(source.name) if isinstance(source, exp.Table) else None
        if relation is not None and len(relation.sites) == 1 and alias in conditions.preserved:
            at[alias] = next(iter(relation.sites))
    edges = [
        used
        for used, condition in conditions.joins
        if isinstance(condition, exp.EQ)
        and isinstance(condition.this, exp.Column)
        and isinstance(condition.expression, exp.Column)
        and used <= at.keys()
        and len({at[alias] for alias in used}) == 1
    ]
    for alias in at:
        members = {alias}
        while True:
            grown = members.union(*(edge for edge in edges if edge & members))
            if grown == members:
                break
            members = grown
        if len(members) > 1:
            return [member for member in at if member in members]
    return None


def _merge(draft: Draft, select: exp.Select, group: list[str], conditions: Conditions) -> None:
    sources = sources_of(select)
    relations: dict[str, Relation] = {alias: draft.relations[sources[alias].name] for alias in group}
    needed = [(alias, name) for alias in group for name in needed_columns(select, alias, relations[alias])]
    names = dict(zip(needed, unique_names([f"{alias}_{name}" for alias, name in needed]), strict=True))
    fragment_select = _joined(group, relations, names, conditions)
    by_name = {relation.name: relation for relation in relations.values()}
    site = relations[group[0]].arms[0].site
    fragment = add_fragment(draft, site, fragment_select, by_name)
    draft.decide(f"{fragment.id}: {site} joins {', '.join(f'{relations[a].table} ({a})' for a in group)}")
    alias = _free_alias(draft, select, fragment.id)
    for member in group:
        for used in bound_columns(select, member):
            used.set("this", identifier(names[member, used.name]))
            used.set("table", identifier(alias))
    _replace_sources(
        select, group, exp.Table(this=identifier(fragment.id), alias=exp.TableAlias(this=identifier(alias)))
    )


def _joined(
    group: list[str],
    relations: dict[str, Relation],
    names: dict[tuple[str, str], str],
    conditions: Conditions,
) -> exp.Select:
    """``SELECT columns FROM first JOIN ... ON ... WHERE ...`` over the group's relations."""
    expressions: list[exp.Expr] = []
    for (alias, name), out in names.items():
        expressions.append(output(column(name, alias), out))
        types = {definition.name: definition.type for definition in relations[alias].columns}
        expressions[-1].type = sql_type(types[name])
    tables = {
        alias: exp.Table(this=identifier(relations[alias].name), alias=exp.TableAlias(this=identifier(alias)))
        for alias in group
    }
    joined, rest = {group[0]}, list(group[1:])
    open_ = [(used, condition) for used, condition in conditions.joins if used <= set(group)]
    joins = []
    while rest:
        alias = next(a for a in rest if any(a in used and used <= joined | {a} for used, _ in open_))
        rest.remove(alias)
        joined.add(alias)
        ready = [condition.copy() for used, condition in open_ if used <= joined]
        open_ = [(used, condition) for used, condition in open_ if not used <= joined]
        joins.append(exp.Join(this=tables[alias], on=exp.and_(*ready, copy=False)))
    select = exp.Select(expressions=expressions, from_=exp.From(this=tables[group[0]]), joins=joins)
    filters = [condition.copy() for alias in group for condition in conditions.filters[alias]]
    if filters:
        select.set("where", exp.Where(this=exp.and_(*filters, copy=False)))
    return select


def _free_alias(draft: Draft, select: exp.Select, name: str) -> str:
    """An alias for the merged source that nothing else in the statement has."""
    taken = {alias.name for alias in draft.tree.find_all(exp.TableAlias)}
    taken |= {alias.name for alias in select.find_all(exp.TableAlias)}
    while name in taken:
        name += "_"
    return name


def _replace_sources(select: exp.Select, group: list[str], merged: exp.Table) -> None:
    """Put ``merged`` in the place of the group's first source; the others go, their conditions move to WHERE."""
    moved: list[exp.Expr] = []
    from_ = select.args["from_"]
    joins = []
    place: exp.Expr | None = from_ if from_.this.alias_or_name == group[0] else None
    for join in select.args.get("joins") or []:
        alias = join.this.alias_or_name
        if place is None and alias == group[0]:
            place = join
            joins.append(join)
        elif alias in group:
            moved.extend(conjuncts(join.args.get("on")))
        else:
            joins.append(join)
    assert place is not None
    place.set("this", merged)
    select.set("joins", joins)
    where = select.args.get("where")
    parts = [*([where.this] if where else []), *moved]
    if parts:
        select.set("where", exp.Where(this=exp.and_(*parts, copy=False)))
