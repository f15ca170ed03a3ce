"""Whether grouping a source's rows before they travel saves bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.estimate import query_profile
from federation.planner.profiles import DEFAULT_WIDTH, distinct_of
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import sources_of
from federation.planner.sqltypes import logical_type
from federation.planner.typed_nodes import column_like, named, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Draft
    from federation.planner.profiles import Profile
    from federation.planner.pushdown import Conditions

__all__ = ["groups_pay", "largest_first"]

#: groups may be this share of the rows at most, and their bytes this share of the rows' bytes: a site takes longer
#: to group rows than to read them
SHARE = 0.6


def largest_first(draft: Draft, select: exp.Select) -> list[str]:
    """The sources of a SELECT by how many rows their tables have, those of which nothing is known last."""
    rows = {alias: _table_rows(draft, source) for alias, source in sources_of(select).items()}
    return sorted(rows, key=lambda alias: -(rows[alias] or 0))


def _table_rows(draft: Draft, source: exp.Expr) -> int | None:
    """Rows of a table, or of all tables that a sub-select reads."""
    found = (draft.relations.get(table.name) for table in source.find_all(exp.Table))
    counts = [arm.row_count for relation in found if relation is not None for arm in relation.arms]
    return sum(count or 0 for count in counts) if counts and None not in counts else None


def groups_pay(
    draft: Draft,
    select: exp.Select,
    alias: str,
    keys: Sequence[str],
    early: exp.Select,
    conditions: Conditions,
) -> tuple[int, int] | tuple[None, None]:
    """Rows of a source of ``select`` and how many groups of them there are; Nones where grouping does not pay."""
    if _are_unique(draft, sources_of(select)[alias], keys, early):
        return None, None
    ungrouped = _ungrouped(early)
    profile = query_profile(ungrouped, draft.relations)
    if profile.rows is None:
        return None, None
    rows = round(profile.rows)
    groups = _group_count(draft, select, alias, keys, profile, conditions)
    if groups > rows * SHARE:
        return None, None
    widths = {name: profile.column(name).width or _width(one) for name, one in _by_name(ungrouped).items()}
    grouped = sum(widths[name] if name in keys else _width(one) for name, one in _by_name(early).items())
    if groups * grouped > rows * max(sum(widths.values()), 1.0) * SHARE:
        return None, None
    return rows, groups


def _by_name(select: exp.Select) -> dict[str, exp.Expr]:
    return {one.alias_or_name: one for one in select.selects}


def _width(node: exp.Expr) -> float:
    kind = logical_type(node)
    return DEFAULT_WIDTH[kind] if kind is not None else 16.0


def _are_unique(draft: Draft, source: exp.Expr, keys: Sequence[str], early: exp.Select) -> bool:
    """Whether every row is a group of its own, because the columns hold a key of the table."""
    relation = draft.relations.get(source.name) if isinstance(source, exp.Table) else None
    if relation is None:
        return False
    where = early.args.get("where")
    fixed = {
        condition.this.name
        for condition in conjuncts(where.this if where else None)
        if isinstance(condition, exp.EQ) and isinstance(condition.this, exp.Column)
    }
    unique = [relation.key, *(relation.arms[0].table.unique if len(relation.arms) == 1 else ())]
    return any(set(columns) <= {*keys, *fixed} for columns in unique if columns)


def _ungrouped(early: exp.Select) -> exp.Select:
    """The rows that ``early`` groups, with the columns that would travel without it."""
    plain = early.copy()
    plain.set("group", None)
    plain.set("having", None)
    used = {c.name: c for expression in early.expressions for c in expression.find_all(exp.Column)}
    expressions = [named(column_like(name, c.table, c), name) for name, c in used.items()]
    plain.set("expressions", expressions or [named(typed(exp.true(), LogicalType.BOOL), "#one")])
    return plain


def _group_count(
    draft: Draft,
    select: exp.Select,
    alias: str,
    keys: Sequence[str],
    profile: Profile,
    conditions: Conditions,
) -> int:
    """Different keys: as statistics have it, and at most one for each row of the tables that the keys refer to."""
    rows = profile.rows or 0.0
    if not keys:
        return 1
    known = distinct_of(profile, list(keys))
    open_, referred = set(keys), 1.0
    for other, names in _partners(select, alias, conditions).items():
        source = sources_of(select)[other]
        count = _table_rows(draft, source) if isinstance(source, exp.Table) else None
        if count is not None and count < rows and names & open_:
            referred *= max(count, 1)
            open_ -= names
    # nothing is known of the others: take them to have as many values as there are rows for each, or a key's
    relation = draft.relations.get(sources_of(select)[alias].name)
    referred *= rows if relation is not None and open_ & set(relation.key) else math.sqrt(rows) ** len(open_)
    return round(min(rows, referred, rows if known is None else known))


def _partners(select: exp.Select, alias: str, known: Conditions) -> dict[str, set[str]]:
    """Columns of a source that must equal ones of another, by that source."""
    found: dict[str, set[str]] = {}
    joins = select.args.get("joins") or ()
    conditions = [condition for _, condition in known.joins]
    for join in joins:
        if join.side == "LEFT":
            conditions.extend(conjuncts(join.args.get("on")))
    for condition in conditions:
        if not isinstance(condition, exp.EQ):
            continue
        left, right = condition.this, condition.expression
        if not (isinstance(left, exp.Column) and isinstance(right, exp.Column)):
            continue
        for one, two in ((left, right), (right, left)):
            if one.table == alias and two.table != alias and two.table in sources_of(select):
                found.setdefault(two.table, set()).add(one.name)
    return found
