"""Where a column of a qualified tree is bound: which SELECT's source it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["binder", "bound_columns", "is_closed", "own_nodes", "sources_of", "tables_of"]


def sources_of(select: exp.Select) -> dict[str, exp.Expr]:
    """The FROM and JOIN sources of one SELECT by alias, in order."""
    from_ = select.args.get("from_")
    nodes = [from_.this] if from_ else []
    nodes.extend(join.this for join in select.args.get("joins") or ())
    return {node.alias_or_name: node for node in nodes}


def binder(column: exp.Column) -> exp.Select | None:
    """The SELECT whose source ``column`` names; None when no enclosing one has it."""
    node: exp.Expr = column
    is_source = False
    while node.parent is not None:
        parent = node.parent
        if isinstance(parent, exp.With) or (
            isinstance(parent, (exp.From, exp.Join))
            and node is parent.this
            and not isinstance(node, exp.Lateral)
        ):
            is_source = True
        elif isinstance(parent, exp.Select):
            # a sub-select in FROM and a WITH query do not see the sources beside them
            if not is_source and column.table in sources_of(parent):
                return parent
            is_source = False
        elif isinstance(parent, exp.Query) and is_source and not isinstance(parent, exp.Subquery):
            is_source = False
        node = parent
    return None


def bound_columns(select: exp.Select, alias: str) -> list[exp.Column]:
    """Every column, at any depth, that belongs to the source ``alias`` of ``select``."""
    return [
        column for column in select.find_all(exp.Column) if column.table == alias and binder(column) is select
    ]


def own_nodes(select: exp.Expr) -> Iterator[exp.Expr]:
    """Nodes of one query that are not inside another query below it (which is itself yielded)."""
    todo = list(select.iter_expressions())
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, exp.Query) or isinstance(node, exp.Subquery):
            todo.extend(node.iter_expressions())


def tables_of(tree: exp.Expr) -> list[exp.Table]:
    """All table nodes below ``tree``."""
    return list(tree.find_all(exp.Table))


def is_closed(tree: exp.Expr) -> bool:
    """Whether nothing in ``tree`` refers to a source or WITH query outside it."""
    inside = {id(node) for node in tree.walk()}
    for column in tree.find_all(exp.Column):
        if column.table:
            owner = binder(column)
            if owner is None or id(owner) not in inside:
                return False
    return True
