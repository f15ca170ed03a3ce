"""Joins on ``region_overlaps`` and ``region_contains``, so that not every pair of rows is tested.

The executor finds the pairs of distinct regions first, in bulk (`federation.planner.plan.PairTable`). One of the two
sources is joined with the pairs, and the condition becomes an equality: ``a JOIN b ON region_overlaps(a.x, b.y)`` is
``a JOIN (SELECT b.*, p.l FROM b JOIN p ON p.r = b.y) b ON a.x = b.l``. Every row of ``b`` appears once for each
region of ``a`` that it overlaps, so the rows of the join are the same, whether it is inner, left or in a sub-select.
The pair table may know more regions than take part, never fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.draft import PairQuery
from federation.planner.expand import column, identifier, output
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import binder, is_closed, sources_of
from federation.planner.sqltypes import sql_type
from federation.planner.wording import function_name

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["join_regions"]

_KINDS = {"region_overlaps": "overlap", "region_contains": "contain"}


@attrs.frozen(eq=False)
class _Side:
    """Expressions over one source: a region, or right ascension and declination."""

    select: exp.Select
    alias: str
    expressions: tuple[exp.Expr, ...]
    columns: tuple[str, ...]

    @property
    def source(self) -> exp.Expr:
        return sources_of(self.select)[self.alias]


def join_regions(draft: Draft) -> None:
    """Rule: rewrite every condition on the regions of two sources that allows it; say so of those that don't."""
    exploded: set[int] = set()
    # innermost first: a query that is copied into a pair table's is then already rewritten
    for select in reversed(list(draft.tree.find_all(exp.Select))):
        joins = select.args.get("joins") or []
        for join in joins:
            for condition in conjuncts(join.args.get("on")):
                _rewrite(draft, select, join, condition, exploded)
        where = select.args.get("where")
        for condition in conjuncts(where.this if where else None):
            _rewrite(draft, select, None, condition, exploded)


def _rewrite(
    draft: Draft, select: exp.Select, join: exp.Join | None, condition: exp.Expr, exploded: set[int]
) -> None:
    sides = _sides(condition)
    if sides is None:
        return
    target = _target(select, join, sides, exploded)
    queries = [_values(side) for side in sides] if target is not None else []
    left, right = queries if queries else (None, None)
    shown = " and ".join(", ".join(e.sql("postgres").replace('"', "") for e in s.expressions) for s in sides)
    if target is None or left is None or right is None:
        draft.decide(f"{function_name(condition)} is tested for every pair of rows: {shown}")
        return
    name = f"#pairs{len(draft.pair_queries) + 1}"
    kind = _KINDS[function_name(condition)]
    draft.pair_queries.append(PairQuery(name, kind, left, right))
    draft.decide(f"{name}: pairs are found before the join: {shown}")
    other = sides[0] if target is sides[1] else sides[1]
    added = [f"{name}_{column_name}" for column_name in other.columns]
    exploded.add(id(_explode(target, other, name, added)))
    equal = [
        exp.EQ(this=expression.copy(), expression=column(alias, target.alias))
        for expression, alias in zip(other.expressions, added, strict=True)
    ]
    condition.replace(exp.paren(exp.and_(*equal, copy=False), copy=False) if len(equal) > 1 else equal[0])


def _sides(condition: exp.Expr) -> tuple[_Side, _Side] | None:
    """The two sources that a condition on regions compares; None when it is another condition."""
    if not isinstance(condition, exp.Anonymous) or function_name(condition) not in _KINDS:
        return None
    region, *rest = condition.expressions
    if function_name(condition) == "region_contains":
        rest = [part if isinstance(part, exp.Cast) else _as_float(part) for part in rest]
        right = _side(condition, tuple(rest), ("ra", "dec"))
    else:
        right = _side(condition, tuple(rest), ("r",))
    left = _side(condition, (region,), ("l",))
    if left is None or right is None or (left.select is right.select and left.alias == right.alias):
        return None
    return left, right


def _as_float(part: exp.Expr) -> exp.Expr:
    return exp.Cast(this=part.copy(), to=sql_type(LogicalType.FLOAT64))


def _side(condition: exp.Expr, expressions: tuple[exp.Expr, ...], names: tuple[str, ...]) -> _Side | None:
    # columns are looked up in the condition itself: copies of its parts have no SELECT around them
    wanted = {(used.table, used.name) for part in expressions for used in part.find_all(exp.Column)}
    originals = [c for c in condition.find_all(exp.Column) if (c.table, c.name) in wanted]
    owners = {id(owner): owner for used in originals if (owner := binder(used)) is not None}
    aliases = {alias for alias, _ in wanted}
    if len(aliases) != 1 or len(owners) != 1 or any(part.find(exp.Query) for part in expressions):
        return None
    return _Side(next(iter(owners.values())), next(iter(aliases)), expressions, names)


def _target(
    select: exp.Select, join: exp.Join | None, sides: tuple[_Side, _Side], exploded: set[int]
) -> _Side | None:
    """The side whose source can be joined with the pairs without changing the rows; None when there is none."""
    order = list(sources_of(select))
    own = [side for side in sides if side.select is select and id(side.source) not in exploded]
    own = [side for side in own if isinstance(side.source, (exp.Table, exp.Subquery, exp.Values))]
    own.sort(key=lambda side: -order.index(side.alias))
    if join is None or join.side == "":
        return own[0] if own else None
    # every row of the preserved side must stay as it is, so the other one is joined with the pairs
    extended = join.this.alias_or_name if join.side == "LEFT" else order[0]
    if join.side == "FULL" or (join.side == "RIGHT" and join is not select.args["joins"][0]):
        return None
    return next((side for side in own if side.alias == extended), None)


def _values(side: _Side) -> exp.Select | None:
    """The distinct values of a side, in the rows that WHERE keeps; None when its source can't stand alone."""
    source = side.source
    if not isinstance(source, (exp.Table, exp.Subquery, exp.Values)) or not is_closed(source):
        return None
    withs = _withs_around(source)
    if any(part.find(exp.Limit, exp.Offset, exp.Fetch, exp.Lateral) for part in (source, *withs)):
        return None
    ctes = [cte for with_ in withs for cte in with_.expressions]
    names = [cte.alias for cte in ctes]
    if len(set(names)) < len(names) or any(with_.args.get("recursive") for with_ in withs):
        return None
    select = exp.Select(
        expressions=[
            output(expression.copy(), name)
            for expression, name in zip(side.expressions, side.columns, strict=True)
        ],
        distinct=exp.Distinct(),
        from_=exp.From(this=source.copy()),
    )
    used = {table.name for part in (source, *ctes) for table in part.find_all(exp.Table)}
    if used & set(names):
        select.set("with_", exp.With(expressions=[cte.copy() for cte in ctes]))
    conditions = [expression.copy() for expression in _own_conditions(side)]
    present = [
        exp.Not(this=exp.Is(this=expression.copy(), expression=exp.Null())) for expression in side.expressions
    ]
    select.set("where", exp.Where(this=exp.and_(*conditions, *present, copy=False)))
    return select


def _withs_around(node: exp.Expr) -> list[exp.With]:
    """The WITH clauses that ``node`` sees, outermost first."""
    found: list[exp.With] = []
    inner: exp.Expr | None = node
    while inner is not None:
        with_ = inner.args.get("with_") if inner is not node and isinstance(inner, exp.Query) else None
        if with_ is not None:
            found.insert(0, with_)
        inner = inner.parent
    return found


def _own_conditions(side: _Side) -> list[exp.Expr]:
    """Conditions of WHERE on the side's source alone; none where an outer join may need the rows they drop."""
    where = side.select.args.get("where")
    if where is None or any(join.side for join in side.select.args.get("joins") or ()):
        return []
    found = []
    for condition in conjuncts(where.this):
        columns = list(condition.find_all(exp.Column))
        own = all(used.table == side.alias and binder(used) is side.select for used in columns)
        if columns and own and condition.find(exp.Query) is None:
            found.append(condition)
    return found


def _explode(target: _Side, other: _Side, pairs: str, added: list[str]) -> exp.Expr:
    """Replace the target's source by its rows beside the other side's values that they pair with."""
    source = target.source
    alias = target.alias
    matches = [
        exp.EQ(this=column(name, pairs), expression=expression.copy())
        for name, expression in zip(target.columns, target.expressions, strict=True)
    ]
    everything = exp.Column(this=exp.Star(), table=identifier(alias))
    select = exp.Select(
        expressions=[
            everything,
            *(output(column(name, pairs), out) for name, out in zip(other.columns, added, strict=True)),
        ],
        from_=exp.From(this=source.copy()),
        joins=[
            exp.Join(
                this=exp.Table(this=identifier(pairs), alias=exp.TableAlias(this=identifier(pairs))),
                on=exp.and_(*matches, copy=False),
            )
        ],
    )
    fresh = exp.Subquery(this=select, alias=exp.TableAlias(this=identifier(alias)))
    source.replace(fresh)
    return fresh
