"""Rough sizes of fragments from the statistics that sites publish: rows, and bytes in Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.pushdown import conjuncts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from federation.planner.draft import Relation
    from federation.planner.plan import OutputColumn

__all__ = ["estimate_bytes", "estimate_rows"]

_WIDTH: dict[LogicalType, int] = {
    LogicalType.INT64: 8,
    LogicalType.FLOAT64: 8,
    LogicalType.BOOL: 1,
    LogicalType.STRING: 20,
    LogicalType.BYTES: 200,
    LogicalType.UUID: 16,
    LogicalType.TIMESTAMP: 8,
}
_EQUALITY = 0.1
_RANGE = 0.3
_GROUPS = 0.1


def estimate_bytes(rows: int | None, columns: Iterable[OutputColumn]) -> int | None:
    """Bytes of that many rows."""
    if rows is None:
        return None
    return rows * sum(_WIDTH[column.type] if column.type else 16 for column in columns)


def estimate_rows(query: exp.Expr, relations: Mapping[str, Relation]) -> int | None:
    """Rows of a query over relations; None where a table has no statistics.

    Joins are taken to follow references (the larger side's rows survive); an equality keeps a tenth of the rows, a
    range a third.
    """
    rows = _rows(query, relations, {})
    return None if rows is None else max(0, round(rows))


def _rows(query: exp.Expr, relations: Mapping[str, Relation], ctes: dict[str, float | None]) -> float | None:
    known = dict(ctes)
    with_ = query.args.get("with_")
    for cte in with_.expressions if with_ else ():
        known[cte.alias] = _rows(cte.this, relations, known)
    rows: float | None
    if isinstance(query, exp.Subquery):
        rows = _rows(query.this, relations, known)
    elif isinstance(query, exp.SetOperation):
        left, right = (_rows(side, relations, known) for side in (query.left, query.right))
        rows = (
            None if left is None or right is None else left + right if isinstance(query, exp.Union) else left
        )
    elif isinstance(query, exp.Select):
        rows = _select_rows(query, relations, known)
    else:
        rows = None
    limit = query.args.get("limit")
    count = limit.args.get("expression") or limit.args.get("count") if limit else None
    if isinstance(count, exp.Literal):
        rows = float(count.name) if rows is None else min(rows, float(count.name))
    return rows


def _select_rows(
    select: exp.Select, relations: Mapping[str, Relation], ctes: dict[str, float | None]
) -> float | None:
    if not select.args.get("group") and any(e.unalias().find(exp.AggFunc) for e in select.expressions):
        return 1.0
    from_ = select.args.get("from_")
    sources = ([from_.this] if from_ else []) + [join.this for join in select.args.get("joins") or ()]
    sizes = [_source_rows(source, relations, ctes) for source in sources]
    if any(size is None for size in sizes):
        return None
    rows = max((size for size in sizes if size is not None), default=1.0)
    where = select.args.get("where")
    conditions = conjuncts(where.this if where else None)
    conditions += [c for join in select.args.get("joins") or () for c in conjuncts(join.args.get("on"))]
    for condition in conditions:
        if len({column.table for column in condition.find_all(exp.Column)}) < 2:
            rows *= _EQUALITY if isinstance(condition, (exp.EQ, exp.In)) else _RANGE
    if select.args.get("group"):
        rows *= _GROUPS
    return max(rows, 1.0) if max((size or 0 for size in sizes), default=1) else 0.0


def _source_rows(
    source: exp.Expr, relations: Mapping[str, Relation], ctes: dict[str, float | None]
) -> float | None:
    if isinstance(source, exp.Table):
        relation = relations.get(source.name)
        if relation is None:
            return ctes.get(source.name)
        counts = [arm.row_count for arm in relation.arms]
        return None if None in counts else float(sum(count or 0 for count in counts))
    return _rows(source.this if isinstance(source, exp.Subquery) else source, relations, ctes)
