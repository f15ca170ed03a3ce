"""Aggregates taken apart: what is computed of some rows early, and how the whole is made of it later.

``count``, ``sum``, ``avg``, ``min`` and ``max`` of one source's columns are made of parts of groups of its rows. Those
of other sources' columns, and ``count(*)``, count each row as often as rows were put together in its group. Aggregates
that do not look at how often a value comes stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.expand import column
from federation.planner.outer_joins import rejects_nulls
from federation.planner.pushable import obstacle
from federation.planner.scopes import own_nodes
from federation.planner.sqltypes import logical_type, sql_type
from federation.planner.typed_nodes import typed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Parts", "aggregates_of"]

_L = LogicalType
#: aggregates whose result does not change when a row comes more than once
_INSENSITIVE = (exp.Min, exp.Max, exp.LogicalAnd, exp.LogicalOr, exp.AnyValue)
_SPLIT = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max)
_ORDERED = {_L.INT64, _L.FLOAT64, _L.STRING, _L.TIMESTAMP}
_NUMERIC = {_L.INT64, _L.FLOAT64}


def aggregates_of(select: exp.Select) -> list[exp.Expr]:
    """The aggregates of one SELECT itself, each with its FILTER or WITHIN GROUP; windows are none."""
    clauses = [*select.expressions, select.args.get("having"), select.args.get("order")]
    found: list[exp.Expr] = []
    for clause in clauses:
        for node in (clause, *own_nodes(clause)) if clause is not None else ():
            if not isinstance(node, exp.AggFunc) or isinstance(node.parent, exp.Window):
                continue
            while isinstance(node.parent, (exp.Filter, exp.WithinGroup)):
                node = node.parent
            if not isinstance(node.parent, exp.Window):
                found.append(node)
    return found


@attrs.define
class Parts:
    """The aggregates of one SELECT with regard to one of its sources, ``alias``.

    ``is_extended`` says that an outer join may extend the source with NULLs, so that a row of the join without a
    partner counts once; ``fits`` whether all values of a column of whole numbers add up to one of 64 bits. ``early``
    are the aggregates of the early SELECT by the name of its output.
    """

    alias: str
    is_extended: bool
    fits: Callable[[exp.Expr], bool]
    early: dict[str, exp.Expr] = attrs.field(factory=dict)
    _later: list[tuple[exp.Expr, Callable[[], exp.Expr]]] = attrs.field(factory=list)
    _moved: set[int] = attrs.field(factory=set)
    _row_count: str = ""

    @classmethod
    def of(
        cls, select: exp.Select, alias: str, fits: Callable[[exp.Expr], bool], *, is_extended: bool
    ) -> Parts | None:
        """None where some aggregate can't be taken apart."""
        parts = cls(alias, is_extended, fits)
        for aggregate in aggregates_of(select):
            if not parts._take(aggregate):
                return None
        return parts

    def is_moved(self, used: exp.Column) -> bool:
        """Whether a column of the source is only there for an early aggregate."""
        return id(used) in self._moved

    def finish(self) -> None:
        """Replace the aggregates in the SELECT by the wholes."""
        for aggregate, make in self._later:
            whole = make()
            whole.type = aggregate.type
            aggregate.replace(whole)

    def _take(self, aggregate: exp.Expr) -> bool:
        function, condition = _unfiltered(aggregate)
        if function is None or aggregate.find(exp.Query) is not None:
            return False
        argument = function.this
        is_distinct = isinstance(argument, exp.Distinct)
        if isinstance(function, _SPLIT) and not is_distinct and self._take_early(aggregate):
            return True
        if is_distinct or isinstance(function, _INSENSITIVE):
            return True
        if not isinstance(function, (exp.Count, exp.Sum, exp.Avg)):
            return False
        if not isinstance(function, exp.Count) and logical_type(argument) not in _NUMERIC:
            return False
        self._later.append((aggregate, lambda: self._weighted(function, condition)))
        self._weight()
        return True

    def _take_early(self, aggregate: exp.Expr) -> bool:
        """Have the aggregate computed of groups of the source's rows, where a site does that as the local engine."""
        function, condition = _unfiltered(aggregate)
        assert function is not None
        value = _row_value(function) if condition is None else _where(function, condition)
        if _sources(aggregate) != {self.alias}:
            return False
        # of NULLs, as in a row without a partner, any other expression may be more than NULL
        drops = condition is not None and rejects_nulls(condition, self.alias)
        if self.is_extended and not drops and not isinstance(function.this, exp.Column):
            return False
        kind = logical_type(value)
        wanted: list[tuple[str, exp.Expr, LogicalType | None]]
        match function:
            case exp.Count():
                wanted = [("count", exp.Count(this=value), _L.INT64)]
            case exp.Min() | exp.Max() if kind in _ORDERED:
                wanted = [(function.key, type(function)(this=value), kind)]
            case exp.Sum() if kind in _NUMERIC:
                wanted = [("sum", exp.Sum(this=value), kind)]
            case exp.Avg() if kind is _L.FLOAT64 or (kind is _L.INT64 and self.fits(function.this)):
                count = exp.Count(this=value.copy())
                wanted = [("sum", exp.Sum(this=value), kind), ("count", count, _L.INT64)]
            case _:
                return False
        if any(obstacle(typed(part, type_)) is not None for _, part, type_ in wanted):
            return False
        names = [self._early(name, part) for name, part, _ in wanted]
        self._moved |= {id(used) for used in aggregate.find_all(exp.Column)}
        self._later.append((aggregate, lambda: self._whole(function, names)))
        return True

    def _early(self, name: str, aggregate: exp.Expr) -> str:
        """The name of an early aggregate, the same for equal ones."""
        for known, other in self.early.items():
            if other == aggregate:
                return known
        fresh = f"#{name}{len(self.early) + 1}"
        self.early[fresh] = aggregate
        return fresh

    def _weight(self) -> exp.Expr:
        """As how many rows a row counts."""
        if not self._row_count:
            self._row_count = self._early("count", typed(exp.Count(this=exp.Star()), _L.INT64))
        count = self._part(self._row_count)
        if not self.is_extended:
            return count
        return typed(exp.Coalesce(this=count, expressions=[_number(1)]), _L.INT64)

    def _part(self, name: str) -> exp.Expr:
        return typed(column(name, self.alias), logical_type(self.early[name]))

    def _whole(self, function: exp.Expr, names: list[str]) -> exp.Expr:
        parts = [self._part(name) for name in names]
        kind = logical_type(parts[0])
        match function:
            case exp.Count():
                return _or_zero(_sum(parts[0]))
            case exp.Min() | exp.Max():
                return typed(type(function)(this=parts[0]), kind)
            case exp.Sum():
                return _sum(parts[0])
            case _:
                return _ratio(_sum(_double(parts[0])), _sum(parts[1]))

    def _weighted(self, function: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        argument, weight = _row_value(function), self._weight()
        is_null = exp.paren(exp.Is(this=exp.paren(argument), expression=exp.Null()), copy=False)
        filled = typed(exp.Case(ifs=[exp.If(this=exp.Not(this=is_null), true=weight)]), _L.INT64)
        if isinstance(function, exp.Count):
            every = isinstance(argument, (exp.Star, exp.Literal))
            return _or_zero(_filtered(_sum(weight if every else filled), condition))
        if isinstance(function, exp.Avg) or logical_type(argument) is _L.FLOAT64:
            product = exp.Mul(this=exp.paren(_double(argument)), expression=_double(weight))
            total = _filtered(_sum(typed(product, _L.FLOAT64)), condition)
            if isinstance(function, exp.Sum):
                return total
            return _ratio(total, _filtered(_sum(filled), condition))
        # products of 64 bits are added in 128, so that the sum is an error only when it does not fit itself
        wide = exp.Cast(this=argument, to=exp.DataType(this=exp.DataType.Type.INT128, nested=False))
        total = _filtered(exp.Sum(this=exp.Mul(this=wide, expression=weight)), condition)
        return typed(exp.Cast(this=total, to=sql_type(_L.INT64)), _L.INT64)


def _sources(node: exp.Expr) -> set[str]:
    return {used.table for used in node.find_all(exp.Column)}


def _unfiltered(aggregate: exp.Expr) -> tuple[exp.Expr | None, exp.Expr | None]:
    """An aggregate function and the condition of its FILTER; None for one that can't be looked into."""
    if isinstance(aggregate, exp.Filter) and isinstance(aggregate.this, exp.AggFunc):
        return aggregate.this, aggregate.expression.this
    return (aggregate, None) if isinstance(aggregate, exp.AggFunc) else (None, None)


def _row_value(function: exp.Expr) -> exp.Expr:
    value = function.this
    return value.copy() if isinstance(value, exp.Expr) else exp.Star()


def _where(function: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """What ``function(...) FILTER (WHERE condition)`` takes of a row: NULL where the condition does not hold."""
    value = _row_value(function)
    if isinstance(value, exp.Star):
        value = _number(1)
    kind = logical_type(value)
    branch = typed(exp.If(this=condition.copy(), true=value), kind)
    return typed(exp.Case(ifs=[branch]), kind)


def _filtered(aggregate: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
    if condition is None:
        return aggregate
    kept = exp.Filter(this=aggregate, expression=exp.Where(this=condition.copy()))
    kept.type = aggregate.type
    return kept


def _number(value: int) -> exp.Expr:
    return typed(exp.Literal.number(value), _L.INT64)


def _sum(node: exp.Expr) -> exp.Expr:
    return typed(exp.Sum(this=node), logical_type(node))


def _double(node: exp.Expr) -> exp.Expr:
    if logical_type(node) is _L.FLOAT64:
        return node
    return typed(exp.Cast(this=node, to=sql_type(_L.FLOAT64)), _L.FLOAT64)


def _or_zero(node: exp.Expr) -> exp.Expr:
    return typed(exp.Coalesce(this=node, expressions=[_number(0)]), _L.INT64)


def _ratio(total: exp.Expr, count: exp.Expr) -> exp.Expr:
    """``total / count``; without a row both the total and the quotient are NULL."""
    return typed(exp.paren(exp.Div(this=total, expression=_double(count)), copy=False), _L.FLOAT64)
