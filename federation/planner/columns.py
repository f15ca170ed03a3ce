"""Sub-selects without the columns that nobody asks them for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.aggregate_parts import aggregates_of
from federation.planner.scopes import bound_columns, sources_of
from federation.planner.typed_nodes import named, typed

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["drop_columns"]


def drop_columns(draft: Draft) -> None:
    """Rule: drop unused outputs of sub-selects in FROM, through UNION ALL, and those of EXISTS."""
    for select in draft.tree.find_all(
        exp.Select
    ):  # outer ones first: what they drop, inner ones need not have
        for alias, source in sources_of(select).items():
            if isinstance(source, exp.Subquery) and not source.args["alias"].columns:
                used = {column.name for column in bound_columns(select, alias)}
                _keep(source.this, [n for n, name in enumerate(source.this.named_selects) if name in used])
        if isinstance(select.parent, exp.Exists) and not _counts_outputs(select):
            select.set("expressions", [named(typed(exp.Literal.number(1), LogicalType.INT64), "one")])


def _counts_outputs(select: exp.Select) -> bool:
    """Whether leaving out an output might change how many rows there are."""
    if select.args.get("distinct") or aggregates_of(select) or select.args.get("order"):
        return True
    return len(select.expressions) < 2


def _keep(query: exp.Expr, positions: list[int]) -> None:
    """Keep the outputs at some positions, one at least, where that leaves the rows as they are."""
    selects = _selects(query)
    if not selects or any(not _may_drop(select) for select in selects):
        return
    kept = positions or [0]
    for select in selects:
        needed = {*kept, *_ordered_by(select)}
        if len(selects) > 1 and needed != set(kept):
            return
    for select in selects:
        needed = {*kept, *_ordered_by(select)}
        select.set("expressions", [one for n, one in enumerate(select.expressions) if n in needed])


def _selects(query: exp.Expr) -> list[exp.Select]:
    """The SELECTs whose rows a query gives as they are; none where it compares them."""
    if isinstance(query, exp.Subquery):
        return [] if query.args.get("order") or query.args.get("with_") else _selects(query.this)
    if isinstance(query, exp.Select):
        return [query]
    if isinstance(query, exp.Union) and not query.args.get("distinct") and not query.args.get("order"):
        sides = [_selects(query.this), _selects(query.expression)]
        return [*sides[0], *sides[1]] if all(sides) else []
    return []


def _may_drop(select: exp.Select) -> bool:
    if select.args.get("distinct") or not select.args.get("from_"):
        return False
    # without GROUP BY an aggregate makes one row of all
    return bool(select.args.get("group")) or not aggregates_of(select)


def _ordered_by(select: exp.Select) -> set[int]:
    """Outputs that ORDER BY names."""
    order = select.args.get("order")
    names = {c.name for c in order.find_all(exp.Column) if not c.table} if order is not None else set()
    return {n for n, one in enumerate(select.expressions) if one.alias_or_name in names}
