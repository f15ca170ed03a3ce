"""The statements of a find-first: rows in the order of runs for a site, and the same answer for the local engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.expand import column, identifier, output
from federation.planner.fragments import unique_names
from federation.planner.sqltypes import logical_type, sql_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Relation
    from federation.planner.plan import FindFirst

__all__ = ["FirstOfEach", "local_tree", "ordered_rows"]

#: columns of the fragment and of the local statement; no logical column has such a name
PLACE, FIRST = "#place", "#first"


@attrs.frozen
class FirstOfEach:
    """A statement for the first row of each ``key``, taken apart; columns are those of ``relation``.

    ``values`` of the column ``ordered_by`` are in the order of preference.
    """

    relation: Relation
    alias: str
    outputs: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    ordered_by: str
    values: tuple[str, ...]
    conditions: tuple[exp.Expr, ...]
    limit: int | None


def ordered_rows(found: FirstOfEach) -> exp.Select:
    """``SELECT columns, CASE run WHEN ... END AS place FROM table WHERE run IN (...) AND ... ORDER BY place``."""
    wanted = dict.fromkeys((*(name for name, _ in found.outputs), *found.key))
    types = {definition.name: definition.type for definition in found.relation.columns}
    expressions: list[exp.Expr] = []
    for name in wanted:
        shown = column(name, found.alias)
        shown.type = sql_type(types[name])
        expressions.append(output(shown, name))
        expressions[-1].type = shown.type
    ordered_by = column(found.ordered_by, found.alias)
    ordered_by.type = sql_type(types[found.ordered_by])
    case = exp.Case(
        this=ordered_by,
        ifs=[exp.If(this=_text(value), true=_number(place)) for place, value in enumerate(found.values)],
    )
    case.type = sql_type(LogicalType.INT64)
    place_name = unique_names([*wanted, PLACE])[-1]
    expressions.append(output(case, place_name))
    expressions[-1].type = case.type
    listed = exp.In(this=ordered_by.copy(), expressions=[_text(value) for value in found.values])
    condition: exp.Expr = exp.and_(listed, *(c.copy() for c in found.conditions), copy=False)
    for part in condition.find_all(exp.And, exp.In):
        part.type = sql_type(LogicalType.BOOL)
    source = exp.Table(
        this=identifier(found.relation.name), alias=exp.TableAlias(this=identifier(found.alias))
    )
    ordering = exp.Column(this=identifier(place_name))
    ordering.type = case.type
    return exp.Select(
        expressions=expressions,
        from_=exp.From(this=source),
        where=exp.Where(this=condition),
        order=exp.Order(expressions=[exp.Ordered(this=ordering)]),
    )


def _text(value: str) -> exp.Literal:
    literal = exp.Literal.string(value)
    literal.type = sql_type(LogicalType.STRING)
    return literal


def _number(value: int) -> exp.Expr:
    literal = exp.Literal.number(value)
    literal.type = sql_type(LogicalType.INT64)
    return literal


def local_tree(found: FindFirst, names: Sequence[str], query: exp.Select) -> exp.Select:
    """The same for the local engine: what `FindFirst` must give, and how it is shown."""
    kinds = {select.alias_or_name: logical_type(select) for select in query.selects}
    window = exp.Window(
        this=exp.RowNumber(),
        partition_by=[column(name, found.fragment) for name in found.key],
        order=exp.Order(expressions=[exp.Ordered(this=column(found.place, found.fragment))]),
    )
    expressions: list[exp.Expr] = []
    for source, name in zip(found.outputs, names, strict=True):
        shown = column(source, found.fragment)
        kind = kinds.get(source)
        if kind is not None:
            shown.type = sql_type(kind)
        expressions.append(output(shown, name))
        expressions[-1].type = shown.type
    table = exp.Table(this=identifier(found.fragment), alias=exp.TableAlias(this=identifier(found.fragment)))
    inner = exp.Select(
        expressions=[
            *(output(column(name, found.fragment), name) for name in dict.fromkeys(found.outputs)),
            output(window, FIRST),
        ],
        from_=exp.From(this=table),
    )
    one = exp.EQ(this=column(FIRST, found.fragment), expression=exp.Literal.number(1))
    tree = exp.Select(
        expressions=expressions,
        from_=exp.From(this=exp.Subquery(this=inner, alias=exp.TableAlias(this=identifier(found.fragment)))),
        where=exp.Where(this=one),
    )
    if found.limit is not None:
        tree.set("limit", exp.Limit(expression=exp.Literal.number(found.limit)))
    return tree
