"""Find-first: the row of the first collection for each data ID, picked from a stream instead of by a window function.

A statement ``SELECT ... FROM (SELECT ..., row_number() OVER (PARTITION BY key ORDER BY CASE run WHEN ...) AS place FROM
table WHERE run IN (...)) WHERE place = 1`` asks one site for its rows, run by run. Of each key the first row that comes
is the answer, so that it is known at once, and only keys need be remembered. This holds where a run has a key once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType
from federation.planner.find_first_trees import FirstOfEach, local_tree, ordered_rows
from federation.planner.fragments import add_fragment
from federation.planner.plan import FindFirst
from federation.planner.pushable import obstacle
from federation.planner.pushdown import conjuncts
from federation.planner.value_order import read_case, read_listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Draft, Relation

__all__ = ["find_first"]

#: parts of a SELECT that this rule understands
_OUTER = {"expressions", "from_", "where", "limit", "kind"}
_INNER = {"expressions", "from_", "where", "kind"}
_KEY_TYPES = {LogicalType.INT64, LogicalType.STRING}
_VALUES_MAX = 1000


def find_first(draft: Draft) -> None:
    """Rule: make the statement a fragment in order and a `FindFirst` of it, where it is of that form."""
    found = _take_apart(draft)
    if found is None or not _is_unique(found):
        return
    relation = found.relation
    site = relation.arms[0].site
    known = draft.catalog.site(site)
    if (known is None or not known.is_in_process) and obstacle(draft.tree) is None:
        return  # a site that can choose by itself sends fewer rows
    query = ordered_rows(found)
    reason = obstacle(query)
    if reason is not None:
        draft.decide(f"rows are not taken in order of {found.ordered_by}: {reason}")
        return
    fragment = add_fragment(draft, site, query, {relation.name: relation})
    given = [known_column.name for known_column in fragment.columns[:-1]]
    sources = {select.alias_or_name: name for select, name in zip(query.selects, given, strict=False)}
    draft.find_first = FindFirst(
        fragment.id,
        tuple(sources[name] for name in found.key),
        fragment.columns[-1].name,
        len(found.values) - 1,
        tuple(sources[name] for name, _ in found.outputs),
        found.limit,
    )
    draft.tree = local_tree(draft.find_first, [name for _, name in found.outputs], query)
    draft.decide(
        f"{fragment.id}: {site} gives rows in order of {found.ordered_by}, the first one for each "
        f"({', '.join(found.key)}) is taken as it comes"
    )


def _take_apart(draft: Draft) -> FirstOfEach | None:
    outer = draft.tree
    if not _has_only(outer, _OUTER) or not isinstance(outer, exp.Select):
        return None
    middle, alias = _only_source(outer)
    limit = _limit_of(outer)
    if not isinstance(middle, exp.Select) or not _has_only(middle, _INNER) or limit is False:
        return None
    place = _first_place(outer, alias)
    window = next((select.unalias() for select in middle.selects if select.alias_or_name == place), None)
    source, inner_alias = _only_source(middle)
    if not place or not isinstance(window, exp.Window) or source is None:
        return None
    where, inner = middle.args.get("where"), None
    table: exp.Expr | None = source
    if isinstance(source, exp.Select):
        if not _has_only(source, _INNER) or where is not None:
            return None
        where = source.args.get("where")
        inner = {select.alias_or_name: select.unalias() for select in source.selects}
        table, inner_alias = _only_source(source)
    relation = draft.relations.get(table.name) if isinstance(table, exp.Table) else None
    if relation is None or relation.literal is not None or len(relation.arms) != 1:
        return None
    names = _Names(inner_alias, inner, {s.alias_or_name: s.unalias() for s in middle.selects})
    return _read(relation, names, window, outer, conjuncts(where.this if where else None), limit)


@attrs.frozen
class _Names:
    """What columns of the SELECTs stand for: expressions over the one table, called ``alias``."""

    alias: str
    inner: dict[str, exp.Expr] | None
    middle: dict[str, exp.Expr]

    def of_middle(self, node: exp.Expr) -> exp.Expr:
        """An expression of the middle SELECT in terms of the table, where it is a column of another SELECT."""
        if self.inner is None or not isinstance(node, exp.Column):
            return node
        return self.inner.get(node.name, node)

    def table_column(self, node: exp.Expr | None) -> str | None:
        """The table's column that an expression of the middle SELECT is, or None."""
        if node is None:
            return None
        meant = self.of_middle(node)
        return meant.name if isinstance(meant, exp.Column) and meant.table == self.alias else None


def _read(
    relation: Relation,
    names: _Names,
    window: exp.Window,
    outer: exp.Select,
    conditions: Sequence[exp.Expr],
    limit: int | None,
) -> FirstOfEach | None:
    order = window.args.get("order")
    simple = isinstance(window.this, exp.RowNumber) and window.args.get("spec") is None
    if not simple or order is None:
        return None
    first, *further = order.expressions
    case = read_case(names.of_middle(first.this))
    if case is None or any(names.table_column(item.this) is None for item in further):
        return None
    column_, ranks = case
    listed = next((c for c in conditions if (r := read_listed(c)) is not None and r[0] == column_), None)
    if listed is None or (column_.table and column_.table != names.alias):
        return None
    values = read_listed(listed)[1]  # type: ignore[index]
    places = [ranks.get(value) for value in values]
    key = [names.table_column(node) for node in window.args.get("partition_by") or ()]
    outputs = []
    for select in outer.selects:
        shown = select.unalias()
        used = names.table_column(names.middle.get(shown.name)) if isinstance(shown, exp.Column) else None
        outputs.append((used, select.alias_or_name))
    if (
        None in places
        or len(set(places)) < len(places)
        or len(values) > _VALUES_MAX
        or None in key
        or any(name is None for name, _ in outputs)
    ):
        return None
    descending = bool(first.args.get("desc"))
    ordered = sorted(values, key=lambda value: ranks[value], reverse=descending)
    return FirstOfEach(
        relation,
        names.alias,
        tuple((name or "", label) for name, label in outputs),
        tuple(dict.fromkeys(name or "" for name in key)),
        column_.name,
        tuple(ordered),
        tuple(condition for condition in conditions if condition is not listed),
        limit,
    )


def _has_only(query: exp.Expr, parts: set[str]) -> bool:
    return isinstance(query, exp.Select) and all(not v or name in parts for name, v in query.args.items())


def _only_source(select: exp.Select) -> tuple[exp.Expr | None, str]:
    """The table or sub-select that a SELECT reads, and its alias."""
    from_ = select.args.get("from_")
    if from_ is None:
        return None, ""
    source = from_.this
    if isinstance(source, exp.Subquery):
        plain = all(not value or name in {"this", "alias"} for name, value in source.args.items())
        return (source.this if plain else None), source.alias
    return source, source.alias_or_name


def _limit_of(select: exp.Select) -> int | bool | None:
    """The number of rows that is asked for, None for all, False for one that is no plain number."""
    limit = select.args.get("limit")
    if limit is None:
        return None
    count = limit.args.get("expression") if isinstance(limit, exp.Limit) else None
    return int(count.name) if isinstance(count, exp.Literal) and count.is_int else False


def _first_place(outer: exp.Select, alias: str) -> str:
    """The column that the only condition of ``outer`` equates with 1."""
    where = outer.args.get("where")
    conditions = conjuncts(where.this if where else None)
    if len(conditions) != 1 or not isinstance(conditions[0], exp.EQ):
        return ""
    left, right = conditions[0].this, conditions[0].expression
    if isinstance(right, exp.Column):
        left, right = right, left
    is_one = isinstance(right, exp.Literal) and right.is_int and right.name == "1"
    return left.name if is_one and isinstance(left, exp.Column) and left.table == alias else ""


def _is_unique(found: FirstOfEach) -> bool:
    """Whether one value of the ordering column has each key at most once, and no part of a key is NULL."""
    table = found.relation.arms[0].table
    definitions = {definition.name: definition for definition in table.columns}
    plain = all(
        name in definitions and not definitions[name].nullable and definitions[name].type in _KEY_TYPES
        for name in found.key
    )
    together = {found.ordered_by, *found.key}
    return plain and any(found.ordered_by in unique and set(unique) <= together for unique in table.unique)
