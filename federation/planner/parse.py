"""From text to a tree: exactly one query, of allowed parts only, or an error that points at the trouble."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from federation.errors import QueryError
from federation.planner.breadth import check_breadth, check_word_count
from federation.planner.dialect import DEPTH_MAX, TEXT_SIZE_MAX, depth, refusal
from federation.planner.normalize import normalize_tree
from federation.planner.position import keep_column_positions, keep_interval_positions, position_of
from federation.planner.wording import function_name, written_at

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["parse_query", "parse_statement"]

# it warns on standard error of statements that it does not know; ours is an error of its own
logging.getLogger("sqlglot").setLevel(logging.ERROR)


def parse_statement(draft: Draft) -> None:
    """Rule: parse the statement."""
    draft.tree = parse_query(draft.sql)


def parse_query(sql: str) -> exp.Query:
    """The tree of ``sql``; `QueryError` unless it is one SELECT, set operation or WITH of allowed parts."""
    if len(sql) > TEXT_SIZE_MAX:
        raise QueryError(
            f"the statement has {len(sql)} characters",
            hint=f"at most {TEXT_SIZE_MAX}; put long lists into a table",
        )
    if "\0" in sql:
        raise QueryError(
            "the statement has a NUL character", hint="leave it out", sql=sql, position=sql.index("\0")
        )
    check_word_count(sql)
    try:
        _check_nesting(sql)
        trees = [tree for tree in sqlglot.parse(sql, read="postgres") if tree is not None]
    except ParseError as error:
        raise _syntax_error(sql, error) from error
    except TokenError as error:
        raise _token_error(sql) from error
    except RecursionError as error:
        raise QueryError(
            "the statement is nested too deeply", hint="use WITH to name its parts", sql=sql
        ) from error
    if not trees:
        raise QueryError("the statement is empty", hint="write a SELECT", sql=sql, position=0)
    if len(trees) > 1:
        raise QueryError(
            "more than one statement",
            hint="send one SELECT at a time",
            sql=sql,
            position=position_of(trees[1]),
        )
    tree = trees[0]
    found = refusal(tree, sql)
    if found is None and not isinstance(tree, exp.Query):
        found = (tree, f"{tree.key.upper()} is not a query", "write a SELECT")
    if found is not None:
        node, message, hint = found
        position = len(sql) - len(sql.lstrip()) if node is tree else written_at(node, sql)
        position = position_of(node) if position is None else position
        if position is None and (word := re.search(rf"\b{function_name(node)}\b", sql, re.IGNORECASE)):
            position = word.start()
        raise QueryError(message, hint=hint, sql=sql, position=position)
    if depth(tree) > DEPTH_MAX:
        raise QueryError(
            f"the statement is nested more than {DEPTH_MAX} levels deep",
            hint="use WITH to name its parts",
            sql=sql,
        )
    assert isinstance(tree, exp.Query)
    check_breadth(tree, sql)
    keep_column_positions(tree)
    keep_interval_positions(tree, sql)
    normalize_tree(tree, sql)
    return tree


def _check_nesting(sql: str) -> None:
    level = 0
    for token in sqlglot.tokenize(sql, read="postgres"):
        if token.token_type in {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.CASE}:
            level += 1
            if level > DEPTH_MAX:
                raise QueryError(
                    f"the statement is nested more than {DEPTH_MAX} levels deep",
                    hint="use WITH to name its parts",
                    sql=sql,
                    position=token.start,
                )
        elif token.token_type in {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.END}:
            level -= 1


def _syntax_error(sql: str, error: ParseError) -> QueryError:
    first = error.errors[0] if error.errors else {}
    word = str(first.get("highlight") or "")
    position = _offset(sql, int(first.get("line") or 0), int(first.get("col") or 0), len(word))
    text = re.sub(r"Required keyword: .*", "something is missing", str(first.get("description") or "invalid"))
    text = text.replace("Invalid expression / Unexpected token", "unexpected")
    shown = f"{text[:1].lower()}{text[1:].rstrip('.')}" + (f" at {word!r}" if word else "")
    if position is None:
        shown, position = "the statement ends too early", len(sql)
    hint = 'quote a name that is also a keyword: "name"' if word.isalpha() else "check the statement there"
    return QueryError(f"syntax error: {shown}", hint=hint, sql=sql, position=position)


def _token_error(sql: str) -> QueryError:
    # the tokenizer says only what came before: an odd number of quotes is by far the commonest cause
    quote = max(sql.rfind("'"), sql.rfind('"'))
    return QueryError(
        "syntax error: a quoted text does not end",
        hint="close it with the same quote; write a quote inside as two",
        sql=sql,
        position=quote if quote >= 0 else None,
    )


def _offset(sql: str, line: int, column: int, width: int) -> int | None:
    """Offset of a token's first character; the parser counts lines and columns from 1 and gives the token's end."""
    lines = sql.splitlines(keepends=True)
    if not 0 < line <= len(lines):
        return None
    return max(0, sum(map(len, lines[: line - 1])) + column - max(width, 1))
