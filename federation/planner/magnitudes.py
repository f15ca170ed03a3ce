"""Whether the sum of a column of whole numbers is certain to fit into 64 bits, by the bounds that sites publish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.scopes import sources_of
from federation.planner.unions import arms_of

if TYPE_CHECKING:
    from federation.planner.draft import Draft, Relation

__all__ = ["sum_fits"]

#: an eighth of what fits, since a table may have grown since its rows were counted
_SUM_MAX = 2**60


def sum_fits(draft: Draft, select: exp.Select, column: exp.Expr) -> bool:
    """Whether all rows' values of a column of one of the SELECT's sources add up to a 64-bit integer."""
    found = _size(draft, select, column)
    return found is not None and found[0] * found[1] < _SUM_MAX


def _size(draft: Draft, select: exp.Select, node: exp.Expr) -> tuple[int, int] | None:
    """The greatest magnitude of a value, and the number of rows; None where either is not known."""
    if (
        isinstance(node, exp.Literal)
        and node.is_int
        and not select.args.get("joins")
        and select.args.get("from_")
    ):
        relation = draft.relations.get(select.args["from_"].this.name)
        rows = _rows(relation) if relation is not None else None
        return None if rows is None else (int(node.name), rows)
    source = sources_of(select).get(node.table) if isinstance(node, exp.Column) else None
    if isinstance(source, exp.Table):
        relation = draft.relations.get(source.name)
        return _table_size(relation, node.name) if relation is not None else None
    if not isinstance(source, exp.Subquery):
        return None
    position = source.this.named_selects.index(node.name)
    sizes = []
    for arm in arms_of(source.this):
        if not isinstance(arm, exp.Select) or arm.args.get("joins"):
            return None  # joins may give a row many times
        sizes.append(_size(draft, arm, arm.selects[position].unalias()))
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes):
        return None
    return max(magnitude for magnitude, _ in known), sum(rows for _, rows in known)


def _rows(relation: Relation) -> int | None:
    counts = [arm.row_count for arm in relation.arms]
    return None if None in counts else sum(count or 0 for count in counts)


def _table_size(relation: Relation, name: str) -> tuple[int, int] | None:
    bounds = []
    for arm in relation.arms:
        stats = arm.stats.get(name)
        if stats is None or not isinstance(stats.low, int) or not isinstance(stats.high, int):
            return None
        bounds.append(max(abs(stats.low), abs(stats.high)))
    rows = _rows(relation)
    return None if rows is None else (max(bounds, default=0), rows)
