"""How many relations the largest join of a local statement has."""

from __future__ import annotations

from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

__all__ = ["relation_count"]

_KEPT = 256


@lru_cache(maxsize=_KEPT)
def relation_count(sql: str) -> int:
    """Relations of all joins and sub-selects in conditions together, which is no less than those of the largest join.

    With two there is one order to join them in. Among more, the engine chooses by how many different values the columns
    have, which it knows of tables that it has loaded, not of Arrow that it reads where it is: it may then take what two
    large tables have in common but for their key first, and not come to an end.
    """
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:  # the engine takes more than this parser does; there may be any number then
        return len(sql)
    asked = [
        node
        for node in tree.find_all(exp.Subquery, exp.Exists)
        if not isinstance(node.parent, (exp.From, exp.Join, exp.SetOperation))
    ]
    within = [node for node in tree.find_all(exp.In) if node.args.get("query")]
    return 1 + len(list(tree.find_all(exp.Join))) + len(asked) + len(within)
