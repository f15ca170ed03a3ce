"""Metrics that are written as columns become LEFT JOINs of table ``metric``, before chains are expanded.

A statement joins the table once for each name and table in FROM, over the schemas whose catalogs name the metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.draft import Arm, Relation
from federation.planner.expand import column, identifier
from federation.planner.pushdown import conjuncts
from federation.planner.qualify import schema_of
from federation.planner.resolve import best_copy, chain_order
from federation.planner.scopes import bound_columns, sources_of
from federation.planner.sqltypes import annotate

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["join_metrics"]

_ID = "dataset_id"
_COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)


def join_metrics(draft: Draft) -> None:
    """Rule: join table ``metric`` for every hidden column that is used, once for each name and table in FROM."""
    if not draft.metrics:
        return
    for select in list(draft.tree.find_all(exp.Select)):
        for alias, source in list(sources_of(select).items()):
            hidden = draft.metrics.get(source.name, {}) if isinstance(source, exp.Table) else {}
            for spelled, (name, type_) in hidden.items():
                used = [node for node in bound_columns(select, alias) if node.name == spelled]
                if used:
                    _join(draft, select, alias, name, type_, used)
    schema = schema_of({name: relation.columns for name, relation in draft.relations.items()})
    draft.tree = annotate(draft.tree, schema)


def _join(
    draft: Draft, select: exp.Select, alias: str, name: str, type_: LogicalType, used: list[exp.Column]
) -> None:
    _move_own_conditions(draft, select, alias, used)
    relation = _metric_relation(draft, name)
    draft.relations[relation.name] = relation
    joined = _free_alias(draft, f"{alias}.{name}")
    place = list(sources_of(select)).index(alias)
    condition = exp.and_(
        exp.EQ(this=column(_ID, joined), expression=column(_ID, alias)),
        exp.EQ(this=column("name", joined), expression=exp.Literal.string(name)),
        copy=False,
    )
    join = exp.Join(
        this=exp.Table(this=identifier(relation.name), alias=exp.TableAlias(this=identifier(joined))),
        on=condition,
        # a condition that no NULL fulfils leaves the rows that have the metric, and can be evaluated at their site
        side="" if _needs_value(select, used) else "LEFT",
    )
    joins = list(select.args.get("joins") or ())
    joins.insert(place, join)
    select.set("joins", joins)
    value = "value" if type_ is LogicalType.FLOAT64 else "value_text"
    for node in used:
        node.set("this", identifier(value))
        node.set("table", identifier(joined))
    schemas = ", ".join(str(arm.schema) for arm in relation.arms)
    draft.decide(f"{alias}.{name} is the metric {name!r}, which has values in {schemas}")


def _move_own_conditions(draft: Draft, select: exp.Select, alias: str, used: list[exp.Column]) -> None:
    """Conditions on the metric in the ON that joins its own table come after it: in WHERE."""
    joins = select.args.get("joins") or []
    own = next((join for join in joins if join.this.alias_or_name == alias), None)
    on = own.args.get("on") if own is not None else None
    if own is None or on is None:
        return
    inside = {id(node) for node in on.walk()}
    if not any(id(node) in inside for node in used):
        return
    later = joins[joins.index(own) + 1 :]
    if own.side or any(join.side in {"RIGHT", "FULL"} for join in later):
        raise draft.error(
            "a metric can't be in the ON of an outer join that brings its own table",
            next(node for node in used if id(node) in inside),
            hint="choose the metric's rows in a sub-select, and join that",
        )
    ids = {id(node) for node in used}
    stay: list[exp.Expr] = []
    move: list[exp.Expr] = []
    for condition in conjuncts(on):
        (move if any(id(node) in ids for node in condition.find_all(exp.Column)) else stay).append(condition)
    own.set("on", exp.and_(*stay, copy=False) if stay else None)
    if not stay:
        own.set("kind", "CROSS")
    where = select.args.get("where")
    parts = [*([where.this] if where else []), *move]
    select.set("where", exp.Where(this=exp.and_(*parts, copy=False)))


def _needs_value(select: exp.Select, used: list[exp.Column]) -> bool:
    """Whether WHERE has a comparison with the metric that NULL does not fulfil."""
    where = select.args.get("where")
    ids = {id(node) for node in used}
    for condition in conjuncts(where.this if where else None):
        operands = [condition.this]
        if isinstance(condition, _COMPARISONS):
            operands.append(condition.expression)
        elif not isinstance(condition, (exp.Between, exp.In)):
            continue
        if any(id(operand.unnest()) in ids for operand in operands):
            return True
    return False


def _metric_relation(draft: Draft, name: str) -> Relation:
    """Table ``metric`` of the schemas that have the metric, nearest first."""
    arms = []
    for level, schema in enumerate(chain_order(draft)):
        held = best_copy(draft.catalog, schema)
        table = held.table("metric")
        # a replica without some metrics can't tell that there are none of this name
        if table is not None and (name in held.metrics or table.name in held.partial_tables):
            arms.append(Arm(schema, table, level))
    table = arms[0].table
    number = f"#{len(draft.relations) + 1}"
    return Relation(number, table.name, table.columns, table.key, tuple(arms), False, None)


def _free_alias(draft: Draft, name: str) -> str:
    taken = {alias.name.lower() for alias in draft.tree.find_all(exp.TableAlias)}
    while name.lower() in taken:
        name += "_"
    return name
