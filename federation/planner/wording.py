"""What the parts of a statement are called, where they were written, and what to write instead of refused ones."""

from __future__ import annotations

import re

from sqlglot import exp

__all__ = ["describe", "function_name", "remedy", "written_at"]

_WRITE = "queries only read; write with the registry's commands or its Python API"
_CLOCK = (
    "it changes from one moment to the next; write the moment as a literal: TIMESTAMP '2026-01-31 00:00:00'"
)
_HINTS: dict[type[exp.Expr], str] = {
    exp.DML: _WRITE,
    exp.DDL: _WRITE,
    exp.Into: _WRITE,
    exp.Command: "write one SELECT",
    exp.Copy: _WRITE,
    exp.CurrentTimestamp: _CLOCK,
    exp.CurrentDate: _CLOCK,
    exp.CurrentTime: _CLOCK,
    exp.Localtimestamp: _CLOCK,
    exp.Rand: "its value differs from site to site; leave it out",
    exp.Uuid: "its value differs from site to site; leave it out",
    exp.Parameter: "parameters are not supported; write the value",
    exp.Placeholder: "parameters are not supported; write the value",
    exp.ByteString: "write an ordinary string: 'text'",
    exp.RawString: "write an ordinary string: 'text'",
    exp.HexString: "bytes have no literals",
    exp.UnicodeString: "write the character itself",
    exp.Qualify: "put the window function into a sub-select and the condition around it",
    exp.Rollup: "write one GROUP BY for each, with UNION ALL between them",
    exp.Cube: "write one GROUP BY for each, with UNION ALL between them",
    exp.GroupingSets: "write one GROUP BY for each, with UNION ALL between them",
    exp.SimilarTo: "write LIKE, or ~ with a regular expression",
    exp.AtTimeZone: "timestamps are TAI and have no zone",
    exp.Collate: "texts are ordered by code point everywhere; leave it out",
    exp.Lock: "queries only read; leave it out",
    exp.TableSample: "take a part by a condition on a column",
    exp.Pivot: "write one aggregate with FILTER (WHERE ...) for each column",
    exp.IgnoreNulls: "leave the NULLs out in a sub-select",
    exp.Overlaps: "write timespan_overlaps(begin, end, begin, end)",
    exp.LimitOptions: "write FETCH FIRST n ROWS ONLY",
    exp.JSONExtract: "there is no JSON; extract the value before it is stored",
    exp.JSONExtractScalar: "there is no JSON; extract the value before it is stored",
    exp.Bracket: "there are no arrays; join with a table of the values",
    exp.Array: "there are no arrays; write IN (...), or VALUES in FROM",
    exp.Connect: "write WITH RECURSIVE",
    exp.If: "write CASE WHEN condition THEN value ELSE other END",
    exp.Star: "name the columns",
    exp.Group: "name the columns, or count them from 1",
    exp.WindowSpec: "leave it out",
    exp.All: "compare with a sub-select, or write IN (...)",
}


_WORDS: dict[type[exp.Expr], str] = {
    exp.Lock: "FOR UPDATE or FOR SHARE",
    exp.TableSample: "TABLESAMPLE",
    exp.Collate: "COLLATE",
    exp.AtTimeZone: "AT TIME ZONE",
    exp.Bracket: "a subscript",
    exp.Dot: "a name of more than three parts, or a field of a value",
    exp.Array: "ARRAY",
    exp.Parameter: "a parameter",
    exp.Placeholder: "a parameter",
    exp.GroupingSets: "GROUPING SETS",
    exp.SimilarTo: "SIMILAR TO",
    exp.IgnoreNulls: "IGNORE NULLS",
    exp.ByteString: "an escape string",
    exp.RawString: "a dollar-quoted string",
    exp.HexString: "a hexadecimal string",
    exp.BitString: "a bit string",
    exp.UnicodeString: "a Unicode string",
    exp.JSONExtract: "the operator ->",
    exp.JSONExtractScalar: "the operator ->>",
    exp.LimitOptions: "FETCH",
    exp.Connect: "CONNECT BY",
    exp.Group: "GROUP BY",
    exp.WindowSpec: "a window's frame",
    exp.Star: "*",
}

#: how constructs are written whose place the parser does not keep, or only that of their first part
_WRITTEN: dict[type[exp.Expr], str] = {
    exp.Qualify: r"\bQUALIFY\b",
    exp.Rollup: r"\bROLLUP\b",
    exp.Cube: r"\bCUBE\b",
    exp.GroupingSets: r"\bGROUPING\s+SETS\b",
    exp.SimilarTo: r"\bSIMILAR\s+TO\b",
    exp.AtTimeZone: r"\bAT\s+TIME\s+ZONE\b",
    exp.Collate: r"\bCOLLATE\b",
    exp.Lock: r"\bFOR\s+(NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\b",
    exp.TableSample: r"\bTABLESAMPLE\b",
    exp.Pivot: r"\b(UN)?PIVOT\b",
    exp.IgnoreNulls: r"\bIGNORE\s+NULLS\b",
    exp.Overlaps: r"\bOVERLAPS\b",
    exp.LimitOptions: r"\b(WITH\s+TIES|PERCENT)\b",
    exp.Connect: r"\bCONNECT\s+BY\b",
    exp.Array: r"\bARRAY\b",
    exp.All: r"\bALL\b",
    exp.JSONExtract: "->",
    exp.JSONExtractScalar: "->>",
}


#: names that sqlglot has others for
_NAMES: dict[type[exp.Expr], str] = {
    exp.LogicalAnd: "bool_and",
    exp.LogicalOr: "bool_or",
    exp.GroupConcat: "string_agg",
    exp.TimestampTrunc: "date_trunc",
    exp.And: "AND",
    exp.Or: "OR",
}


def function_name(node: exp.Expr) -> str:
    """The function's name as a user would write it."""
    if type(node) in _NAMES:
        return _NAMES[type(node)]
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else type(node).__name__.lower()


def written_at(node: exp.Expr, sql: str) -> int | None:
    """Where the words of a construct are in the statement, if they are there once."""
    pattern = _WRITTEN.get(type(node))
    found = [match.start() for match in re.finditer(pattern, sql, re.IGNORECASE)] if pattern else []
    return found[0] if len(found) == 1 else None


def describe(node: exp.Expr, sql: str = "") -> str:
    """What a node is, in the user's words."""
    if type(node) in _WORDS:
        return _WORDS[type(node)]
    if isinstance(node, exp.Func):
        start, end = node.meta.get("start"), node.meta.get("end")
        written = sql[start : end + 1].lower() if isinstance(start, int) and isinstance(end, int) else ""
        return f"function {written if written.isidentifier() else function_name(node)}()"
    if isinstance(node, exp.Command):
        return str(node.this).upper()
    return type(node).__name__.upper()


def remedy(node: exp.Expr) -> str | None:
    """What to write instead of a node that is refused; None where there is nothing special to say."""
    if isinstance(node, (exp.Command, exp.Describe)) and describe(node) in ("EXPLAIN", "DESCRIBE"):
        return "ask for the plan with --explain or --analyze, or with session.explain(sql)"
    return next((hint for cls, hint in _HINTS.items() if isinstance(node, cls)), None)
