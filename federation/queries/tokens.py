"""A ``where`` expression cut into words, each with its place in the text."""

from __future__ import annotations

import re

import attrs

from federation.errors import QueryError

__all__ = ["KEYWORDS", "Token", "tokenize"]

#: words that are no names unless they are quoted
KEYWORDS = frozenset(
    {"AND", "BETWEEN", "FALSE", "GLOB", "IN", "IS", "LIKE", "NOT", "NULL", "OR", "OVERLAPS", "TRUE"}
)

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<time>[Tt]'(?:[^']|'')*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<bind>:[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<symbol>\.\.|<=|>=|<>|!=|==|[-+*/%=<>().,:])
    """,
    re.VERBOSE,
)


@attrs.frozen
class Token:
    """One word: ``kind`` is time, string, bind, number, name, keyword, symbol or end; ``text`` without its quotes."""

    kind: str
    text: str
    position: int

    def is_(self, *texts: str) -> bool:
        """Whether it is one of these keywords or symbols."""
        return self.kind in {"keyword", "symbol"} and self.text in texts


def tokenize(text: str) -> list[Token]:
    """The words of ``text`` and one of kind ``end``; `QueryError` points at what is none."""
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        kind, word = str(match.lastgroup), match[0]
        if kind != "space":
            tokens.append(_token(kind, word, position))
        position = match.end()
    return [*tokens, Token("end", "", len(text))]


def _token(kind: str, word: str, position: int) -> Token:
    match kind:
        case "time":
            return Token(kind, word[2:-1].replace("''", "'"), position)
        case "string":
            return Token(kind, word[1:-1].replace("''", "'"), position)
        case "quoted":
            return Token("name", word[1:-1].replace('""', '"'), position)
        case "bind":
            return Token(kind, word[1:], position)
        case "name" if word.upper() in KEYWORDS:
            return Token("keyword", word.upper(), position)
    return Token(kind, word, position)


def _unreadable(text: str, position: int) -> QueryError:
    if text[position] in "'\"":
        return QueryError(
            "a quoted text does not end",
            hint="close it with the same quote; write a quote inside as two",
            sql=text,
            position=position,
        )
    return QueryError(
        f"{text[position]!r} has no meaning in an expression",
        hint="write texts in single quotes, values of your program as :name with bind={...}",
        sql=text,
        position=position,
    )
