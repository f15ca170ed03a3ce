"""Chains of schemas whose keys are certain to differ: no row hides another, so that they are a plain UNION ALL.

Two schemas hold different keys when the values of a column of the key, or of one that the key determines, are
certain to lie apart: in different ranges, or in different sets where a site knows all values.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.expand import column, identifier
from federation.planner.facts import are_apart, facts_of
from federation.planner.filters import push_into
from federation.planner.fragments import needed_columns
from federation.planner.placement import open_queries
from federation.planner.scopes import sources_of
from federation.planner.sqltypes import sql_type
from federation.planner.typed_nodes import as_source, named
from federation.planner.unions import union_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Arm, Draft, Relation
    from federation.planner.facts import Fact

__all__ = ["split_disjoint"]


def split_disjoint(draft: Draft) -> None:
    """Rule: read a table of schemas at several sites that share no key as the UNION ALL of its sites' parts."""
    if draft.find_first is not None or all(len(one.sites) < 2 for one in draft.relations.values()):
        return
    for query in open_queries(draft):
        if not isinstance(query, exp.Select):
            continue
        for alias, source in sources_of(query).items():
            relation = draft.relations.get(source.name) if isinstance(source, exp.Table) else None
            if relation is None or relation.literal is not None or len(relation.sites) < 2:
                continue
            reason = _apart_by(draft, relation)
            if reason is None:
                continue
            union = _union(draft, query, alias, relation)
            source.replace(union)
            push_into(draft, query, alias, union)
            draft.decide(
                f"{relation.table} ({alias}): no row hides another, since {reason} differs between the sites"
            )


def _apart_by(draft: Draft, relation: Relation) -> str | None:
    """The columns by which arms at different sites hold different keys; None when two may share one."""
    facts = [(arm, _facts(draft, arm)) for arm in relation.arms]
    found: dict[str, None] = {}
    for (one, known), (other, others) in itertools.combinations(facts, 2):
        if one.site == other.site:
            continue
        apart = (
            name
            for name in _deciding(relation, one, other)
            if name in known and name in others and are_apart(known[name], others[name])
        )
        name = next(apart, None)
        if name is None:
            return None
        found[name] = None
    return ", ".join(found)


def _facts(draft: Draft, arm: Arm) -> dict[str, Fact]:
    """What is certain of the copy that will be read."""
    site = draft.catalog.site(arm.site)
    held = site.schema(arm.schema) if site is not None else None
    return facts_of(held.stats.get(arm.table.name) if held is not None else None)


def _deciding(relation: Relation, one: Arm, other: Arm) -> list[str]:
    """Columns that rows of one key agree in, whatever schema they are in, and that are never NULL."""
    names = []
    for definition in one.table.columns:
        if definition.name not in other.table.column_names:
            continue
        both = (definition, other.table.column(definition.name))
        decided = definition.name in relation.key or all(known.key_determined for known in both)
        if decided and not any(known.nullable for known in both):
            names.append(definition.name)
    return names


def _union(draft: Draft, select: exp.Select, alias: str, relation: Relation) -> exp.Subquery:
    names = needed_columns(select, alias, relation)
    types = {definition.name: definition.type for definition in relation.columns}
    selects: list[exp.Query] = []
    for site in dict.fromkeys(arm.site for arm in relation.arms):
        arms = tuple(arm for arm in relation.arms if arm.site == site)
        part = attrs.evolve(relation, name=f"{relation.name}@{site}", arms=arms)
        draft.relations[part.name] = part
        present = {name for arm in arms for name in arm.table.column_names}
        selects.append(_part(part, names, present, {name: sql_type(types[name]) for name in names}))
    return as_source(union_of(selects), alias)


def _part(
    part: Relation, names: Sequence[str], present: set[str], types: dict[str, exp.DataType]
) -> exp.Select:
    expressions = []
    for name in names:
        value: exp.Expr = column(name, part.table)
        if name not in present:
            value = exp.Cast(this=exp.Null(), to=types[name].copy())
        value.type = types[name]
        expressions.append(named(value, name))
    table = exp.Table(this=identifier(part.name), alias=exp.TableAlias(this=identifier(part.table)))
    return exp.Select(expressions=expressions, from_=exp.From(this=table))
