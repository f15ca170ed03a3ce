"""Patterns of LIKE that are literals, read once, so that every database can be given them in its own words."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

__all__ = ["lowered_like", "pattern_of"]

#: parts of a pattern that stand for others; no text that a database holds has these characters
_ANY_TEXT, _ANY_CHARACTER = "\0%", "\0_"
#: SQLite refuses patterns of more than 50,000 bytes: https://sqlite.org/limits.html
_SIZE_MAX = 5_000
_ESCAPE = "\\"


def pattern_of(node: exp.Expr) -> tuple[str, ...] | None:
    """The parts of the pattern of ``x LIKE pattern`` or ``x LIKE pattern ESCAPE c``: characters, and the two above.

    None for a pattern that is no literal, is too long, or ends within an escape.
    """
    escape = _ESCAPE
    like = node
    if isinstance(node, exp.Escape):
        like = node.this
        if not _is_text(node.expression) or len(node.expression.name) != 1:
            return None
        escape = node.expression.name
    if not isinstance(like, exp.Like) or not _is_text(like.expression):
        return None
    text = like.expression.name
    if len(text) > _SIZE_MAX:
        return None
    parts: list[str] = []
    characters: Iterator[str] = iter(text)
    for character in characters:
        if character == escape:
            following = next(characters, None)
            if following is None:
                return None
            parts.append(following)
        else:
            parts.append({"%": _ANY_TEXT, "_": _ANY_CHARACTER}.get(character, character))
    return tuple(parts)


def lowered_like(node: exp.Expr, *, for_sqlite: bool) -> exp.Expr | None:
    """What a site's database is given for a LIKE with a literal pattern: SQLite's own does not look at the case.

    What is compared with the pattern moves from ``node`` into the answer; None where `pattern_of` gives none.
    """
    parts = pattern_of(node)
    if parts is None:
        return None
    like = node.this if isinstance(node, exp.Escape) else node
    matches: exp.Expr
    if for_sqlite:
        matches = exp.Glob(this=like.this, expression=exp.Literal.string(_glob(parts)))
    else:
        matches = exp.Like(this=like.this, expression=exp.Literal.string(_escaped(parts)))
    return exp.paren(exp.not_(matches, copy=False), copy=False) if like.args.get("negate") else matches


def _glob(parts: tuple[str, ...]) -> str:
    """The pattern in the words of SQLite's GLOB, which looks at the case as LIKE does elsewhere."""
    words = {_ANY_TEXT: "*", _ANY_CHARACTER: "?", "*": "[*]", "?": "[?]", "[": "[[]"}
    return "".join(words.get(part, part) for part in parts)


def _escaped(parts: tuple[str, ...]) -> str:
    """The pattern for a LIKE whose escape is a backslash."""
    words = {_ANY_TEXT: "%", _ANY_CHARACTER: "_", "%": r"\%", "_": r"\_", _ESCAPE: _ESCAPE * 2}
    return "".join(words.get(part, part) for part in parts)


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string)
