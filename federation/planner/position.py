"""Where in the statement's text a node was read from."""

from __future__ import annotations

from sqlglot import exp

__all__ = ["keep_column_positions", "position_of"]


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


def keep_column_positions(tree: exp.Expr) -> None:
    """Note on every column where its first part was written, before qualification adds parts."""
    for column in tree.find_all(exp.Column):
        starts = [start for part in column.parts if isinstance(start := part.meta.get("start"), int)]
        if starts:
            column.meta["start"] = min(starts)
