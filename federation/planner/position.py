"""Where in the statement's text a node was read from."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

__all__ = ["keep_column_positions", "keep_interval_positions", "position_of"]


def position_of(node: exp.Expr) -> int | None:
    """0-based offset of the first character of ``node`` in the statement; None when the parser did not keep it."""
    starts = [
        start
        for part in node.walk()
        if isinstance(start := part.meta.get("start"), int) and not _is_added_qualifier(part)
    ]
    return min(starts, default=None)


def _is_added_qualifier(part: exp.Expr) -> bool:
    """Whether an identifier qualifies a column; qualification copies it from FROM, with its place there."""
    return isinstance(part.parent, exp.Column) and part.arg_key != "this"


def keep_interval_positions(tree: exp.Expr, sql: str) -> None:
    """Note on every interval where its word was written: the parser takes its text apart and keeps no place."""
    intervals = list(tree.find_all(exp.Interval, bfs=False))
    if intervals:
        tokens = [t for t in sqlglot.tokenize(sql, read="postgres") if t.token_type is TokenType.INTERVAL]
        if len(tokens) == len(intervals):
            for interval, token in zip(intervals, tokens, strict=True):
                interval.meta["start"] = token.start


def keep_column_positions(tree: exp.Expr) -> None:
    """Note on every column where its first part was written, before qualification adds parts."""
    for column in tree.find_all(exp.Column):
        starts = [start for part in column.parts if isinstance(start := part.meta.get("start"), int)]
        if starts:
            column.meta["start"] = min(starts)
