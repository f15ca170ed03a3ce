"""Conditions that move from around a sub-select into it, down to the tables that they are about.

A condition on a sub-select's columns is one on the expressions that they stand for. It passes a UNION, INTERSECT or
EXCEPT into every side, DISTINCT always, GROUP BY when it is on keys, windows when it is on columns that all of them
partition by; it does not pass a LIMIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.aggregate_parts import aggregates_of
from federation.planner.folding import Known, known_value
from federation.planner.moved import drop_conditions, settled_conditions
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import own_nodes, sources_of
from federation.planner.sqltypes import logical_type
from federation.planner.typed_nodes import set_where, typed

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["push_filters", "push_into"]

_LIMITS = ("limit", "offset", "with_")


def push_filters(draft: Draft) -> None:
    """Rule: move conditions into sub-selects in FROM."""
    for select in draft.tree.find_all(exp.Select):  # outer ones first, so that conditions go on to the tables
        for alias, source in sources_of(select).items():
            if isinstance(source, exp.Subquery) and not _is_limited(source):
                push_into(draft, select, alias, source)


def push_into(draft: Draft, select: exp.Select, alias: str, source: exp.Subquery) -> None:
    """Move what conditions may move from one SELECT into its source ``alias``, a sub-select."""
    found, settled = settled_conditions(select, alias)
    for condition in found:
        names = {used.name for used in condition.find_all(exp.Column)}
        if not _may_enter(source.this, condition):
            continue
        _enter(source.this, condition)
        draft.decide(f"a condition on {', '.join(sorted(names))} moves into {alias}")
        drop_conditions(select, [one for one in settled if one is condition])


def _is_limited(query: exp.Expr) -> bool:
    return any(query.args.get(name) for name in _LIMITS)


def _positions(query: exp.Query, names: set[str]) -> dict[str, int]:
    known = query.named_selects
    return {name: known.index(name) for name in names}


def _side_names(operation: exp.SetOperation, side: exp.Query, names: set[str]) -> dict[str, str]:
    """What a side of a set operation calls its columns."""
    own = [select.alias_or_name for select in side.selects]
    return {name: own[position] for name, position in _positions(operation, names).items()}


def _may_enter(query: exp.Expr, condition: exp.Expr) -> bool:
    """Whether a condition on columns of a query can be checked before all that the query does."""
    if not isinstance(query, exp.Query) or _is_limited(query):
        return False
    if isinstance(query, exp.Subquery):
        return _may_enter(query.this, condition)
    if isinstance(query, exp.SetOperation):
        left, right = query.left.selects, query.right.selects
        names = {used.name for used in condition.find_all(exp.Column)}
        if any(
            logical_type(left[n]) is None or logical_type(left[n]) is not logical_type(right[n])
            for n in _positions(query, names).values()
        ):
            return False
        return all(
            _may_enter(side, _in_side(query, side, condition)) for side in (query.this, query.expression)
        )
    return isinstance(query, exp.Select) and _may_enter_select(query, condition)


def _in_side(operation: exp.SetOperation, side: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """A condition on columns of a set operation as one on a side's."""
    assert isinstance(side, exp.Query)
    copy = condition.copy()
    used = list(copy.find_all(exp.Column))
    known = _side_names(operation, side, {column.name for column in used})
    for column in used:
        column.set("this", exp.to_identifier(known[column.name], quoted=True))
    return copy


def _may_enter_select(select: exp.Select, condition: exp.Expr) -> bool:
    names = {used.name for used in condition.find_all(exp.Column)}
    own = [one.alias_or_name for one in select.selects]
    if any(own.count(name) != 1 for name in names):
        return False
    outputs = {one.alias_or_name: one.unalias() for one in select.selects}
    expressions = [outputs[name] for name in names]
    meant = _as_meant(select, condition)
    if meant.find(exp.Column) is None and known_value(meant) is Known.NOTHING:
        return False  # databases may order constants in another way
    distinct = select.args.get("distinct")
    if not select.args.get("from_") or (distinct is not None and distinct.args.get("on")):
        return False
    if any(e.find(exp.Query, exp.AggFunc, exp.Window) is not None for e in expressions):
        return False
    group = select.args.get("group")
    if group is not None or aggregates_of(select):
        keys = list(group.expressions) if group is not None else []
        if not all(any(expression == key for key in keys) for expression in expressions):
            return False
    windows = [node for node in own_nodes(select) if isinstance(node, exp.Window)]
    return all(
        any(expression == part for part in window.args.get("partition_by") or ())
        for window in windows
        for expression in expressions
    )


def _enter(query: exp.Expr, condition: exp.Expr) -> None:
    """Put a condition on the columns of a query into it."""
    if isinstance(query, exp.Subquery):
        _enter(query.this, condition)
    elif isinstance(query, exp.SetOperation):
        for side in (query.this, query.expression):
            _enter(side, _in_side(query, side, condition))
    elif isinstance(query, exp.Select):
        where = query.args.get("where")
        fresh = conjuncts(_as_meant(query, condition))
        set_where(query, [*conjuncts(where.this if where else None), *fresh])


def _as_meant(select: exp.Select, condition: exp.Expr) -> exp.Expr:
    """A condition on outputs of a SELECT with what they stand for."""
    outputs = {one.alias_or_name: one for one in select.selects}
    whole = typed(exp.paren(condition), LogicalType.BOOL)
    for used in list(whole.find_all(exp.Column)):
        output = outputs[used.name]
        meant = output.unalias().copy()
        if meant.type is None:
            meant.type = output.type
        if not isinstance(meant, (exp.Column, exp.Literal)):
            meant = typed(exp.paren(meant, copy=False), logical_type(output))
        used.replace(meant)
    return whole
