"""The first rows of an answer are among the first rows of its parts, so that a site need not send the others.

Each side of ``UNION ALL ... ORDER BY ... LIMIT n`` gives its first n rows, in or without a sub-select. So does the
first table of a SELECT when LEFT JOINs only add to its rows, and the order and all conditions are of its columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.aggregate_parts import aggregates_of
from federation.planner.expand import identifier
from federation.planner.moved import drop_conditions, settled_conditions
from federation.planner.placement import answering_site, open_queries
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import bound_columns, own_nodes
from federation.planner.sqltypes import logical_type
from federation.planner.typed_nodes import as_source, column_like, named, set_where
from federation.planner.unions import arms_of

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["push_top"]

_MODIFIERS = ("order", "limit", "offset")


def push_top(draft: Draft) -> None:
    """Rule: ask for the first rows only, of sides of unions and of tables."""
    if draft.find_first is not None or draft.tree.find(exp.Limit, exp.Fetch) is None:
        return
    for query in open_queries(draft):
        count = _row_count(query)
        if count is None:
            continue
        if isinstance(query, exp.SetOperation):
            _push_into_sides(draft, query, count)
        elif isinstance(query, exp.Select) and _is_plain(query):
            _push_into_first(draft, query, count)


def _row_count(query: exp.Expr) -> int | None:
    """How many rows ``LIMIT`` and ``OFFSET`` look at."""
    limit, offset = query.args.get("limit"), query.args.get("offset")
    count = limit.args.get("expression") or limit.args.get("count") if limit else None
    skipped = offset.expression if offset else exp.Literal.number(0)
    for number in (count, skipped):
        if not isinstance(number, exp.Literal) or not number.is_int:
            return None
    assert isinstance(count, exp.Literal)
    return int(count.name) + int(skipped.name)


def _push_into_sides(draft: Draft, union: exp.SetOperation, count: int) -> None:
    """Give each side the order and limit of a UNION ALL; those that have their own are left alone."""
    if not isinstance(union, exp.Union) or union.args.get("distinct"):
        return
    order = union.args.get("order")
    items = list(order.expressions) if order else []
    if not all(isinstance(item.this, exp.Column) and not item.this.table for item in items):
        return
    names = union.named_selects
    positions = [(names.index(item.this.name), item) for item in items]
    bare = [side for side in (union.this, union.expression) for side in arms_of(side)]
    _push_into_arms(draft, bare, positions, count)


def _push_into_arms(
    draft: Draft, arms: list[exp.Query], positions: list[tuple[int, exp.Expr]], count: int
) -> None:
    pushed = False
    for arm in arms:
        own = arm.named_selects
        if not isinstance(arm, exp.Select) or any(arm.args.get(name) for name in _MODIFIERS):
            continue
        if len(set(own)) != len(own) or not arm.args.get("from_"):
            continue
        if arm.args.get("distinct") and arm.args["distinct"].args.get("on"):
            continue
        _limit(arm, [(own[position], item) for position, item in positions], count)
        if isinstance(arm.parent, exp.SetOperation):
            wrapped = exp.Subquery()
            arm.replace(wrapped)
            wrapped.set("this", arm)
        pushed = True
    if pushed:
        draft.decide(f"each side of a union gives its first {count} rows")


def _limit(select: exp.Select, keys: list[tuple[str, exp.Expr]], count: int) -> None:
    if keys:
        items = []
        for name, item in keys:
            copy = item.copy()
            copy.set("this", exp.Column(this=identifier(name)))
            items.append(copy)
        select.set("order", exp.Order(expressions=items))
    select.set("limit", exp.Limit(expression=exp.Literal.number(count)))


def _is_plain(select: exp.Select) -> bool:
    """Whether a SELECT gives a row or more for every row of its first source that meets the conditions."""
    joins = select.args.get("joins") or []
    if any(select.args.get(name) for name in ("group", "having", "distinct", "with_", "windows")):
        return False
    if any(join.side != "LEFT" or isinstance(join.this, exp.Lateral) for join in joins):
        return False
    return not aggregates_of(select) and not any(isinstance(n, exp.Window) for n in own_nodes(select))


def _push_into_first(draft: Draft, select: exp.Select, count: int) -> None:
    from_ = select.args.get("from_")
    if from_ is None:
        return
    source = from_.this
    alias = source.alias_or_name
    keys = _keys(select, alias)
    if keys is None:
        return
    where = select.args.get("where")
    if isinstance(source, exp.Subquery) and not any(source.args.get(n) for n in _MODIFIERS):
        arms = arms_of(source.this)
        if where is None and (len(arms) > 1 or arms == [source.this]):
            names = arms[0].named_selects
            _push_into_arms(draft, arms, [(names.index(name), item) for name, item in keys], count)
        return
    relation = draft.relations.get(source.name) if isinstance(source, exp.Table) else None
    _, settled = settled_conditions(select, alias)
    known = {id(condition) for condition in settled}
    if relation is None or any(id(part) not in known for part in conjuncts(where.this if where else None)):
        return
    gone = {id(column) for condition in settled for column in condition.find_all(exp.Column)}
    used = {column.name: column for column in bound_columns(select, alias) if id(column) not in gone}
    for name, _ in keys:
        used.setdefault(name, next(c for c in bound_columns(select, alias) if c.name == name))
    expressions = [named(column_like(name, alias, column), name) for name, column in used.items()]
    first = exp.Select(expressions=expressions, from_=exp.From(this=source.copy()))
    set_where(first, [condition.copy() for condition in settled])
    _limit(first, keys, count)
    if not expressions or answering_site(draft, first)[0] is None:
        return
    drop_conditions(select, settled)
    source.replace(as_source(first, alias))
    draft.decide(f"{relation.table} ({alias}) gives its first {count} rows")


def _keys(select: exp.Select, alias: str) -> list[tuple[str, exp.Expr]] | None:
    """What ORDER BY orders by, as columns of one source; None where it orders by anything else."""
    order = select.args.get("order")
    outputs = {one.alias_or_name: one.unalias() for one in select.selects}
    keys = []
    for item in order.expressions if order else ():
        key = item.this
        if isinstance(key, exp.Column) and not key.table:
            key = outputs.get(key.name, key)
        if not isinstance(key, exp.Column) or key.table != alias or logical_type(key) is None:
            return None
        keys.append((key.name, item))
    return keys
