"""Sizes of queries by the statistics that sites publish: rows, different values, bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.joined_rows import joined_rows
from federation.planner.profiles import (
    DEFAULT_WIDTH,
    UNKNOWN,
    Profile,
    distinct_of,
    relation_profile,
    thinned,
)
from federation.planner.pushdown import conjuncts
from federation.planner.scopes import sources_of
from federation.planner.selectivity import literal_value, selectivity
from federation.planner.sqltypes import logical_type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from federation.model.statistics import ColumnStats
    from federation.planner.draft import Relation
    from federation.planner.plan import OutputColumn

__all__ = [
    "estimate_bytes",
    "estimate_distinct",
    "estimate_matches",
    "estimate_rows",
    "estimate_size",
    "estimate_width",
    "query_profile",
]

_GROUPS, _HAVING = 0.1, 0.3
#: bytes of a value whose type is not known
_ANY_WIDTH = 16.0


def estimate_bytes(rows: int | None, columns: Iterable[OutputColumn]) -> int | None:
    """Bytes of that many rows, by the types of their columns alone."""
    if rows is None:
        return None
    widths = (DEFAULT_WIDTH[column.type] if column.type else _ANY_WIDTH for column in columns)
    return round(rows * sum(widths))


def estimate_rows(query: exp.Expr, relations: Mapping[str, Relation]) -> int | None:
    """Rows of a qualified query over relations; None where a table has no statistics."""
    return _whole(query_profile(query, relations).rows)


def estimate_distinct(
    query: exp.Expr, columns: Sequence[str], relations: Mapping[str, Relation]
) -> int | None:
    """Different combinations of values that the query gives in its output ``columns``; None where not known."""
    return _whole(distinct_of(query_profile(query, relations), columns))


def estimate_width(query: exp.Expr, relations: Mapping[str, Relation]) -> float:
    """Mean bytes of one row of the query's result, uncompressed."""
    profile = query_profile(query, relations)
    inner = query.unnest()
    if not isinstance(inner, exp.Query):
        return _ANY_WIDTH
    widths = (profile.column(select.alias_or_name).width for select in inner.selects)
    return sum(_ANY_WIDTH if width is None else width for width in widths)


def estimate_size(query: exp.Expr, relations: Mapping[str, Relation]) -> int | None:
    """Bytes of the query's result, uncompressed; None where a table has no statistics."""
    rows = query_profile(query, relations).rows
    return None if rows is None else _whole(rows * estimate_width(query, relations))


def estimate_matches(
    query: exp.Expr, columns: Sequence[str], key_count: float, relations: Mapping[str, Relation]
) -> int | None:
    """Rows that are left of the query's when its output ``columns`` must be one of ``key_count`` different keys.

    The keys are taken to be among the values that there are, where there are so many.
    """
    profile = query_profile(query, relations)
    distinct = distinct_of(profile, columns)
    if profile.rows is None or distinct is None:
        return None
    return _whole(profile.rows * min(1.0, key_count / max(distinct, 1.0)))


def _whole(number: float | None) -> int | None:
    return None if number is None else max(0, round(number))


def query_profile(
    query: exp.Expr, relations: Mapping[str, Relation], known: Mapping[str, Profile] | None = None
) -> Profile:
    """What the rows of a qualified query look like; ``known`` are those of WITH queries around it."""
    ctes = dict(known or {})
    with_ = query.args.get("with_")
    for cte in with_.expressions if with_ else ():
        ctes[cte.alias] = query_profile(cte.this, relations, ctes)
    if isinstance(query, exp.Subquery):
        profile = query_profile(query.this, relations, ctes)
    elif isinstance(query, exp.SetOperation):
        profile = _set_profile(query, relations, ctes)
    elif isinstance(query, exp.Select):
        profile = _select_profile(query, relations, ctes)
    else:
        profile = Profile(None, {})
    limit = query.args.get("limit")
    count = limit.args.get("expression") or limit.args.get("count") if limit else None
    if isinstance(count, exp.Literal) and count.is_int:
        return _cut_to(profile, float(count.name))
    return profile


def _cut_to(profile: Profile, count: float) -> Profile:
    if profile.rows is not None and profile.rows <= count:
        return profile
    before = profile.rows
    columns = profile.columns
    if before is not None:
        columns = {name: thinned(stats, before, count) for name, stats in columns.items()}
    return Profile(count, columns, profile.keys)


def _set_profile(
    query: exp.SetOperation, relations: Mapping[str, Relation], ctes: Mapping[str, Profile]
) -> Profile:
    left, right = (query_profile(side, relations, ctes) for side in (query.left, query.right))
    if left.rows is None or right.rows is None:
        return Profile(None, left.columns)
    if not isinstance(query, exp.Union):
        return Profile(left.rows, left.columns)
    names = [select.alias_or_name for select in query.left.selects]
    others = [select.alias_or_name for select in query.right.selects]
    columns: dict[str, ColumnStats] = {}
    for name, other in zip(names, others, strict=False):
        one, two = left.column(name), right.column(other)
        counts = (one.distinct_count, two.distinct_count)
        distinct = None if None in counts else min(sum(c or 0.0 for c in counts), left.rows + right.rows)
        widths = [stats.width for stats in (one, two) if stats.width is not None]
        columns[name] = attrs.evolve(UNKNOWN, distinct_count=distinct, width=max(widths, default=None))
    both = Profile(left.rows + right.rows, columns)
    if query.args.get("distinct"):
        distinct = distinct_of(both, names)
        return attrs.evolve(both, rows=both.rows if distinct is None else distinct)
    return both


def _select_profile(
    select: exp.Select, relations: Mapping[str, Relation], ctes: Mapping[str, Profile]
) -> Profile:
    used: dict[str, set[str]] = {}
    for column in select.find_all(exp.Column):
        used.setdefault(column.table, set()).add(column.name)
    sources = {
        alias: _source_profile(source, relations, ctes, used.get(alias, set()))
        for alias, source in sources_of(select).items()
    }
    where = select.args.get("where")
    conditions = conjuncts(where.this if where else None)
    conditions += [c for join in select.args.get("joins") or () for c in conjuncts(join.args.get("on"))]
    filtered = {
        alias: _filtered(profile, [c for c in conditions if _aliases(c) == {alias}])
        for alias, profile in sources.items()
    }
    rows = joined_rows(select, sources, filtered, conditions)
    for condition in conditions:
        if rows is not None and condition.find(exp.Query) is not None:
            rows *= _by_sub_select(condition, filtered, relations, ctes)
    rows = None if rows is None else max(rows, 0.0)

    def stats_of(column: exp.Expr) -> ColumnStats:
        profile = filtered.get(column.args["table"].name if column.args.get("table") else "")
        if profile is None or profile.rows is None or rows is None:
            return UNKNOWN if profile is None else profile.column(column.name)
        return thinned(profile.column(column.name), profile.rows, rows)

    columns = {
        one.alias_or_name: stats_of(one.unalias())
        if isinstance(one.unalias(), exp.Column)
        else _computed(one.unalias())
        for one in select.selects
    }
    return _grouped(select, Profile(rows, columns), stats_of)


def _grouped(select: exp.Select, ungrouped: Profile, stats_of: object) -> Profile:
    """After GROUP BY, HAVING and DISTINCT."""
    rows, columns = ungrouped.rows, ungrouped.columns
    group = select.args.get("group")
    if group is None and any(
        not isinstance(found.parent, exp.Window) and found.find_ancestor(exp.Select) is select
        for one in select.expressions
        for found in one.find_all(exp.AggFunc)
    ):
        return Profile(1.0, columns)
    if rows is None:
        return ungrouped
    keys: tuple[frozenset[str], ...] = ()
    if group is not None:
        assert callable(stats_of)
        outputs = {one.unalias().sql(): one.alias_or_name for one in select.selects}
        expressions = [one.unnest() for one in group.expressions]
        values = {
            str(number): stats_of(one) if isinstance(one, exp.Column) else UNKNOWN
            for number, one in enumerate(expressions)
        }
        found = distinct_of(Profile(rows, values), values)
        rows = rows * _GROUPS if found is None else found
        rows = max(rows, 1.0) if ungrouped.rows else 0.0
        if select.args.get("having"):
            rows *= _HAVING
        names = [outputs.get(one.sql()) for one in expressions]
        keys = (frozenset(name for name in names if name is not None),) if None not in names else ()
    if select.args.get("distinct"):
        found = distinct_of(Profile(rows, columns, keys), columns)
        rows = rows if found is None else found
    return Profile(rows, columns, keys)


def _computed(node: exp.Expr) -> ColumnStats:
    """An output that is no column."""
    type_ = logical_type(node)
    width = DEFAULT_WIDTH[type_] if type_ is not None else _ANY_WIDTH
    value = literal_value(node)
    if value is not None:
        return attrs.evolve(UNKNOWN, distinct_count=1.0, low=value, high=value, is_exact=True, width=width)
    return attrs.evolve(UNKNOWN, width=width)


def _aliases(condition: exp.Expr) -> set[str]:
    """The sources that a condition without sub-selects names."""
    return (
        set() if condition.find(exp.Query) is not None else {c.table for c in condition.find_all(exp.Column)}
    )


def _filtered(profile: Profile, conditions: Sequence[exp.Expr]) -> Profile:
    """A source after the conditions that name it alone."""
    if profile.rows is None:
        return profile
    before = rows = profile.rows
    columns = dict(profile.columns)
    own: dict[str, float] = {}
    for condition in conditions:
        share = selectivity(condition, lambda column: profile.column(column.name))
        rows *= share
        names = {column.name for column in condition.find_all(exp.Column)}
        if len(names) == 1:
            # values that the condition leaves out are gone, of the others all rows stay
            (name,) = names
            own[name] = own.get(name, 1.0) * share
            columns[name] = _chosen(columns.get(name, UNKNOWN), condition.unnest(), share)
    if before > 0:
        rows = max(rows, min(1.0, before)) if rows > 0 else rows
        columns = {name: thinned(stats, before * own.get(name, 1.0), rows) for name, stats in columns.items()}
    return Profile(rows, columns, profile.keys)


def _chosen(stats: ColumnStats, condition: exp.Expr, share: float) -> ColumnStats:
    """A column's values after a condition on it alone, which keeps a share of the rows."""
    count = stats.distinct_count
    if isinstance(condition, (exp.Is, exp.Not)):
        return stats
    if isinstance(condition, exp.EQ):
        is_known = (
            literal_value(condition.expression) is not None or literal_value(condition.this) is not None
        )
        listed = 1.0 if is_known else None
    else:
        listed = float(len(condition.expressions)) if isinstance(condition, exp.In) else None
    if listed:
        count = listed if count is None else min(count, listed)
    elif count is not None:
        count = max(min(count, count * share), min(count, 1.0))
    return attrs.evolve(stats, distinct_count=count, null_fraction=0.0, common=())


def _by_sub_select(
    condition: exp.Expr,
    sources: Mapping[str, Profile],
    relations: Mapping[str, Relation],
    ctes: Mapping[str, Profile],
) -> float:
    """The share of rows that a condition with a sub-select keeps."""
    node = condition.unnest()
    is_negated = isinstance(node, exp.Not)
    inner = node.this.unnest() if is_negated else node
    share = 0.5
    if isinstance(inner, exp.In) and isinstance(inner.this.unnest(), exp.Column):
        query = inner.args.get("query")
        column = inner.this.unnest()
        outer = sources.get(column.table)
        if query is not None and outer is not None:
            names = [select.alias_or_name for select in query.unnest().selects]
            found = distinct_of(query_profile(query, relations, ctes), names)
            known = outer.column(column.name).distinct_count
            if found is not None and known:
                share = min(1.0, found / known)
    return 1.0 - share if is_negated else share


def _source_profile(
    source: exp.Expr, relations: Mapping[str, Relation], ctes: Mapping[str, Profile], used: Collection[str]
) -> Profile:
    """A source of a SELECT; of a table only the columns ``used`` are looked at."""
    if isinstance(source, exp.Table):
        relation = relations.get(source.name)
        if relation is not None and relation.literal is None:
            return relation_profile(relation, used)
        if relation is not None and relation.literal is not None:
            return Profile(float(len(relation.literal.rows)), {})
        return ctes.get(source.name, Profile(None, {}))
    return query_profile(source.this if isinstance(source, exp.Subquery) else source, relations, ctes)
