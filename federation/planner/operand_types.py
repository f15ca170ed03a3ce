"""Which types the operands of functions and operators have; others are refused where they stand.

DuckDB would convert a text to a number silently, or refuse without saying where. What has no logical type (NULL, a
calendar day, a list) passes, and is the engine's to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.errors import QueryError
from federation.model.logical import LogicalType
from federation.planner.position import position_of
from federation.planner.sqltypes import is_date, is_moment, logical_type
from federation.planner.wording import describe, function_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_operands"]

_L = LogicalType
_TEXT = frozenset({_L.STRING})
_NUMBER = frozenset({_L.INT64, _L.FLOAT64})
_WHOLE = frozenset({_L.INT64})
_TRUTH = frozenset({_L.BOOL})
_WORDS = {_TEXT: "a text", _NUMBER: "a number", _WHOLE: "a whole number", _TRUTH: "a condition"}

#: arguments of each class of nodes, and the types that they may have
_OPERANDS: dict[type[exp.Expr], tuple[tuple[str, frozenset[LogicalType]], ...]] = {
    **dict.fromkeys((exp.And, exp.Or), (("this", _TRUTH), ("expression", _TRUTH))),
    **dict.fromkeys((exp.Not, exp.Where, exp.Having, exp.LogicalAnd, exp.LogicalOr), (("this", _TRUTH),)),
    **dict.fromkeys(
        (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Pow, exp.Atan2, exp.Corr, exp.Log),
        (("this", _NUMBER), ("expression", _NUMBER)),
    ),
    **dict.fromkeys(
        (
            *(exp.Neg, exp.Abs, exp.Ceil, exp.Floor, exp.Sign, exp.Sqrt, exp.Exp, exp.Ln, exp.Degrees, exp.Radians),
            *(exp.Sin, exp.Cos, exp.Tan, exp.Asin, exp.Acos, exp.Atan),
            *(exp.Sum, exp.Avg, exp.Stddev, exp.StddevSamp, exp.StddevPop, exp.Variance, exp.VariancePop, exp.Median),
        ),
        (("this", _NUMBER),),
    ),
    **dict.fromkeys((exp.Round, exp.Trunc), (("this", _NUMBER), ("decimals", _WHOLE))),
    **dict.fromkeys((exp.Lower, exp.Upper, exp.Length), (("this", _TEXT),)),
    **dict.fromkeys(
        (exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.StartsWith, exp.Trim),
        (("this", _TEXT), ("expression", _TEXT)),
    ),
    **dict.fromkeys((exp.Left, exp.Right), (("this", _TEXT), ("expression", _WHOLE))),
    exp.Substring: (("this", _TEXT), ("start", _WHOLE), ("length", _WHOLE)),
    exp.Replace: (("this", _TEXT), ("expression", _TEXT), ("replacement", _TEXT)),
    exp.StrPosition: (("this", _TEXT), ("substr", _TEXT)),
    exp.SplitPart: (("this", _TEXT), ("delimiter", _TEXT), ("part_index", _WHOLE)),
    exp.GroupConcat: (("this", _TEXT), ("separator", _TEXT)),
    exp.Ntile: (("this", _WHOLE),),
}  # fmt: skip

_T = exp.DataType.Type
_ANY = frozenset(_L)
#: types that may be cast, by the type that they become
_CASTS: dict[exp.DType, frozenset[LogicalType]] = {
    **dict.fromkeys((_T.BIGINT, _T.INT, _T.SMALLINT), _NUMBER | _TEXT | _TRUTH),
    **dict.fromkeys((_T.DOUBLE, _T.FLOAT), _NUMBER | _TEXT),
    _T.BOOLEAN: _TRUTH | _WHOLE | _TEXT,
    **dict.fromkeys((_T.TEXT, _T.VARCHAR), _ANY - {_L.BYTES}),
    _T.UUID: frozenset({_L.UUID, _L.STRING}),
    **dict.fromkeys((_T.TIMESTAMP, _T.DATE), frozenset({_L.TIMESTAMP, _L.STRING})),
}
_ONLY_IN_WINDOWS = (
    *(exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile),
    *(exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue),
)


def check_operands(tree: exp.Expr, sql: str) -> None:
    """`QueryError` for the first operand of an annotated tree that is of no type its operator or function takes."""
    for node in tree.walk():
        for found in _problems(node):
            culprit, message, hint = found
            position = position_of(culprit)
            if position is None:
                position = position_of(node)
            raise QueryError(message, hint=hint, sql=sql, position=position)


def _problems(node: exp.Expr) -> Iterator[tuple[exp.Expr, str, str]]:
    """Each wrong operand of one node, with a message and a hint."""
    if isinstance(node, _ONLY_IN_WINDOWS) and not isinstance(node.parent, exp.Window):
        yield (
            node,
            f"{function_name(node)}() without OVER",
            f"write {function_name(node)}(...) OVER (ORDER BY ...)",
        )
    if isinstance(node, exp.Cast):
        yield from _cast_problem(node)
    elif isinstance(node, exp.Case):
        if node.this is None:
            for branch in node.args["ifs"]:
                yield from _wrong(branch.this, _TRUTH, "CASE WHEN")
    elif isinstance(node, exp.Filter):
        yield from _wrong(node.expression.this, _TRUTH, "FILTER")
    elif isinstance(node, exp.Join):
        yield from _wrong(node.args.get("on"), _TRUTH, "ON")
    elif isinstance(node, exp.TimestampTrunc):
        if not is_moment(node.this) and logical_type(node.this) is not None:
            yield (
                node.this,
                f"date_trunc takes a timestamp, not {logical_type(node.this)}",
                "cast it to timestamp",
            )
    elif isinstance(node, (exp.In, exp.Subquery)):
        yield from _width_problem(node)
    elif isinstance(node, exp.SetOperation):
        yield from _set_operation_problem(node)
    elif (
        isinstance(node, exp.Distinct) and isinstance(node.parent, exp.AggFunc) and len(node.expressions) > 1
    ):
        yield (
            node.expressions[1],
            "DISTINCT of several columns in an aggregate",
            "count the rows of a SELECT DISTINCT",
        )
    elif not _is_sum_of_moments(node):
        for name, kinds in _OPERANDS.get(type(node), ()):
            yield from _wrong(node.args.get(name), kinds, _shown(node))


def _shown(node: exp.Expr) -> str:
    symbols: dict[type[exp.Expr], str] = {
        exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%", exp.Neg: "-",
        exp.RegexpLike: "~", exp.RegexpILike: "~*",
    }  # fmt: skip
    if type(node) in symbols:
        return symbols[type(node)]
    return function_name(node) if isinstance(node, exp.Func) else describe(node)


def _wrong(
    node: exp.Expr | None, kinds: frozenset[LogicalType], place: str
) -> Iterator[tuple[exp.Expr, str, str]]:
    if isinstance(node, exp.Distinct):
        node = node.expressions[0]
    if isinstance(node, exp.Order):  # string_agg(text ORDER BY ...)
        node = node.this
    if node is None or (kind := logical_type(node)) is None or kind in kinds:
        return
    word = _WORDS[kinds]
    hint = (
        f"cast it, or compare it with something: {_text(node)} = ..."
        if kinds is _TRUTH
        else "cast it explicitly"
    )
    yield node, f"{place} takes {word}, not {kind}: {_text(node)}", hint


def _text(node: exp.Expr) -> str:
    return node.sql("postgres").replace('"', "")[:60]


def _is_sum_of_moments(node: exp.Expr) -> bool:
    """Timestamps, days and intervals, which `federation.planner.local_time` checks."""
    return isinstance(node, (exp.Add, exp.Sub)) and any(
        is_moment(side) or isinstance(side.unnest(), exp.Interval) for side in (node.this, node.expression)
    )


def _cast_problem(node: exp.Cast) -> Iterator[tuple[exp.Expr, str, str]]:
    kind, kinds = logical_type(node.this), _CASTS.get(node.to.this, _ANY)
    if is_date(node.this) and node.to.this not in {_T.DATE, _T.TIMESTAMP, _T.TEXT, _T.VARCHAR}:
        yield node.this, f"a date can't be cast to {node.to.sql('postgres').lower()}", "use extract"
    elif kind is not None and kind not in kinds:
        allowed = ", ".join(sorted(kinds))
        yield (
            node.this,
            f"{kind} can't be cast to {node.to.sql('postgres').lower()}",
            f"it may be cast from {allowed}",
        )


def _width_problem(node: exp.Expr) -> Iterator[tuple[exp.Expr, str, str]]:
    """A sub-select of several columns where a value is wanted."""
    if isinstance(node, exp.In):
        query = node.args.get("query")
        wanted = len(node.this.unnest().expressions) if isinstance(node.this.unnest(), exp.Tuple) else 1
        inner = query.unnest() if query is not None else None
    else:
        outside = (
            exp.From,
            exp.Join,
            exp.In,
            exp.Exists,
            exp.SetOperation,
            exp.CTE,
            exp.Subquery,
            exp.Lateral,
        )
        if node.parent is None or isinstance(node.parent, (*outside, exp.With, exp.Any, exp.All)):
            return
        wanted, inner = 1, node.unnest()
    if isinstance(inner, exp.Query) and len(inner.selects) != wanted:
        yield (
            inner,
            f"a sub-select of {len(inner.selects)} columns where {wanted} is wanted",
            "select that many columns",
        )


def _set_operation_problem(node: exp.SetOperation) -> Iterator[tuple[exp.Expr, str, str]]:
    for number, (left, right) in enumerate(zip(node.left.selects, node.right.selects, strict=False), 1):
        a, b = logical_type(left), logical_type(right)
        if a is b or a is None or b is None or {a, b} == {_L.INT64, _L.FLOAT64}:
            continue
        message = f"column {number} of {node.key.upper()} is of type {a} on one side and {b} on the other"
        yield right, message, "cast one of them explicitly: CAST(... AS ...)"
