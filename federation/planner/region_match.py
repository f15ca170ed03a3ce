"""A join of two fragments on their regions and on nothing else: its rows are the pairs, beside each other.

Where the statement only says which columns of such a pair are wanted, the executor need not load the fragments into
the local engine to match the pairs with them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.plan import RegionMatch
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import sources_of
from federation.planner.sqltypes import logical_type
from federation.planner.wording import function_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.planner.draft import Draft
    from federation.planner.plan import Fragment

__all__ = ["match_regions"]

#: parts of a SELECT and of a JOIN that this rule understands
_SELECT = {"expressions", "from_", "joins", "where", "kind"}
_JOIN = {"this", "on", "kind"}


def match_regions(draft: Draft) -> None:
    """Rule: say that the rows are pairs of regions (`RegionMatch`), where the statement is of that form."""
    tree = draft.tree
    fragments = _joined(draft)
    if fragments is None:
        return
    assert isinstance(tree, exp.Select)
    where = tree.args.get("where")
    conditions = [*conjuncts(tree.args["joins"][0].args.get("on")), *conjuncts(where.this if where else None)]
    on_regions = [condition for condition in conditions if _kind(condition) is not None]
    if len(on_regions) != 1 or not all(
        condition is on_regions[0] or _is_met(draft, fragments, condition) for condition in conditions
    ):
        return
    outputs = [_column(select.unalias(), fragments) for select in tree.selects]
    sides = _sides(on_regions[0], fragments)
    shown = [output for output in outputs if output is not None]
    if sides is None or len(shown) < len(outputs) or any(column.type is None for column in draft.columns):
        return
    (left, left_columns), (right, right_columns) = sides
    draft.region_match = RegionMatch(
        _kind(on_regions[0]) or "", left, left_columns[0], right, right_columns, tuple(shown)
    )
    draft.decide(f"the rows are the pairs of {left} and {right}: the local engine is not needed to join them")


def _joined(draft: Draft) -> dict[str, Fragment] | None:
    """The two fragments that the statement joins, by alias; None where it is more than that."""
    tree = draft.tree
    if not isinstance(tree, exp.Select) or draft.find_first is not None:
        return None
    joins = tree.args.get("joins") or []
    if any(tree.args.get(part) for part in tree.args.keys() - _SELECT) or len(joins) != 1:
        return None
    join = joins[0]
    is_inner = join.kind in ("", "INNER", "CROSS")
    if any(join.args.get(part) for part in join.args.keys() - _JOIN) or not is_inner:
        return None
    known = {fragment.id: fragment for fragment in draft.fragments}
    found = {
        alias: known[source.name]
        for alias, source in sources_of(tree).items()
        if isinstance(source, exp.Table) and source.name in known
    }
    return found if len(found) == 2 and len({fragment.id for fragment in found.values()}) == 2 else None


def _kind(condition: exp.Expr) -> str | None:
    if not isinstance(condition, exp.Anonymous):
        return None
    return {"region_overlaps": "overlap", "region_contains": "contain"}.get(function_name(condition))


def _column(node: exp.Expr, fragments: Mapping[str, Fragment]) -> tuple[str, str] | None:
    """(fragment, column) of an expression that is a column of one."""
    if not isinstance(node, exp.Column) or node.table not in fragments:
        return None
    return fragments[node.table].id, node.name


def _sides(
    condition: exp.Expr, fragments: Mapping[str, Fragment]
) -> tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]] | None:
    """The fragments whose regions, or regions and positions, are compared, and the columns of these."""
    columns = [_column(node, fragments) for node in condition.expressions]
    if None in columns:
        return None
    (left, region), *rest = [column for column in columns if column is not None]
    others = {fragment for fragment, _ in rest}
    if len(others) != 1 or left in others:
        return None
    if _kind(condition) == "contain" and any(
        logical_type(node) is not LogicalType.FLOAT64 for node in condition.expressions[1:]
    ):
        return None
    return (left, (region,)), (others.pop(), tuple(name for _, name in rest))


def _is_met(draft: Draft, fragments: Mapping[str, Fragment], condition: exp.Expr) -> bool:
    """Whether a condition holds for all rows of a fragment, because its site keeps only those that meet it."""
    aliases = {column.table for column in condition.find_all(exp.Column)}
    if len(aliases) != 1 or condition.find(exp.Query) is not None:
        return False
    fragment = fragments.get(aliases.pop())
    asked = draft.cut[fragment.id].tree if fragment is not None else None
    if not isinstance(asked, exp.Select):
        return False
    outputs = {select.alias_or_name: select.unalias() for select in asked.selects}
    there = condition.copy().transform(
        lambda node: outputs.get(node.name, node).copy() if isinstance(node, exp.Column) else node
    )
    where = asked.args.get("where")
    return any(there == kept for kept in conjuncts(where.this if where else None))
