"""Conditions that are known before anything is read: constants compared, AND and OR of what is known, contradictions.

Only constants that all databases compare alike are looked at: whole and decimal numbers, texts by code point, truth
values, UUIDs and timestamps. Nothing that could be an error when it is evaluated is evaluated here.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.pushdown import conjuncts
from federation.planner.selectivity import literal_value
from federation.planner.sqltypes import logical_type
from federation.planner.typed_nodes import conjunction, set_where, typed

if TYPE_CHECKING:
    from federation.model.statistics import Value
    from federation.planner.draft import Draft

__all__ = ["Known", "fold_conditions", "is_false", "known_value"]

_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


class Known(enum.Enum):
    """What is known of a condition; ``NULL`` is neither true nor false, ``NOTHING`` that rows must tell."""

    TRUE = "true"
    FALSE = "false"
    NULL = "null"
    NOTHING = "nothing"


def fold_conditions(draft: Draft) -> None:
    """Rule: drop conditions that always hold; a WHERE that no row meets becomes FALSE."""
    for select in draft.tree.find_all(exp.Select):
        where = select.args.get("where")
        if where is not None:
            parts = [_folded(part) for part in conjuncts(where.this)]
            kept = [part for part in parts if not (isinstance(part, exp.Boolean) and part.this)]
            if any(is_false(part) for part in kept) or _contradict(kept):
                if not (len(kept) == 1 and is_false(kept[0])):
                    draft.decide("no row can meet the conditions of a WHERE")
                kept = [_boolean(False)]
            set_where(select, kept)
        for join in select.args.get("joins") or ():
            on = join.args.get("on")
            if on is not None and on.find(exp.Boolean, exp.Literal) is not None:
                join.set("on", conjunction([_folded(part) for part in conjuncts(on)]))


def is_false(condition: exp.Expr) -> bool:
    """Whether a folded condition holds for no row."""
    return isinstance(condition, exp.Null) or (isinstance(condition, exp.Boolean) and not condition.this)


def _boolean(value: bool) -> exp.Expr:
    return typed(exp.Boolean(this=value), LogicalType.BOOL)


def _folded(condition: exp.Expr) -> exp.Expr:
    """A condition of WHERE or ON as short as what is known makes it; NULL counts as false there."""
    known = known_value(condition)
    if known is Known.TRUE:
        return _boolean(True)
    if known in {Known.FALSE, Known.NULL}:
        return _boolean(False)
    inner = condition.unnest()
    if isinstance(inner, exp.Or):
        left, right = _folded(inner.this), _folded(inner.expression)
        if is_false(left):
            return right
        if is_false(right):
            return left
    return condition


def known_value(node: exp.Expr) -> Known:
    """What three-valued logic says of a condition without rows."""
    node = node.unnest()
    match node:
        case exp.Boolean():
            return Known.TRUE if node.this else Known.FALSE
        case exp.Null():
            return Known.NULL
        case exp.And():
            return _both(known_value(node.this), known_value(node.expression))
        case exp.Or():
            return _not(_both(_not(known_value(node.this)), _not(known_value(node.expression))))
        case exp.Not():
            return _not(known_value(node.this))
        case exp.Is():
            return _is(node)
        case exp.In():
            if node.args.get("query") is not None or not node.expressions:
                return Known.NOTHING
            known = Known.FALSE
            for one in node.expressions:
                equal = _compared(exp.EQ, node.this, one)
                known = _not(_both(_not(known), _not(equal)))
            return known
        case exp.Between():
            low = _compared(exp.GTE, node.this, node.args["low"])
            return _both(low, _compared(exp.LTE, node.this, node.args["high"]))
        case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            return _compared(type(node), node.this, node.expression)
    return Known.NOTHING


def _not(known: Known) -> Known:
    return {Known.TRUE: Known.FALSE, Known.FALSE: Known.TRUE}.get(known, known)


def _both(one: Known, other: Known) -> Known:
    if Known.FALSE in (one, other):
        return Known.FALSE
    if Known.NOTHING in (one, other):
        return Known.NOTHING
    return Known.NULL if Known.NULL in (one, other) else Known.TRUE


def _is(node: exp.Is) -> Known:
    value = node.this.unnest()
    if not isinstance(node.expression, exp.Null):
        return Known.NOTHING
    if isinstance(value, exp.Null):
        known = Known.TRUE
    else:
        known = Known.NOTHING if literal_value(value) is None else Known.FALSE
    return _not(known) if node.args.get("negate") else known


def _compared(kind: type[exp.Expr], left: exp.Expr, right: exp.Expr) -> Known:
    one, other = literal_value(left), literal_value(right)
    sides = (left.unnest(), right.unnest())
    if any(isinstance(side, exp.Null) for side in sides) and all(
        isinstance(side, (exp.Null, exp.Column)) or literal_value(side) is not None for side in sides
    ):
        return Known.NULL
    if one is None or other is None or not _alike(left, right):
        return Known.NOTHING
    found: dict[type[exp.Expr], bool] = {
        exp.EQ: one == other,
        exp.NEQ: one != other,
        exp.LT: one < other,  # type: ignore[operator]
        exp.LTE: one <= other,  # type: ignore[operator]
        exp.GT: one > other,  # type: ignore[operator]
        exp.GTE: one >= other,  # type: ignore[operator]
    }
    return Known.TRUE if found[kind] else Known.FALSE


def _alike(left: exp.Expr, right: exp.Expr) -> bool:
    """Whether two constants are of one type, or numbers both."""
    numbers = {LogicalType.INT64, LogicalType.FLOAT64}
    kinds = {logical_type(side.unnest()) for side in (left, right)}
    return None not in kinds and (len(kinds) == 1 or kinds <= numbers)


@attrs.define
class _Range:
    """The values that conditions leave to one column: some, and those between two bounds."""

    values: set[Value] | None = None
    low: Value | None = None
    high: Value | None = None
    is_low_open: bool = False
    is_high_open: bool = False

    def meet(self, values: set[Value]) -> None:
        self.values = values if self.values is None else self.values & values

    def raise_low(self, value: Value, *, is_open: bool) -> None:
        if self.low is None or value > self.low:  # type: ignore[operator]
            self.low, self.is_low_open = value, is_open
        elif value == self.low:
            self.is_low_open |= is_open

    def reduce_high(self, value: Value, *, is_open: bool) -> None:
        if self.high is None or value < self.high:  # type: ignore[operator]
            self.high, self.is_high_open = value, is_open
        elif value == self.high:
            self.is_high_open |= is_open

    def is_empty(self) -> bool:
        """Whether no value is left."""
        if self.values is not None:
            return not any(self._admits(value) for value in self.values)
        if self.low is None or self.high is None:
            return False
        is_open = self.is_low_open or self.is_high_open
        return self.low > self.high or (is_open and self.low == self.high)  # type: ignore[operator]

    def _admits(self, value: Value) -> bool:
        above = self.low is None or value > self.low or (value == self.low and not self.is_low_open)  # type: ignore[operator]
        below = self.high is None or value < self.high or (value == self.high and not self.is_high_open)  # type: ignore[operator]
        return above and below


def _contradict(conditions: list[exp.Expr]) -> bool:
    """Whether no value of some column meets all conditions on it."""
    ranges: dict[tuple[str, str], _Range] = {}
    for condition in conditions:
        column = (
            condition.this.unnest() if isinstance(condition, (*_COMPARISONS, exp.In, exp.Between)) else None
        )
        if not isinstance(column, exp.Column) or logical_type(column) in {None, LogicalType.FLOAT64}:
            continue
        known = ranges.setdefault((column.table, column.name), _Range())
        _narrow(known, column, condition)
    return any(known.is_empty() for known in ranges.values())


def _narrow(known: _Range, column: exp.Column, condition: exp.Expr) -> None:
    def constant(node: exp.Expr) -> Value | None:
        return literal_value(node) if _alike(column, node) else None

    if isinstance(condition, exp.In):
        values = [constant(one) for one in condition.expressions]
        if values and None not in values:
            known.meet({value for value in values if value is not None})
        return
    bounds: list[tuple[type[exp.Expr], exp.Expr]] = [
        (type(condition), condition.args.get("expression") or condition)
    ]
    if isinstance(condition, exp.Between):
        bounds = [(exp.GTE, condition.args["low"]), (exp.LTE, condition.args["high"])]
    for kind, node in bounds:
        value = constant(node)
        if value is None:
            continue
        if kind is exp.EQ:
            known.meet({value})
        elif kind in (exp.GT, exp.GTE):
            known.raise_low(value, is_open=kind is exp.GT)
        elif kind in (exp.LT, exp.LTE):
            known.reduce_high(value, is_open=kind is exp.LT)
