"""Where a condition on a query's outputs may be evaluated earlier: the source of a SELECT that it passes to.

The condition is one that no row with a NULL in these outputs fulfils, and that is required of the rows anyway, as an
equality with a key is. So it passes to a source that an outer join extends with NULLs, too: where rows of the source
are gone, rows with NULLs may come instead, which don't fulfil it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.scopes import own_nodes, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Passage", "output_columns", "passage"]

#: parts of a SELECT that choose among its rows by their number
_COUNTED = ("limit", "offset")
#: parts of a SELECT that only make rows and leave some out, one by one
_PLAIN = frozenset({"expressions", "from_", "joins", "where"})


@attrs.frozen(eq=False)
class Passage:
    """A source of a SELECT, called ``alias`` there, and its columns that the outputs are."""

    alias: str
    source: exp.Expr
    columns: tuple[str, ...]


def output_columns(select: exp.Select, names: Sequence[str]) -> tuple[exp.Column, ...] | None:
    """The columns of one and the same source that the outputs ``names`` are; None where they are not."""
    shown = {output.alias_or_name: output.unalias() for output in select.selects}
    found: list[exp.Column] = []
    for name in names:
        column = shown.get(name)
        if not isinstance(column, exp.Column) or isinstance(column.this, exp.Star):
            return None
        found.append(column)
    tables = {column.table for column in found}
    return tuple(found) if len(tables) == 1 and tables <= sources_of(select).keys() else None


def passage(
    select: exp.Select, names: Sequence[str], is_fixed: Callable[[exp.Window, Passage], bool]
) -> Passage | None:
    """Where a condition on the outputs ``names`` may be evaluated before the SELECT; None where it may not.

    ``is_fixed`` says of a window function whether all rows of one of its partitions agree in the columns.
    """
    columns = output_columns(select, names)
    if columns is None or any(select.args.get(part) for part in _COUNTED):
        return None
    alias = columns[0].table
    found = Passage(alias, sources_of(select)[alias], tuple(column.name for column in columns))
    if _is_plain(select):
        return found
    wanted = {(column.table, column.name) for column in columns}
    distinct = select.args.get("distinct")
    on = distinct.args.get("on") if distinct is not None else None
    if on is not None and not wanted <= _columns(on.expressions):
        return None
    group = select.args.get("group")
    if group is not None:
        plain = all(not value or part == "expressions" for part, value in group.args.items())
        if not plain or not wanted <= _columns(group.expressions):
            return None
    own = list(own_nodes(select))
    if group is None and select.args.get("having"):
        return None
    if group is None and any(isinstance(node, exp.AggFunc) and not _is_windowed(node) for node in own):
        return None
    for window in own:
        if isinstance(window, exp.Window):
            by_partition = wanted <= _columns(window.args.get("partition_by") or ())
            if not by_partition and not is_fixed(window, found):
                return None
    return found


def _is_plain(select: exp.Select) -> bool:
    """Whether it only picks columns of rows, as every arm of a chain does: nothing need be looked for in it then."""
    return all(isinstance(output.unalias(), exp.Column) for output in select.selects) and not any(
        value and part not in _PLAIN for part, value in select.args.items()
    )


def _columns(expressions: Sequence[exp.Expr]) -> set[tuple[str, str]]:
    nodes = [expression.unnest() for expression in expressions]
    return {(node.table, node.name) for node in nodes if isinstance(node, exp.Column)}


def _is_windowed(node: exp.Expr) -> bool:
    inner, outer = node, node.parent
    while isinstance(outer, (exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
        inner, outer = outer, outer.parent
    return isinstance(outer, exp.Window) and outer.this is inner
