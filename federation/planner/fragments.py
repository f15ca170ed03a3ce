"""Making a fragment of a query that one site can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.draft import CutQuery
from federation.planner.estimate import estimate_bytes, query_profile
from federation.planner.expand import expand_relation, identifier
from federation.planner.plan import Fragment, OutputColumn, Source
from federation.planner.pushdown import conditions_of
from federation.planner.scopes import bound_columns, tables_of
from federation.planner.sqltypes import logical_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.planner.draft import Draft, Relation

__all__ = ["add_fragment", "needed_columns", "unique_names"]


def unique_names(names: Sequence[str]) -> list[str]:
    """``names`` made different from one another whatever their case: a repeated ``x`` becomes ``x_1``."""
    taken = {name.lower() for name in names}
    seen: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 0
        while candidate.lower() in seen or (number and candidate.lower() in taken):
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate.lower())
        unique.append(candidate)
    return unique


def needed_columns(select: exp.Select, alias: str, relation: Relation) -> list[str]:
    """Columns of a source that its statement uses, in the table's order; one at least."""
    used = {column.name for column in bound_columns(select, alias)}
    names = [definition.name for definition in relation.columns if definition.name in used]
    return names or [*relation.key, relation.columns[0].name][:1]


def add_fragment(draft: Draft, site: str, query: exp.Query, relations: Mapping[str, Relation]) -> Fragment:
    """Make ``query``, whose tables are relations that ``site`` holds, a fragment; an identical one is shared.

    The query's outputs must have names and logical types. ``query`` itself is left as it is.
    """
    tree = query.copy()
    names = unique_names([select.alias_or_name for select in query.selects])
    columns = tuple(
        OutputColumn(name, logical_type(select)) for name, select in zip(names, query.selects, strict=True)
    )
    for name, select in zip(names, tree.selects, strict=True):
        if isinstance(select, exp.Alias):
            select.set("alias", identifier(name))
    profile = query_profile(tree, relations)
    rows = None if profile.rows is None else max(0, round(profile.rows))
    inputs: dict[Source, None] = {}
    for table in tables_of(tree):
        relation = relations.get(table.name)
        if relation is None:
            continue
        for arm in relation.arms:
            inputs[Source(arm.schema, arm.table.name, arm.is_replica, arm.staleness_s)] = None
        around = table.find_ancestor(exp.Select)
        assert isinstance(around, exp.Select)
        conditions = conditions_of(around).filters.get(table.alias, ()) if len(relation.arms) > 1 else ()
        needed = needed_columns(around, table.alias, relation)
        table.replace(expand_relation(relation, table.alias, needed, conditions))
    sql = tree.sql("postgres", identify=True)
    for known in draft.fragments:
        if known.site == site and known.sql == sql:
            return known
    fragment = Fragment(
        f"f{len(draft.fragments) + 1}", site, sql, columns, tuple(inputs), rows, estimate_bytes(rows, columns)
    )
    draft.fragments.append(fragment)
    draft.cut[fragment.id] = CutQuery(tree, profile)
    return fragment
