"""How much one statement may hold: bounds that are generous for people and programs, and cheap to check."""

from __future__ import annotations

import re

from sqlglot import exp

from federation.errors import QueryError
from federation.planner.position import position_of

__all__ = ["JOINED_MAX", "TABLES_MAX", "WORDS_MAX", "check_breadth", "check_word_count"]

#: words, numbers, texts and signs; parsing takes some 10 microseconds for each
WORDS_MAX = 50_000
#: tables that one FROM joins, which is SQLite's own bound
JOINED_MAX = 64
#: tables and sub-selects in a statement as a whole: every schema of a long chain counts
TABLES_MAX = 1_000


_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|[^\w\s]")


def check_word_count(sql: str) -> None:
    """`QueryError` for a statement that would take too long to parse; costs far less than that."""
    for count, word in enumerate(_WORD.finditer(sql)):
        if count >= WORDS_MAX:
            raise QueryError(
                f"the statement has more than {WORDS_MAX} words and signs",
                hint="put long lists into a table, and join it",
                sql=sql,
                position=word.start(),
            )


def check_breadth(tree: exp.Expr, sql: str) -> None:
    """`QueryError` for more tables than a statement may name."""
    tables = 0
    for node in tree.walk():
        if isinstance(node, (exp.Table, exp.Select)):
            tables += 1
            if tables > TABLES_MAX:
                raise QueryError(
                    f"the statement has more than {TABLES_MAX} tables and sub-selects",
                    hint="ask in several statements",
                    sql=sql,
                    position=position_of(node),
                )
        if isinstance(node, exp.Select):
            joins = node.args.get("joins") or ()
            if len(joins) >= JOINED_MAX:
                raise QueryError(
                    f"more than {JOINED_MAX} tables are joined",
                    hint="join some of them in a WITH query or a sub-select",
                    sql=sql,
                    position=position_of(joins[JOINED_MAX - 1].this),
                )
