"""LIKE and GLOB as SQL; a pattern that fixes how a text begins becomes a range, which sites can evaluate."""

from __future__ import annotations

import re

from federation.queries.sql import literal

__all__ = ["glob_sql", "like_sql"]


def like_sql(value: str, pattern: str) -> str:
    """``value`` fits a pattern with ``%`` and ``_``; a backslash makes the next character ordinary."""
    prefix = re.fullmatch(r"([^%_\\]*)%", pattern)
    if prefix is not None:
        return _starts_with(value, prefix[1])
    return f"{value} LIKE {literal(pattern)}"


def glob_sql(value: str, pattern: str) -> str:
    """``value`` fits a pattern with ``*``, ``?`` and ``[...]``."""
    prefix = re.fullmatch(r"([^*?\[]*)\*", pattern)
    if prefix is not None:
        return _starts_with(value, prefix[1])
    if "[" not in pattern:
        if not re.search(r"[*?]", pattern):
            return f"{value} = {literal(pattern)}"
        escaped = re.sub(r"([%_\\])", r"\\\1", pattern)
        return f"{value} LIKE {literal(escaped.replace('*', '%').replace('?', '_'))}"
    return f"{value} ~ {literal('(?s)^' + _regular_expression(pattern) + '$')}"


def _starts_with(value: str, prefix: str) -> str:
    if not prefix:
        return f"{value} IS NOT NULL"
    last = ord(prefix[-1])
    # no character follows the last one, and surrogates are none
    if last >= 0x10FFFF:
        return f"starts_with({value}, {literal(prefix)})"
    after = prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
    return f"({value} >= {literal(prefix)} AND {value} < {literal(after)})"


def _regular_expression(pattern: str) -> str:
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        end = pattern.find("]", at + 2) if char == "[" else -1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif end > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]")
            at = end
        else:
            out.append(re.escape(char))
        at += 1
    return "".join(out)
