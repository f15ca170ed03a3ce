"""Which conditions of a SELECT may be evaluated where one of its sources is read.

A condition that is pushed stays in the local statement, so pushing only saves transport. It must not change the
answer: a condition in WHERE passes to a source that no outer join can extend with NULLs; one in ON passes to the
joined source of an inner or left join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.pushable import obstacle
from federation.planner.scopes import binder, sources_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Conditions", "conjuncts", "conditions_of"]


@attrs.frozen
class Conditions:
    """The conditions of one SELECT, sorted by what they refer to.

    ``filters`` are pushable conditions by the one source they refer to; ``joins`` are pushable conditions over
    several sources that every row of the result fulfils. ``preserved`` are the sources that are never extended with
    NULLs.
    """

    filters: dict[str, tuple[exp.Expr, ...]]
    joins: tuple[tuple[frozenset[str], exp.Expr], ...]
    preserved: frozenset[str]


def conjuncts(node: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a chain of ANDs."""
    found: list[exp.Expr] = []
    todo = [node] if node is not None else []
    while todo:
        inner = todo.pop().unnest()
        if isinstance(inner, exp.And):
            todo.extend((inner.expression, inner.this))
        else:
            found.append(inner)
    return found


def conditions_of(select: exp.Select) -> Conditions:
    """Sort the conditions of WHERE and of every ON."""
    sources = list(sources_of(select))
    joins = select.args.get("joins") or []
    first = len(sources) - len(joins)
    filters: dict[str, list[exp.Expr]] = {alias: [] for alias in sources}
    wide: list[tuple[frozenset[str], exp.Expr]] = []
    extended: set[str] = set()
    for number, join in enumerate(joins):
        left, right = set(sources[: first + number]), sources[first + number]
        for condition in conjuncts(join.args.get("on")):
            used = _sources_used(condition, select)
            target = next(iter(used)) if used is not None and len(used) == 1 else None
            if target is not None:
                inner_left = join.side in {"", "RIGHT"} and target in left and target not in extended
                joined = join.side in {"", "LEFT"} and target == right
                if inner_left or joined:
                    filters[target].append(condition)
            elif used and join.side == "" and not used & extended:
                wide.append((frozenset(used), condition))
        if join.side in {"LEFT", "FULL"}:
            extended.add(right)
        if join.side in {"RIGHT", "FULL"}:
            extended |= left
    where = select.args.get("where")
    for condition in conjuncts(where.this if where else None):
        used = _sources_used(condition, select)
        if not used or used & extended:
            continue
        if len(used) == 1:
            filters[next(iter(used))].append(condition)
        else:
            wide.append((frozenset(used), condition))
    # a condition between sources that a later RIGHT or FULL JOIN extends holds only before that join
    wide = [(used, condition) for used, condition in wide if not used & extended]
    preserved = frozenset(sources) - extended
    for alias, condition in _implied(filters, wide, preserved):
        if condition not in filters[alias]:
            filters[alias].append(condition)
    return Conditions({alias: tuple(found) for alias, found in filters.items()}, tuple(wide), preserved)


def _sources_used(condition: exp.Expr, select: exp.Select) -> set[str] | None:
    """Sources of ``select`` that a pushable condition refers to; None when it can't be pushed at all."""
    if condition.find(exp.Query) is not None:
        return None
    columns = list(condition.find_all(exp.Column))
    if not columns or any(binder(column) is not select for column in columns):
        return None
    return {column.table for column in columns} if obstacle(condition) is None else None


def _implied(
    filters: dict[str, list[exp.Expr]],
    wide: Iterable[tuple[frozenset[str], exp.Expr]],
    preserved: frozenset[str],
) -> list[tuple[str, exp.Expr]]:
    """Conditions on one column that equalities carry over to columns of other sources."""
    equal: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for _, condition in wide:
        left, right = condition.this, condition.args.get("expression")
        if isinstance(condition, exp.EQ) and isinstance(left, exp.Column) and isinstance(right, exp.Column):
            merged = {(left.table, left.name), (right.table, right.name)}
            for column in tuple(merged):
                merged |= equal.get(column, set())
            for column in merged:
                equal[column] = merged
    found = []
    for alias in preserved:
        for condition in filters[alias]:
            columns = {(column.table, column.name) for column in condition.find_all(exp.Column)}
            if len(columns) != 1:
                continue
            for table, other in sorted(equal.get(next(iter(columns)), set()) - columns):
                if table in preserved and table != alias:
                    copy = condition.copy()
                    for used in copy.find_all(exp.Column):
                        used.set("table", exp.to_identifier(table, quoted=True))
                        used.set("this", exp.to_identifier(other, quoted=True))
                    found.append((table, copy))
    return found
