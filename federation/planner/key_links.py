"""Equalities of a local statement by which one source's rows can do without those that no row of another one meets.

A link says that the answer stays the same, whatever rows the sources have, when the receiver's rows are left out whose
columns equal those of no row of the giver:

* both ways where every row of a SELECT fulfils the equality: it is in WHERE, or in ON of an inner join;
* to the right side of a LEFT JOIN by ON, to the left one of a RIGHT JOIN, to none of a FULL JOIN;
* into a sub-select, from the SELECT around it that it refers to: its own rows are then the same for each row outside,
  be it EXISTS, NOT EXISTS or a value;
* out of it only where a row outside needs one inside: EXISTS or IN, required by WHERE or an inner join;
* into the sub-select of a required NOT IN where neither side can be NULL, as a NULL would decide there.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.pushdown import conjuncts
from federation.planner.scopes import binder, own_nodes, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["End", "Link", "find_links", "refusals"]

_Names = tuple[str, str]


@attrs.frozen
class End:
    """A source of a SELECT, or a sub-select whose outputs are compared; ``label`` is for people."""

    node: exp.Expr = attrs.field(eq=id)
    label: str = attrs.field(eq=False)


@attrs.frozen
class Link:
    """``pairs`` are (column of the giver, column of the receiver) that are equal."""

    giver: End
    receiver: End
    pairs: tuple[_Names, ...]


def find_links(tree: exp.Expr, never_null: Callable[[exp.Expr, str], bool] | None = None) -> list[Link]:
    """All links of a statement, each pair of ends in one direction once, with all columns that are equal.

    ``never_null`` says of a source or a query whether one of its columns is never NULL.
    """
    found: dict[tuple[End, End], dict[_Names, None]] = {}

    def add(giver: tuple[End, str], receiver: tuple[End, str]) -> None:
        if giver[0] != receiver[0]:
            found.setdefault((giver[0], receiver[0]), {})[giver[1], receiver[1]] = None

    for select in tree.find_all(exp.Select):
        scope = _Scope(select)
        for giver, receiver in scope.links():
            add(giver, receiver)
        for giver, receiver in scope.not_in(never_null) if never_null is not None else ():
            add(giver, receiver)
    return [Link(giver, receiver, tuple(pairs)) for (giver, receiver), pairs in found.items()]


def refusals(tree: exp.Expr, never_null: Callable[[exp.Expr, str], bool]) -> list[str]:
    """What looks like a join, but needs all rows of a side, in words."""
    found = []
    nodes = list(tree.find_all(exp.In, exp.Join))
    negated = [node for node in nodes if isinstance(node, exp.In) and isinstance(node.parent, exp.Not)]
    queries = [node for node in negated if node.args.get("query") is not None]
    linked: set[int] = set()
    for select in tree.find_all(exp.Select) if queries else ():
        linked |= {id(receiver[0].node) for _, receiver in _Scope(select).not_in(never_null)}
    for node in queries:
        query = node.args["query"]
        if id(query.this if isinstance(query, exp.Subquery) else query) not in linked:
            shown = node.this.sql("postgres").replace('"', "")
            found.append(f"{shown} NOT IN (...): a NULL there decides, so that all its rows are needed")
    found.extend(
        f"the FULL JOIN of {node.this.alias_or_name}: the rows of both sides stay"
        for node in nodes
        if isinstance(node, exp.Join) and node.side == "FULL"
    )
    return found


class _Scope:
    """One SELECT: its sources, and the equalities that hold for all of its rows."""

    def __init__(self, select: exp.Select) -> None:
        self.select = select
        self.joins = select.args.get("joins") or []
        self.sources = sources_of(select)
        self._ends = {
            alias: End(node, alias)
            for alias, node in self.sources.items()
            if isinstance(node, (exp.Table, exp.Subquery))
        }
        #: conditions that every row fulfils, and those of inner joins that a later join adds rows to
        self.held, self.passing = self._conditions()
        self._classes = _classes(self.select, self.held)

    def _conditions(self) -> tuple[list[exp.Expr], list[exp.Expr]]:
        where = self.select.args.get("where")
        held: list[exp.Expr] = conjuncts(where.this if where else None)
        passing: list[exp.Expr] = []
        extended = False
        for join in reversed(self.joins):
            if not join.side and join.kind in {"", "INNER", "CROSS"}:
                (passing if extended else held).extend(conjuncts(join.args.get("on")))
            extended = extended or join.side in {"RIGHT", "FULL"}
        return held, passing

    def end(self, column: _Names) -> tuple[End, str] | None:
        found = self._ends.get(column[0])
        return None if found is None else (found, column[1])

    def same(self, column: _Names) -> list[tuple[End, str]]:
        """A column and all others that equal it in every row."""
        columns = self._classes.get(column, {column})
        return [end for other in sorted(columns) if (end := self.end(other)) is not None]

    def links(self) -> Iterator[tuple[tuple[End, str], tuple[End, str]]]:
        """(giver, receiver) as ends with a column."""
        for members in {id(found): found for found in self._classes.values()}.values():
            ends = [end for column in sorted(members) if (end := self.end(column)) is not None]
            yield from permutations(ends, 2)
        for condition in self.passing:
            pair = _own_equality(condition, self.select)
            ends = [end for column in pair if (end := self.end(column)) is not None]
            if len(ends) == 2:
                yield from permutations(ends, 2)
        yield from self._outer_joins()
        yield from self._into()
        yield from self._out_of()

    def _outer_joins(self) -> Iterator[tuple[tuple[End, str], tuple[End, str]]]:
        for join in self.joins:
            right = join.this.alias_or_name
            if join.side not in {"LEFT", "RIGHT"}:
                continue
            for condition in conjuncts(join.args.get("on")):
                pair = _own_equality(condition, self.select)
                if sum(column[0] == right for column in pair) != 1:
                    continue
                left, joined = sorted(pair, key=lambda column: column[0] == right)
                giver, receiver = (left, joined) if join.side == "LEFT" else (joined, left)
                end = self.end(receiver)
                if end is not None:
                    yield from ((other, end) for other in self.same(giver))

    def _into(self) -> Iterator[tuple[tuple[End, str], tuple[End, str]]]:
        """From the SELECTs around to this one's sources."""
        for condition in (*self.held, *self.passing):
            for inner, outer, around in _outward(condition, self.select):
                scope = _Scope(around)
                at_row = _part_of(self.select, around) in {"where", "expressions"}
                givers = scope.same(outer) if at_row else [scope.end(outer)]
                for giver in givers:
                    yield from ((giver, own) for own in self.same(inner) if giver is not None)

    def _out_of(self) -> Iterator[tuple[tuple[End, str], tuple[End, str]]]:
        """From sub-selects that a row needs a row of, and for IN the other way round, too."""
        for condition in self.held:
            node = condition.unnest()
            if isinstance(node, exp.Exists) and _needs_a_row(node.this):
                inner = _Scope(node.this)
                for required in inner.held:
                    for own, outer, around in _outward(required, inner.select):
                        if around is self.select:
                            yield from ((g, r) for g in inner.same(own) for r in self.same(outer))
                continue
            found = _compared_query(node)
            if found is None:
                continue
            columns, query = found
            end = End(query, "the sub-select")
            for column, output in zip(columns, query.named_selects, strict=False):
                if isinstance(column, exp.Column) and binder(column) is self.select:
                    for other in self.same((column.table, column.name)):
                        yield (end, output), other
                        yield other, (end, output)

    def not_in(
        self, never_null: Callable[[exp.Expr, str], bool]
    ) -> Iterator[tuple[tuple[End, str], tuple[End, str]]]:
        """Into the sub-selects of NOT IN: from which rows may be left out, but not so that NULL would decide."""
        if any(join.side for join in self.joins):
            return
        for condition in self.held:
            node = condition.unnest()
            found = _compared_query(node.this.unnest()) if isinstance(node, exp.Not) else None
            if found is None or len(found[0]) != 1:
                continue
            (column,), query = found
            if not isinstance(column, exp.Column) or binder(column) is not self.select:
                continue
            giver, name = self.end((column.table, column.name)), query.named_selects[0]
            if giver is not None and never_null(giver[0].node, column.name) and never_null(query, name):
                yield giver, (End(query, "the sub-select"), name)


def _own_equality(condition: exp.Expr, select: exp.Select) -> tuple[_Names, ...]:
    """The two columns of different sources of ``select`` that a condition equates; empty for another condition."""
    node = condition.unnest()
    if not isinstance(node, exp.EQ):
        return ()
    sides = (node.this.unnest(), node.expression.unnest())
    if not all(isinstance(side, exp.Column) and binder(side) is select for side in sides):
        return ()
    return ((sides[0].table, sides[0].name), (sides[1].table, sides[1].name))


def _classes(select: exp.Select, held: Iterable[exp.Expr]) -> dict[_Names, set[_Names]]:
    """Columns with all those that equal them in every row."""
    equal: dict[_Names, set[_Names]] = {}
    for condition in held:
        pair = _own_equality(condition, select)
        if pair:
            merged = set(pair).union(*(equal.get(column, set()) for column in pair))
            for column in merged:
                equal[column] = merged
    return equal


def _outward(condition: exp.Expr, select: exp.Select) -> Iterator[tuple[_Names, _Names, exp.Select]]:
    """(own column, column outside, the SELECT that has it) of an equality between the two."""
    node = condition.unnest()
    if not isinstance(node, exp.EQ):
        return
    sides = [side.unnest() for side in (node.this, node.expression)]
    if not all(isinstance(side, exp.Column) for side in sides):
        return
    owners = [binder(side) for side in sides]
    for own, other in ((0, 1), (1, 0)):
        around = owners[other]
        if owners[own] is select and around is not None and around is not select:
            yield (
                (sides[own].table, sides[own].name),
                (sides[other].table, sides[other].name),
                around,
            )


def _part_of(node: exp.Expr, select: exp.Select) -> str:
    """Which part of ``select`` has ``node`` in it."""
    inner = node
    while inner.parent is not None and inner.parent is not select:
        inner = inner.parent
    return inner.arg_key or ""


def _needs_a_row(query: exp.Expr) -> bool:
    """Whether EXISTS of a SELECT is true only if a row fulfils its WHERE."""
    if not isinstance(query, exp.Select) or any(query.args.get(p) for p in ("limit", "offset")):
        return False
    aggregates = query.args.get("having") or any(isinstance(n, exp.AggFunc) for n in own_nodes(query))
    return query.args.get("group") is not None or not aggregates


def _compared_query(node: exp.Expr) -> tuple[list[exp.Expr], exp.Query] | None:
    """What IN or = ANY compares, and with the rows of which query."""
    left = node.this.unnest() if isinstance(node, (exp.In, exp.EQ)) else None
    query: exp.Expr | None = None
    if isinstance(node, exp.In):
        query = node.args.get("query")
    elif isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
        query = node.expression.this
    if left is None or query is None:
        return None
    inner = query.this if isinstance(query, exp.Subquery) else query
    if not isinstance(inner, exp.Query):
        return None
    columns = list(left.expressions) if isinstance(left, exp.Tuple) else [left]
    return [column.unnest() for column in columns], inner
