"""The SQL that is allowed: the allow-list of everything a statement may hold.

It names node classes and their arguments, so that whatever a newer parser learns to read stays refused until it is
listed here. `federation.planner.pushable` is the narrower list of what fragments may hold.
"""

from __future__ import annotations

import difflib

from sqlglot import exp

from federation.planner.region_signatures import REGION_FUNCTIONS
from federation.planner.wording import describe, function_name, remedy

__all__ = ["DEPTH_MAX", "FUNCTIONS", "TEXT_SIZE_MAX", "depth", "refusal"]

#: longest statement in characters, and deepest nesting of its tree
TEXT_SIZE_MAX = 1_000_000
DEPTH_MAX = 100

_BINARY = "this expression"

#: what each node of a statement may carry, apart from types and comments
_NODES: dict[type[exp.Expr], str] = {
    # queries
    exp.Select: "with_ distinct expressions from_ joins where group having order limit offset windows",
    exp.Union: "with_ this expression distinct order limit offset",
    exp.Intersect: "with_ this expression distinct order limit offset",
    exp.Except: "with_ this expression distinct order limit offset",
    exp.Subquery: "with_ this alias order limit offset",
    exp.With: "expressions recursive",
    exp.CTE: "this alias materialized",
    exp.From: "this",
    exp.Join: "this on using side kind method",
    exp.Lateral: "this alias",
    exp.Values: "expressions alias",
    exp.Table: "this db catalog alias",
    exp.TableAlias: "this columns",
    exp.Where: "this",
    exp.Group: "expressions",
    exp.Having: "this",
    exp.Order: "this expressions",
    exp.Ordered: "this desc nulls_first",
    exp.Limit: "expression",
    exp.Offset: "expression",
    exp.Fetch: "direction count limit_options",
    exp.LimitOptions: "rows",
    exp.Distinct: "expressions on",
    # leaves
    exp.Column: "this table db catalog",
    exp.Identifier: "this quoted",
    exp.Star: "",
    exp.Literal: "this is_string",
    exp.Null: "",
    exp.Boolean: "this",
    exp.Var: "this",
    exp.DataType: "this nested expressions",
    exp.Interval: "this unit fraction_in_string",
    # expressions
    exp.Alias: "this alias",
    exp.Paren: "this",
    exp.Tuple: "expressions",
    exp.And: _BINARY,
    exp.Or: _BINARY,
    exp.Not: "this",
    exp.EQ: _BINARY,
    exp.NEQ: _BINARY,
    exp.LT: _BINARY,
    exp.LTE: _BINARY,
    exp.GT: _BINARY,
    exp.GTE: _BINARY,
    exp.NullSafeEQ: _BINARY,
    exp.NullSafeNEQ: _BINARY,
    exp.Is: "this expression negate",
    exp.In: "this expressions query",
    exp.Between: "this low high",
    exp.Exists: "this",
    exp.Any: "this",
    exp.All: "this",
    exp.Like: "this expression negate",
    exp.ILike: "this expression negate",
    exp.Escape: _BINARY,
    exp.RegexpLike: _BINARY,
    exp.RegexpILike: _BINARY,
    exp.Add: _BINARY,
    exp.Sub: _BINARY,
    exp.Mul: _BINARY,
    exp.Div: "this expression typed safe",
    exp.Mod: _BINARY,
    exp.Neg: "this",
    exp.DPipe: "this expression safe",
    exp.Case: "this ifs default",
    exp.If: "this true",
    exp.Cast: "this to",
    exp.Window: "this partition_by order spec over alias",
    exp.WindowSpec: "kind start start_side end end_side",
    exp.Filter: _BINARY,
    exp.WithinGroup: _BINARY,
}

#: functions by their node; sqlglot folds several names into one node
_FUNCTIONS: dict[type[exp.Expr], str] = {
    # aggregates
    exp.Count: "this big_int",
    exp.Sum: "this",
    exp.Avg: "this",
    exp.Min: "this",
    exp.Max: "this",
    exp.Stddev: "this",
    exp.StddevSamp: "this",
    exp.StddevPop: "this",
    exp.Variance: "this",
    exp.VariancePop: "this",
    exp.Corr: _BINARY,
    exp.Median: "this",
    exp.PercentileCont: "this",
    exp.PercentileDisc: "this",
    exp.LogicalAnd: "this",
    exp.LogicalOr: "this",
    exp.AnyValue: "this",
    exp.GroupConcat: "this separator",
    exp.ArrayAgg: "this",
    # windows
    exp.RowNumber: "",
    exp.Rank: "",
    exp.DenseRank: "",
    exp.PercentRank: "",
    exp.CumeDist: "",
    exp.Ntile: "this",
    exp.Lag: "this offset default",
    exp.Lead: "this offset default",
    exp.FirstValue: "this",
    exp.LastValue: "this",
    # values
    exp.Coalesce: "this expressions",
    exp.Nullif: _BINARY,
    exp.Greatest: "this expressions ignore_nulls",
    exp.Least: "this expressions ignore_nulls",
    # numbers
    exp.Abs: "this",
    exp.Ceil: "this",
    exp.Floor: "this",
    exp.Round: "this decimals",
    exp.Trunc: "this decimals",
    exp.Sign: "this",
    exp.Sqrt: "this",
    exp.Pow: _BINARY,
    exp.Exp: "this",
    exp.Ln: "this",
    exp.Log: _BINARY,
    exp.Degrees: "this",
    exp.Radians: "this",
    exp.Sin: "this",
    exp.Cos: "this",
    exp.Tan: "this",
    exp.Asin: "this",
    exp.Acos: "this",
    exp.Atan: "this",
    exp.Atan2: _BINARY,
    exp.Pi: "",
    # text
    exp.Lower: "this",
    exp.Upper: "this",
    exp.Length: "this",
    exp.Substring: "this start length",
    exp.Trim: "this expression position",
    exp.Replace: "this expression replacement",
    exp.Concat: "expressions safe coalesce",
    exp.StrPosition: "this substr",
    exp.StartsWith: _BINARY,
    exp.Left: _BINARY,
    exp.Right: _BINARY,
    exp.SplitPart: "this delimiter part_index",
    # time
    exp.TimestampTrunc: "this unit",
    exp.Extract: _BINARY,
}

#: functions known by name only; `federation.planner.timespans` rewrites one, the others are the local engine's
_ANONYMOUS = {"timespan_overlaps", "metric", *REGION_FUNCTIONS}

_FUNCTION_NAMES = """
count sum avg min max stddev stddev_samp stddev_pop variance var_samp var_pop corr median
percentile_cont percentile_disc bool_and bool_or any_value string_agg array_agg
row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value
coalesce nullif greatest least
abs ceil floor round trunc sign sqrt power exp ln log mod degrees radians
sin cos tan asin acos atan atan2 pi
lower upper length substring trim replace concat position strpos starts_with left right split_part
date_trunc extract date_part timespan_overlaps metric
"""

#: names of all functions a statement may call, as users write them
FUNCTIONS: tuple[str, ...] = (*_FUNCTION_NAMES.split(), *REGION_FUNCTIONS)

_ALLOWED = {cls: frozenset(args.split()) for cls, args in (_NODES | _FUNCTIONS).items()}

_T = exp.DataType.Type
#: types a statement may cast to
_CAST_TYPES = {
    *(_T.BIGINT, _T.INT, _T.SMALLINT, _T.DOUBLE, _T.FLOAT, _T.BOOLEAN, _T.TEXT, _T.VARCHAR),
    *(_T.UUID, _T.TIMESTAMP, _T.DATE),
}


def depth(tree: exp.Expr) -> int:
    """Levels of nesting; a chain of AND, OR or set operations is one level however long."""
    deepest = 0
    todo: list[tuple[exp.Expr, int]] = [(tree, 1)]
    while todo:
        node, level = todo.pop()
        deepest = max(deepest, level)
        for child in node.iter_expressions():
            flat = isinstance(node, (exp.Connector, exp.SetOperation)) and type(child) is type(node)
            todo.append((child, level if flat else level + 1))
    return deepest


def refusal(tree: exp.Expr, sql: str = "") -> tuple[exp.Expr, str, str] | None:
    """The first node that no statement may hold, with a message and a hint; None when all is allowed.

    ``sql`` is the text that ``tree`` was read from, for the names that the user wrote.
    """
    for node in tree.walk():
        if isinstance(node, exp.Anonymous):
            if node.name.lower() not in _ANONYMOUS:
                return node, f"function {node.name.lower()}() is not allowed", _function_hint(node)
            continue
        allowed = _ALLOWED.get(type(node))
        if allowed is None:
            return node, f"{describe(node, sql)} is not allowed", _hint(node)
        for name, value in node.args.items():
            if value and name not in allowed:
                part = value if isinstance(value, exp.Expr) else value[0] if isinstance(value, list) else node
                culprit = part if isinstance(part, exp.Expr) else node
                if type(culprit) in _ALLOWED:
                    words = name.rstrip("_").upper().replace("_", " ")
                    return node, f"{words} in {describe(node, sql)} is not allowed", _hint(node)
                return culprit, f"{describe(culprit, sql)} is not allowed", _hint(culprit)
        special = _special_refusal(node)
        if special:
            return node, *special
    return None


def _special_refusal(node: exp.Expr) -> tuple[str, str] | None:
    """Why a node of an allowed class is refused for what it holds."""
    match node:
        case exp.Cast(to=to) if to.this not in _CAST_TYPES or to.expressions:
            return (
                f"a cast to {to.sql('postgres')} is not allowed",
                "cast to bigint, double precision, boolean, text, uuid, timestamp or date",
            )
        case exp.Join() if node.method:
            return f"{node.method} JOIN is not allowed", "write JOIN ... USING (columns) or ON condition"
        case exp.Join() if node.kind not in {"", "INNER", "CROSS", "OUTER"}:
            word = "NOT EXISTS" if node.kind == "ANTI" else "EXISTS"
            return f"{node.kind} JOIN is not allowed", f"write WHERE {word} (SELECT 1 FROM ... WHERE ...)"
        case exp.GroupConcat() if not node.args.get("separator"):
            return "string_agg without a separator is not allowed", "write string_agg(text, ',')"
        case exp.Table() if isinstance(node.this, exp.Dot):
            return "a table's name has too many parts", "write schema.table or site.schema.table"
        case exp.Table() if not isinstance(node.this, exp.Identifier):
            return "a function in FROM is not allowed", "name a table, or write VALUES or a sub-select"
        case exp.Subquery() if not isinstance(node.this, exp.Query):
            return (
                "a join in parentheses is not allowed",
                "write the joins without parentheses, or as a sub-select",
            )
        case exp.In() if not node.expressions and not node.args.get("query"):
            return "IN takes at least one value", "write the values, or FALSE for none"
        case exp.Limit() | exp.Offset() if not _is_count(node.expression):
            return f"{node.key.upper()} takes a whole number", "write it as a literal"
        case exp.Fetch() if not _is_count(node.args.get("count")):
            return "FETCH takes a whole number", "write it as a literal"
        case exp.Literal() if "\0" in node.this:
            return "a NUL character is not allowed", "leave it out"
        case exp.Literal(is_string=False) if not _is_number(node.this):
            return f"number {node.this} is out of range", "use 64-bit integers or floating-point numbers"
        case exp.Interval(this=exp.Literal(), unit=None):
            return (
                f"interval {node.name!r} is not understood",
                "write one number and one unit: INTERVAL '30 seconds'",
            )
    return None


def _is_count(node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit()


def _is_number(text: str) -> bool:
    if text.isdigit():
        return int(text) < 2**63
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _hint(node: exp.Expr) -> str:
    known = remedy(node)
    if known is not None:
        return known
    return _function_hint(node) if isinstance(node, exp.Func) else "see the documented SQL dialect"


def _function_hint(node: exp.Expr) -> str:
    close = difflib.get_close_matches(function_name(node), FUNCTIONS, n=3)
    return f"did you mean {', '.join(close)}?" if close else "allowed: " + ", ".join(FUNCTIONS)
