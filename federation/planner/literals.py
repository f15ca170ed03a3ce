"""Literals that get the type of what they are compared with, so that every database compares alike.

``dataset_id = '0a0b...'`` becomes a comparison with ``CAST('0a0b...' AS UUID)``; a text that is no UUID, timestamp
or number, and a comparison of types that don't compare, are errors here and not at some site.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING

from sqlglot import exp

from federation.errors import QueryError, UserError
from federation.model.logical import LogicalType
from federation.model.timespan import format_tai, parse_tai
from federation.planner.intervals import fold_shifts
from federation.planner.operand_types import check_operands
from federation.planner.position import position_of
from federation.planner.sqltypes import logical_type, sql_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.planner.draft import Draft

__all__ = ["literal_type_of", "type_literals", "type_tree_literals"]

_L = LogicalType
_T = exp.DataType.Type
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_TIMESTAMP_HINT = "write TAI as 'YYYY-MM-DD HH:MM:SS.nnnnnnnnn' without a zone"


def type_literals(draft: Draft) -> None:
    """Rule: give literals their types, and check those of all operands."""
    type_tree_literals(draft.tree, draft.sql)
    check_operands(draft.tree, draft.sql)


def type_tree_literals(tree: exp.Expr, sql: str) -> None:
    """Type the literals of an annotated tree in place; `QueryError` for a bad one or for types that don't compare."""
    for cast in list(tree.find_all(exp.Cast)):
        _check_cast(cast, sql)
    fold_shifts(tree, sql)
    for node in list(tree.walk()):
        if isinstance(node, _COMPARISONS):
            _align([node.this, node.expression], node, sql)
        elif isinstance(node, exp.Between):
            _align([node.this, node.args["low"], node.args["high"]], node, sql)
        elif isinstance(node, exp.In) and not isinstance(node.this.unnest(), exp.Tuple):
            query = node.args.get("query")
            others = node.expressions if query is None else query.unnest().selects[:1]
            _align([node.this, *(other.unalias() for other in others)], node, sql)
        elif isinstance(node, (exp.Coalesce, exp.Greatest, exp.Least)):
            _align([node.this, *node.expressions], node, sql)
        elif isinstance(node, exp.Nullif):
            _align([node.this, node.expression], node, sql)
        elif isinstance(node, exp.Case):
            branches = [branch.args["true"] for branch in node.args["ifs"]]
            default = node.args.get("default")
            _align([*branches, *([default] if default is not None else [])], node, sql)
            if node.this:
                _align([node.this, *(branch.this for branch in node.args["ifs"])], node, sql)


def literal_type_of(node: exp.Expr) -> LogicalType | None:
    """The type of a typed literal (``CAST('...' AS UUID)`` or ``... AS TIMESTAMP``); None for anything else."""
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal) and node.this.is_string:
        return {_T.UUID: _L.UUID, _T.TIMESTAMP: _L.TIMESTAMP}.get(node.to.this)
    return None


def _check_cast(cast: exp.Cast, sql: str) -> None:
    """Bring the text of a typed literal into canonical form."""
    literal = cast.this
    if not isinstance(literal, exp.Literal) or not literal.is_string:
        return
    target = cast.to.this
    if target is _T.UUID:
        literal.set("this", _uuid(literal, sql))
    elif target is _T.TIMESTAMP:
        literal.set("this", _timestamp(literal, sql))
    elif target is _T.DATE:
        try:
            dt.date.fromisoformat(literal.name)
        except ValueError as error:
            raise _bad(literal, f"{literal.name!r} is not a date", "write YYYY-MM-DD", sql) from error


def _bad(node: exp.Expr, message: str, hint: str, sql: str) -> QueryError:
    return QueryError(message, hint=hint, sql=sql, position=position_of(node))


def _uuid(literal: exp.Expr, sql: str) -> str:
    try:
        return str(uuid.UUID(literal.name))
    except ValueError as error:
        hint = "a UUID has 32 hexadecimal digits: '01234567-89ab-cdef-0123-456789abcdef'"
        raise _bad(literal, f"{literal.name!r} is not a UUID", hint, sql) from error


def _timestamp(literal: exp.Expr, sql: str) -> str:
    try:
        tai_ns = parse_tai(literal.name)
    except UserError as error:
        raise _bad(literal, error.message, _TIMESTAMP_HINT, sql) from error
    if not -(2**63) < tai_ns < 2**63:
        raise _bad(literal, f"{literal.name!r} is out of range", "timestamps reach from 1678 to 2261", sql)
    return format_tai(tai_ns)


def _align(operands: list[exp.Expr], node: exp.Expr, sql: str) -> None:
    """Give string literals among ``operands`` the type of the others, which must be of one kind."""
    kinds: dict[LogicalType, exp.Expr] = {}
    for operand in operands:
        kind = None if isinstance(operand, (exp.Any, exp.All)) else logical_type(operand)
        if kind is not None and not _is_text_literal(operand) and not isinstance(operand.unnest(), exp.Null):
            kinds.setdefault(kind, operand)
    if _L.TIMESTAMP in kinds:
        for operand in operands:
            _date_to_timestamp(operand)
    kind = next((k for k in (_L.FLOAT64, _L.INT64) if k in kinds), None) or next(iter(kinds), None)
    if kind is None or (kind is _L.STRING and len(kinds) == 1):
        return
    if len(kinds) > 1 and set(kinds) != {_L.INT64, _L.FLOAT64}:
        (first, a), (second, b) = list(kinds.items())[:2]
        raise _bad(
            node if position_of(node) is not None else a,
            f"{first} and {second} can't be compared: {_shown(a)} and {_shown(b)}",
            "cast one of them explicitly: CAST(... AS ...)",
            sql,
        )
    for operand in operands:
        if _is_text_literal(operand):
            _retype(operand.unnest(), kind, sql)


def _shown(node: exp.Expr) -> str:
    return node.sql("postgres").replace('"', "")[:60]


def _is_text_literal(node: exp.Expr) -> bool:
    inner = node.unnest()
    return isinstance(inner, exp.Literal) and inner.is_string


def _date_to_timestamp(operand: exp.Expr) -> None:
    inner = operand.unnest()
    if isinstance(inner, exp.Cast) and inner.to.this is _T.DATE and _is_text_literal(inner.this):
        inner.set("to", sql_type(_L.TIMESTAMP))
        inner.type = sql_type(_L.TIMESTAMP)
        inner.this.set("this", format_tai(parse_tai(inner.this.name)))


def _retype(literal: exp.Expr, kind: LogicalType, sql: str) -> None:
    makers: dict[LogicalType, Callable[[exp.Expr, str], exp.Expr]] = {
        _L.UUID: lambda node, text: _cast(_uuid(node, text), _L.UUID, node),
        _L.TIMESTAMP: lambda node, text: _cast(_timestamp(node, text), _L.TIMESTAMP, node),
        _L.INT64: _integer,
        _L.FLOAT64: _float,
        _L.BOOL: _boolean,
    }
    maker = makers.get(kind)
    if maker is None:
        raise _bad(literal, f"{kind} can't be compared with a text", "leave the comparison out", sql)
    fresh = maker(literal, sql)
    fresh.type = sql_type(kind)
    literal.replace(fresh)


def _cast(text: str, kind: LogicalType, origin: exp.Expr) -> exp.Expr:
    literal = exp.Literal.string(text)
    literal.meta.update(origin.meta)
    literal.type = sql_type(_L.STRING)
    return exp.Cast(this=literal, to=sql_type(kind))


def _integer(literal: exp.Expr, sql: str) -> exp.Expr:
    try:
        value = int(literal.name)
    except ValueError as error:
        raise _bad(
            literal, f"{literal.name!r} is not a whole number", "write a number without quotes", sql
        ) from error
    return _number(str(value))


def _float(literal: exp.Expr, sql: str) -> exp.Expr:
    try:
        value = float(literal.name)
    except ValueError as error:
        raise _bad(
            literal, f"{literal.name!r} is not a number", "write a number without quotes", sql
        ) from error
    if value != value or value in {float("inf"), float("-inf")}:
        raise _bad(literal, f"{literal.name!r} is not a finite number", "compare with a finite number", sql)
    return _number(repr(value))


def _number(text: str) -> exp.Expr:
    negative = text.startswith("-")
    literal = exp.Literal.number(text.lstrip("-"))
    literal.type = sql_type(_L.FLOAT64 if any(c in text for c in ".en") else _L.INT64)
    return exp.Neg(this=literal) if negative else literal


def _boolean(literal: exp.Expr, sql: str) -> exp.Expr:
    words = {
        "true": True,
        "t": True,
        "yes": True,
        "on": True,
        "false": False,
        "f": False,
        "no": False,
        "off": False,
    }
    value = words.get(literal.name.strip().lower())
    if value is None:
        raise _bad(literal, f"{literal.name!r} is not a truth value", "write TRUE or FALSE", sql)
    return exp.Boolean(this=value)
