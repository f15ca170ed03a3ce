"""A statement's text without the values in it, as logs may have it."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["statement_shape"]

#: texts in every way that PostgreSQL, SQLite or DuckDB write them, comments, and names, which stay
_PART = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<dollar>\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<escape>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    |(?P<text>'(?:[^']|'')*(?:'|\Z))
    |(?P<name>"(?:[^"]|"")*(?:"|\Z))""",
    re.DOTALL | re.VERBOSE,
)


@lru_cache(maxsize=256)
def statement_shape(sql: str, length_max: int = 4000) -> str:
    """The text on one line with ``?`` for every text in quotes, without comments, of at most so many characters.

    Numbers stay. What can't be told apart from a text, as one that does not end, is left out with all that follows.

    >>> statement_shape("SELECT id -- mine\\nFROM raw WHERE run = 'a''b' AND id < 7")
    'SELECT id FROM raw WHERE run = ? AND id < 7'
    """

    def shown(match: re.Match[str]) -> str:
        if match["name"] is not None:
            return match[0]
        return " " if match["comment"] is not None else "?"

    text = " ".join(_PART.sub(shown, sql).split())
    return text if len(text) <= length_max else text[: length_max - 3] + "..."
