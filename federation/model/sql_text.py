"""Names and texts as SQL writes them."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["listed", "quoted", "text_literal"]


def quoted(name: str) -> str:
    """An identifier.

    >>> print(quoted("raw"))
    "raw"
    """
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Identifiers, separated by commas."""
    return ", ".join(quoted(name) for name in names)


def text_literal(value: str) -> str:
    """A text; the caller sees to it that there is no NUL in it.

    >>> print(text_literal("it's"))
    'it''s'
    """
    return "'" + value.replace("'", "''") + "'"
