"""Output columns whose value a statement's own condition fixes: they need not be fetched row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.pushdown import conjuncts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fixed_columns", "take_constants"]


def take_constants(tree: exp.Expr) -> Mapping[int, str | int]:
    """Take outputs that are integers, or that WHERE equates with a text or an integer, out of a SELECT, by position.

    At least one column stays. Nothing is taken where other parts of the statement refer to outputs.
    """
    if not isinstance(tree, exp.Select) or any(
        tree.args.get(part) for part in ("distinct", "group", "with_")
    ):
        return {}
    fixed = fixed_columns(tree)
    order = tree.args.get("order")
    named = {column.name for column in order.find_all(exp.Column) if not column.table} if order else set()
    if order is not None and any(isinstance(item.this, exp.Literal) for item in order.expressions):
        return {}
    found: dict[int, str | int] = {}
    for number, select in enumerate(tree.selects):
        shown = select.unalias()
        if isinstance(shown, exp.Literal) and shown.is_int and select.alias_or_name not in named:
            # SQLite's text of a truth value is a number
            is_bool = select.type is not None and select.type.this is exp.DataType.Type.BOOLEAN
            found[number] = bool(int(shown.name)) if is_bool else int(shown.name)
        elif isinstance(shown, exp.Column) and select.alias_or_name not in named:
            value = fixed.get((shown.table, shown.name))
            if value is not None:
                found[number] = value
    if len(found) == len(tree.selects):
        found.pop(0)
    if found:
        kept = [select for number, select in enumerate(tree.selects) if number not in found]
        tree.set("expressions", kept)
    return found


def fixed_columns(tree: exp.Select) -> dict[tuple[str, str], str | int]:
    """The columns, as (table, name), that WHERE equates with a text or an integer."""
    where = tree.args.get("where")
    fixed: dict[tuple[str, str], str | int] = {}
    for condition in conjuncts(where.this if where else None):
        if isinstance(condition, exp.EQ):
            sides = (condition.this, condition.expression)
            column = next((side for side in sides if isinstance(side, exp.Column)), None)
            literal = next((side for side in sides if isinstance(side, exp.Literal)), None)
            if column is not None and literal is not None and (literal.is_string or literal.is_int):
                fixed[column.table, column.name] = literal.name if literal.is_string else int(literal.name)
    return fixed
