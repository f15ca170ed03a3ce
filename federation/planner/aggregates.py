"""Aggregates computed where the rows are, before a join or a union, so that groups travel and not rows.

``SELECT v.band, count(*), avg(c.fwhm) FROM calexp c JOIN visit v ON v.id = c.visit GROUP BY v.band`` needs of calexp
only ``SELECT visit, count(*), sum(fwhm), count(fwhm) ... GROUP BY visit``. The rows of a group of calexp agree in all
columns that the rest of the statement looks at, so they have the same partners in any join, and one row that says how
many there are stands for them. (W. Yan and P. Larson, Eager aggregation and lazy aggregation, VLDB 1995.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.aggregate_parts import Parts, aggregates_of
from federation.planner.expand import identifier
from federation.planner.groups import groups_pay, largest_first
from federation.planner.magnitudes import sum_fits
from federation.planner.moved import drop_conditions, settled_conditions
from federation.planner.placement import answering_site, is_in_process, open_queries
from federation.planner.pushdown import conditions_of
from federation.planner.scopes import bound_columns, own_nodes, sources_of
from federation.planner.sqltypes import logical_type
from federation.planner.typed_nodes import as_source, column_like, named, set_where, typed
from federation.planner.unions import arms_of, union_of

if TYPE_CHECKING:
    from federation.planner.draft import Draft
    from federation.planner.pushdown import Conditions

__all__ = ["aggregate_early"]

#: types of which equal values look alike on every database
_GROUPED = {
    *(LogicalType.INT64, LogicalType.STRING, LogicalType.UUID, LogicalType.TIMESTAMP, LogicalType.BOOL),
}


def aggregate_early(draft: Draft) -> None:
    """Rule: group a source's rows at its site where a SELECT groups them, or removes duplicates, after joins."""
    if draft.find_first is not None:
        return
    for query in open_queries(draft):
        if isinstance(query, exp.Select) and _is_aggregated(query):
            conditions = conditions_of(query)
            for alias in largest_first(draft, query):
                if _group_source(draft, query, alias, conditions):
                    conditions = conditions_of(query)


def _is_aggregated(select: exp.Select) -> bool:
    """Whether how often a row comes matters to the result only through aggregates."""
    joins = select.args.get("joins") or []
    if any(join.side not in {"", "LEFT"} or isinstance(join.this, exp.Lateral) for join in joins):
        return False
    distinct = select.args.get("distinct")
    if select.args.get("group") or aggregates_of(select):
        return distinct is None or not distinct.args.get("on")
    if select.args.get("limit") or any(isinstance(node, exp.Window) for node in own_nodes(select)):
        return False
    # of EXISTS (...) it is only asked whether there is a row
    return isinstance(select.parent, exp.Exists) or (distinct is not None and not distinct.args.get("on"))


@attrs.frozen
class _Source:
    """One source of a SELECT: the conditions that its rows must meet, those of them that nothing else needs to
    check, its columns that the rest of the SELECT uses, and the parts of the aggregates."""

    alias: str
    node: exp.Expr
    conditions: tuple[exp.Expr, ...]
    settled: tuple[exp.Expr, ...]
    keys: dict[str, exp.Expr]
    parts: Parts


def _group_source(draft: Draft, select: exp.Select, alias: str, conditions: Conditions) -> bool:
    """Group one source where it pays; whether the SELECT is another one then."""
    source = _take_apart(draft, select, alias, conditions)
    if source is None:
        return False
    relation = draft.relations.get(source.node.name) if isinstance(source.node, exp.Table) else None
    # called by the table's own name, so that equal ones under different aliases can be shared
    early = _early_select(source, source.node, alias if relation is None else relation.table)
    rows, groups = groups_pay(draft, select, alias, list(source.keys), early, conditions)
    if rows is None:
        return False
    branches = _branches(source)
    sites = {answering_site(draft, branch)[0] for branch in branches or [early]} - {None}
    if all(site is None or is_in_process(draft, site) for site in sites):
        return False
    source.parts.finish()
    drop_conditions(select, source.settled)
    source.node.replace(as_source(union_of(branches) if branches else early, alias))
    what = "a sub-select" if relation is None else relation.table
    by = ", ".join(source.keys) or "nothing"
    draft.decide(f"{what} ({alias}) is grouped by {by} before the rest: about {groups} of {rows} rows")
    return True


def _take_apart(draft: Draft, select: exp.Select, alias: str, conditions: Conditions) -> _Source | None:
    node = sources_of(select)[alias]
    join = node.parent if isinstance(node.parent, exp.Join) else None
    is_extended = join is not None and join.side == "LEFT"
    if isinstance(node, exp.Table):
        relation = draft.relations.get(node.name)
        if relation is None or relation.literal is not None or len(relation.sites) != 1:
            return None
    elif not isinstance(node, exp.Subquery):
        return None
    parts = Parts.of(select, alias, lambda used: sum_fits(draft, select, used), is_extended=is_extended)
    if parts is None:
        return None
    inside, settled = settled_conditions(select, alias, conditions)
    gone = {id(used) for condition in settled for used in condition.find_all(exp.Column)}
    keys: dict[str, exp.Expr] = {}
    for used in bound_columns(select, alias):
        if id(used) not in gone and not parts.is_moved(used):
            keys[used.name] = used
    if any(logical_type(used) not in _GROUPED for used in keys.values()):
        return None
    return _Source(alias, node, tuple(c.copy() for c in inside), settled, keys, parts)


def _early_select(source: _Source, node: exp.Expr, alias: str) -> exp.Select:
    """``SELECT keys, parts FROM node AS alias WHERE conditions GROUP BY keys``."""
    keys = [column_like(name, alias, used) for name, used in source.keys.items()]
    expressions = [named(key, key.name) for key in keys]
    expressions += [named(_of(aggregate, alias), name) for name, aggregate in source.parts.early.items()]
    inner = node.copy()
    inner.set("alias", exp.TableAlias(this=identifier(alias)))
    select = exp.Select(expressions=expressions, from_=exp.From(this=inner))
    set_where(select, [_of(condition, alias) for condition in source.conditions])
    if source.keys:
        select.set("group", exp.Group(expressions=[key.copy() for key in keys]))
    else:
        # without rows there is no group, as there would be no row of the join
        some = exp.GT(this=_count(), expression=typed(exp.Literal.number(0), LogicalType.INT64))
        select.set("having", exp.Having(this=typed(some, LogicalType.BOOL)))
        if not expressions:
            select.set("expressions", [named(_count(), "#count")])
    return select


def _of(expression: exp.Expr, alias: str) -> exp.Expr:
    """A copy of an expression over one source, which is called ``alias``."""
    copy = expression.copy()
    for used in copy.find_all(exp.Column):
        used.set("table", identifier(alias))
    return copy


def _count() -> exp.Expr:
    return typed(exp.Count(this=exp.Star()), LogicalType.INT64)


def _branches(source: _Source) -> list[exp.Select]:
    """The early SELECT over each arm, where the source is a UNION ALL of columns of the same types."""
    arms = arms_of(source.node.this) if isinstance(source.node, exp.Subquery) else []
    if len(arms) < 2:
        return []
    names = [select.alias_or_name for select in arms[0].selects]
    types = [[logical_type(select) for select in arm.selects] for arm in arms]
    if any(None in known or known != types[0] for known in types):
        return []
    branches = []
    for arm in arms:
        copy = arm.copy()
        for name, select in zip(names, copy.selects, strict=True):
            if select.alias_or_name != name:
                select.replace(named(select.unalias().copy(), name))
        branches.append(_early_select(source, as_source(copy, source.alias), source.alias))
    return branches
