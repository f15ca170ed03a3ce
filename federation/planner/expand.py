"""A logical table as a query over the schemas of its chain: one table, a UNION ALL, or the nearest row per key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.sqltypes import sql_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.planner.draft import Arm, Relation

__all__ = [
    "arm_select",
    "below_shadowing",
    "column",
    "empty_select",
    "expand_relation",
    "identifier",
    "nearest_rows",
]

#: columns that shadowing adds; no logical column has such a name
LEVEL = "#level"
RANK = "#rank"


def identifier(name: str) -> exp.Identifier:
    """A quoted identifier."""
    return exp.to_identifier(name, quoted=True)


def column(name: str, table: str) -> exp.Column:
    """A qualified column."""
    return exp.Column(this=identifier(name), table=identifier(table))


def output(expression: exp.Expr, name: str) -> exp.Alias:
    """``expression AS name``."""
    return exp.Alias(this=expression, alias=identifier(name))


def below_shadowing(relation: Relation, conditions: Iterable[exp.Expr]) -> tuple[exp.Expr, ...]:
    """The conditions that may be evaluated before the nearest row is chosen.

    With several arms these are the ones on columns in which all rows of one key agree.
    """
    if len(relation.arms) < 2:
        return tuple(conditions)
    fixed = set(relation.key)
    fixed |= {
        name
        for name in relation.arms[0].table.column_names
        if all(
            name in arm.table.column_names and arm.table.column(name).key_determined for arm in relation.arms
        )
    }
    return tuple(c for c in conditions if {column.name for column in c.find_all(exp.Column)} <= fixed)


def arm_select(
    relation: Relation, arm: Arm, alias: str, names: Sequence[str], conditions: Sequence[exp.Expr]
) -> exp.Select:
    """The columns ``names`` of one arm; NULL where the arm's table lacks one."""
    present = set(arm.table.column_names)
    types = {definition.name: definition.type for definition in relation.columns}
    select = exp.Select(
        expressions=[
            output(column(name, alias) if name in present else _null(types[name]), name) for name in names
        ],
        from_=exp.From(this=physical_table(arm, alias)),
    )
    usable = [c for c in conditions if {column.name for column in c.find_all(exp.Column)} <= present]
    return with_conditions(select, usable)


def _null(logical: object) -> exp.Expr:
    return exp.Cast(this=exp.Null(), to=sql_type(logical))  # type: ignore[arg-type]


def with_conditions(select: exp.Select, conditions: Sequence[exp.Expr]) -> exp.Select:
    """``select`` with the conditions, each in parentheses where needed, as its WHERE."""
    if conditions:
        select.set("where", exp.Where(this=exp.and_(*(c.copy() for c in conditions), copy=False)))
    return select


def physical_table(arm: Arm, alias: str) -> exp.Table:
    """``"site/schema"."table" AS alias``: how fragments name a table."""
    return exp.Table(
        this=identifier(arm.table.name),
        db=identifier(str(arm.schema)),
        alias=exp.TableAlias(this=identifier(alias)),
    )


def expand_relation(
    relation: Relation, alias: str, names: Sequence[str], conditions: Sequence[exp.Expr]
) -> exp.Expr:
    """The source that stands for a relation in a fragment, all of whose arms its site holds."""
    first = relation.arms[0]
    if len(relation.arms) == 1 and set(names) <= set(first.table.column_names):
        return physical_table(first, alias)
    wanted = dict.fromkeys((*names, *relation.key)) if len(relation.arms) > 1 else names
    below = below_shadowing(relation, conditions)
    arms = [arm_select(relation, arm, alias, list(wanted), below) for arm in relation.arms]
    return nearest_rows(arms, names, relation.key if len(arms) > 1 else (), alias)


def nearest_rows(
    arms: Sequence[exp.Select], names: Sequence[str], key: Sequence[str], alias: str
) -> exp.Subquery:
    """The union of ``arms`` as a source; with a key, the first arm's row of each key only."""
    if len(arms) > 1 and key:
        for level, arm in enumerate(arms):
            arm.append("expressions", output(exp.Literal.number(level), LEVEL))
    union: exp.Query = arms[0]
    for arm in arms[1:]:
        union = exp.Union(this=union, expression=arm, distinct=False)
    if len(arms) == 1 or not key:
        return exp.Subquery(this=union, alias=exp.TableAlias(this=identifier(alias)))
    rank = exp.Window(
        this=exp.RowNumber(),
        partition_by=[column(name, "#arms") for name in key],
        order=exp.Order(expressions=[exp.Ordered(this=column(LEVEL, "#arms"), nulls_first=False)]),
    )
    ranked = exp.Select(
        expressions=[*(output(column(name, "#arms"), name) for name in names), output(rank, RANK)],
        from_=exp.From(this=exp.Subquery(this=union, alias=exp.TableAlias(this=identifier("#arms")))),
    )
    nearest = exp.Select(
        expressions=[output(column(name, "#ranked"), name) for name in names],
        from_=exp.From(this=exp.Subquery(this=ranked, alias=exp.TableAlias(this=identifier("#ranked")))),
        where=exp.Where(this=exp.EQ(this=column(RANK, "#ranked"), expression=exp.Literal.number(1))),
    )
    return exp.Subquery(this=nearest, alias=exp.TableAlias(this=identifier(alias)))


def empty_select(relation: Relation, names: Sequence[str], alias: str) -> exp.Subquery:
    """A source with the right columns and no rows."""
    types = {definition.name: definition.type for definition in relation.columns}
    select = exp.Select(
        expressions=[output(_null(types[name]), name) for name in names], where=exp.Where(this=exp.false())
    )
    return exp.Subquery(this=select, alias=exp.TableAlias(this=identifier(alias)))
