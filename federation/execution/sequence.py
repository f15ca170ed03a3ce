"""A statement in the order of listed values as one statement for each value, to be run one after another.

Then the database need not sort: the first rows come at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.pushdown import conjuncts
from federation.planner.value_order import read_case, read_listed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["in_sequence"]

#: with more values a sort is cheaper than so many statements
VALUES_MAX = 100


def in_sequence(tree: exp.Expr) -> Sequence[exp.Expr]:
    """Statements that give the rows of ``tree`` in its order, one after another; ``tree`` alone where it stays whole.

    That is ``SELECT ..., CASE run WHEN 'a' THEN 0 WHEN 'b' THEN 1 END AS place FROM ... WHERE run IN ('a', 'b')
    ORDER BY place``, without anything else about the rows as a whole. No row has a NULL place, as every listed value
    has one.
    """
    order = tree.args.get("order")
    if not isinstance(tree, exp.Select) or order is None or len(order.expressions) != 1:
        return (tree,)
    whole = any(tree.args.get(part) for part in ("distinct", "group", "having", "limit", "offset", "with_"))
    if whole or any(select.find(exp.AggFunc, exp.Window) for select in tree.selects):
        return (tree,)
    ordered = order.expressions[0]
    number = _output_number(tree, ordered.this)
    case = read_case(tree.selects[number].unalias()) if number is not None else None
    if case is None or number is None:
        return (tree,)
    column, places = case
    where = tree.args.get("where")
    for position, condition in enumerate(conjuncts(where.this if where else None)):
        listed = read_listed(condition)
        if listed is not None and listed[0] == column:
            values = listed[1]
            if len(values) > VALUES_MAX or not places.keys() >= set(values):
                return (tree,)
            by_place = sorted(values, key=places.__getitem__, reverse=bool(ordered.args.get("desc")))
            return [_of_value(tree, number, position, value, places[value]) for value in by_place]
    return (tree,)


def _output_number(tree: exp.Select, node: exp.Expr) -> int | None:
    """Which output ORDER BY names."""
    if not isinstance(node, exp.Column) or node.table:
        return None
    return next((n for n, select in enumerate(tree.selects) if select.alias_or_name == node.name), None)


def _of_value(tree: exp.Select, number: int, position: int, value: str, place: int) -> exp.Select:
    """The statement for one value of the condition at ``position``; output ``number`` is its place."""
    part = tree.copy()
    part.set("order", None)
    shown = part.selects[number]
    assert isinstance(shown, exp.Alias)
    shown.set("this", exp.Literal.number(place))
    conditions = conjuncts(part.args["where"].this)
    condition = conditions[position]
    while isinstance(condition, exp.Paren):
        condition = condition.this
    conditions[position].replace(
        exp.EQ(
            this=_column_of(condition).copy(),
            expression=exp.Literal.string(value),
        )
    )
    return part


def _column_of(condition: exp.Expr) -> exp.Expr:
    found = read_listed(condition)
    assert found is not None
    return found[0]
