"""Reads conditions and CASEs that list the values of one column, as find-first over a chain of runs has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_case", "read_listed"]


def read_listed(condition: exp.Expr) -> tuple[exp.Column, tuple[str, ...]] | None:
    """The column and the texts of ``column IN ('a', 'b')`` or ``column = 'a'``, each once; None for anything else."""
    if isinstance(condition, exp.Paren):
        return read_listed(condition.this)
    if isinstance(condition, exp.EQ):
        equal = _equality(condition)
        return None if equal is None else (equal[0], (equal[1],))
    if not isinstance(condition, exp.In) or not isinstance(condition.this, exp.Column):
        return None
    items = condition.expressions
    if not items or any(condition.args.get(part) for part in ("query", "unnest", "field")):
        return None
    if not all(isinstance(item, exp.Literal) and item.is_string for item in items):
        return None
    return condition.this, tuple(dict.fromkeys(item.name for item in items))


def read_case(node: exp.Expr) -> tuple[exp.Column, dict[str, int]] | None:
    """The column and the numbers of ``CASE column WHEN 'a' THEN 0 ... END``, by text; None for anything else.

    ``CASE WHEN column = 'a' THEN 0 ... END`` is the same. Of a text that comes twice the first number counts.
    """
    if not isinstance(node, exp.Case) or not isinstance(node.args.get("default"), (exp.Null, type(None))):
        return None
    found: dict[str, int] = {}
    column: exp.Column | None = None
    for used, text, number in _branches(node):
        if used is None or number is None or (column is not None and used != column):
            return None
        column = used
        found.setdefault(text, number)
    return None if column is None else (column, found)


def _branches(node: exp.Case) -> Iterator[tuple[exp.Column | None, str, int | None]]:
    operand = node.this
    for branch in node.args["ifs"]:
        condition, value = branch.this, branch.args.get("true")
        number = int(value.name) if isinstance(value, exp.Literal) and value.is_int else None
        if operand is not None:
            is_text = isinstance(condition, exp.Literal) and condition.is_string
            yield (operand if isinstance(operand, exp.Column) and is_text else None), condition.name, number
        else:
            equal = _equality(condition)
            yield (equal[0], equal[1], number) if equal is not None else (None, "", None)


def _equality(condition: exp.Expr) -> tuple[exp.Column, str] | None:
    if not isinstance(condition, exp.EQ):
        return None
    left, right = condition.this, condition.expression
    if isinstance(right, exp.Column):
        left, right = right, left
    if isinstance(left, exp.Column) and isinstance(right, exp.Literal) and right.is_string:
        return left, right.name
    return None
