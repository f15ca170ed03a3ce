"""Names and values as SQL text."""

from __future__ import annotations

import math
import uuid

from federation.errors import UserError
from federation.model.sql_text import quoted, text_literal
from federation.model.timespan import format_tai

__all__ = ["all_of", "column", "literal", "one_of", "output", "timestamp"]


def column(*parts: str) -> str:
    """A quoted, dotted name.

    >>> column("visit", "id")
    '"visit"."id"'
    """
    return ".".join(quoted(part) for part in parts)


def literal(value: object) -> str:
    """A value as a literal: None, truth value, number, text or UUID; `UserError` for anything else."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case int() if -(2**63) < value < 2**63:
            return str(value)
        case float() if math.isfinite(value):
            text = repr(value)
            return text if any(mark in text for mark in ".e") else f"{text}.0"
        case str() if "\0" not in value:
            return text_literal(value)
        case uuid.UUID():
            return f"UUID '{value}'"
    if isinstance(value, (int, float)):
        raise UserError(f"{value} is out of range", hint="use 64-bit integers or finite numbers")
    raise UserError(
        f"{value!r} of type {type(value).__name__} can't be part of a condition",
        hint="pass a number, text, truth value, UUID, Timespan, Region, or a sequence of them for IN",
    )


def timestamp(tai_ns: int) -> str:
    """A moment as a literal."""
    return f"TIMESTAMP '{format_tai(tai_ns)}'"


def all_of(conditions: list[str]) -> str:
    """Conditions joined by AND; TRUE for none."""
    return " AND ".join(conditions) if conditions else "TRUE"


def one_of(value: str, literals: list[str]) -> str:
    """The condition that a value is one of some literals; FALSE for none."""
    if not literals:
        return "FALSE"
    return f"{value} = {literals[0]}" if len(literals) == 1 else f"{value} IN ({', '.join(literals)})"


def output(value: str, name: str) -> str:
    """``value AS name``, or the value alone where it is a column of that name.

    >>> output('"visit"."id"', "visit")
    '"visit"."id" AS "visit"'
    """
    named = column(name)
    return value if value == named or value.endswith(f'".{named}') else f"{value} AS {named}"
