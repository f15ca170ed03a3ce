"""Fragments that read one table of many schemas alike: written once, and repeated under the other schemas' names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.draft import CutQuery
from federation.planner.estimate import estimate_bytes, query_profile
from federation.planner.expand import identifier
from federation.planner.plan import Fragment, Source

if TYPE_CHECKING:
    from federation.planner.draft import Arm, Draft, Relation

__all__ = ["repeated_scan"]


def repeated_scan(draft: Draft, first: Fragment, first_arm: Arm, relation: Relation) -> Fragment | None:
    """The fragment that does for a relation's one arm what ``first`` does for ``first_arm``, a table of the same shape.

    None where the text of ``first`` does not say plainly which part of it is the table's name.
    """
    (arm,) = relation.arms
    if arm.table != first_arm.table:
        return None
    named, renamed = (f'"{one.schema}"."{one.table.name}"' for one in (first_arm, arm))
    if first.sql.count(named) != 1:
        return None
    sql = first.sql.replace(named, renamed)
    for known in draft.fragments:
        if known.site == arm.site and known.sql == sql:
            return known
    copy = draft.cut[first.id].tree.copy()
    tables = list(copy.find_all(exp.Table))
    if len(tables) != 1 or tables[0].db != str(first_arm.schema):
        return None
    table = tables[0]
    table.set("db", identifier(str(arm.schema)))
    profile = query_profile(copy, {table.name: relation})
    rows = None if profile.rows is None else max(0, round(profile.rows))
    fragment = Fragment(
        f"f{len(draft.fragments) + 1}",
        arm.site,
        sql,
        first.columns,
        (Source(arm.schema, arm.table.name, arm.is_replica, arm.staleness_s),),
        rows,
        estimate_bytes(rows, first.columns),
    )
    draft.fragments.append(fragment)
    draft.cut[fragment.id] = CutQuery(copy, profile)
    return fragment
