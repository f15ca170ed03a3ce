"""Units of a result's columns: those of the tables' columns that they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["output_units"]

#: functions whose value has the unit of what they are given
_KEEPING = (exp.Min, exp.Max, exp.Avg, exp.Sum, exp.Median, exp.AnyValue, exp.Abs, exp.Round)


def output_units(draft: Draft) -> list[str]:
    """The unit of each output of the statement; ``""`` where it is none, or not known."""
    tree = draft.tree
    while isinstance(tree, (exp.SetOperation, exp.Subquery)):
        tree = tree.this
    if not isinstance(tree, exp.Select):
        return []
    from_ = tree.args.get("from_")
    named = [from_.this] if from_ is not None else []
    named += [join.this for join in tree.args.get("joins") or ()]
    relations = {table.alias: table.name for table in named if isinstance(table, exp.Table)}
    return [_unit(draft, select.unalias(), relations) for select in tree.selects]


def _unit(draft: Draft, node: exp.Expr, relations: dict[str, str]) -> str:
    while isinstance(node, (exp.Paren, exp.Neg, *_KEEPING)):
        node = node.this
    if not isinstance(node, exp.Column):
        return ""
    relation = draft.relations.get(relations.get(node.table, ""))
    columns = relation.columns if relation is not None else ()
    return next((column.unit for column in columns if column.name == node.name), "")
