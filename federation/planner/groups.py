"""Whether grouping a source's rows before they travel saves bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.estimate import estimate_distinct, estimate_rows, estimate_width
from federation.planner.pushdown import conditions_of, conjuncts
from federation.planner.scopes import sources_of
from federation.planner.typed_nodes import column_like, named, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Draft

__all__ = ["groups_pay"]

#: groups may be this share of the rows at most, and their bytes this share of the rows' bytes: a site takes longer
#: to group rows than to read them
SHARE = 0.6


def groups_pay(
    draft: Draft, select: exp.Select, alias: str, keys: Sequence[str], early: exp.Select
) -> tuple[int, int] | tuple[None, None]:
    """Rows of a source of ``select`` and how many groups of them there are; Nones where grouping does not pay."""
    ungrouped = _ungrouped(early)
    if _are_unique(draft, sources_of(select)[alias], keys, early):
        return None, None
    rows = estimate_rows(ungrouped, draft.relations)
    if rows is None:
        return None, None
    groups = _group_count(draft, select, alias, keys, ungrouped, rows)
    if groups > rows * SHARE:
        return None, None
    width = max(estimate_width(ungrouped, draft.relations), 1.0)
    grouped_width = estimate_width(early, draft.relations)
    if groups * grouped_width > rows * width * SHARE:
        return None, None
    return rows, groups


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
    draft: Draft, select: exp.Select, alias: str, keys: Sequence[str], ungrouped: exp.Select, rows: int
) -> int:
    """Different keys: as statistics have it, and at most one for each row of the tables that the keys refer to."""
    if not keys:
        return 1
    known = estimate_distinct(ungrouped, list(keys), draft.relations)
    open_, referred = set(keys), 1.0
    for other, names in _partners(select, alias).items():
        source = sources_of(select)[other]
        count = estimate_rows(_all_of(source), draft.relations) if isinstance(source, exp.Table) else None
        if count is not None and count < rows and names & open_:
            referred *= max(count, 1)
            open_ -= names
    # nothing is known of the others: take them to have as many values as there are rows for each
    referred *= math.sqrt(rows) ** len(open_)
    return round(min(rows, referred, rows if known is None else known))


def _partners(select: exp.Select, alias: str) -> dict[str, set[str]]:
    """Columns of a source that must equal ones of another, by that source."""
    found: dict[str, set[str]] = {}
    joins = select.args.get("joins") or ()
    conditions = [condition for _, condition in conditions_of(select).joins]
    for join in joins:
        if join.side == "LEFT":
            conditions.extend(join.args["on"].flatten() if join.args.get("on") else ())
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


def _all_of(source: exp.Expr) -> exp.Select:
    return exp.Select(expressions=[exp.Star()], from_=exp.From(this=source.copy()))
