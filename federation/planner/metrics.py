"""Which columns of a statement are metrics of datasets, used by name as if they were columns.

``raw.psf_fwhm``, or ``psf_fwhm`` where nothing else has that name, is the metric ``psf_fwhm`` of the dataset when
``raw`` has no such column and some schema's catalog names such a metric. ``metric(raw, 'psf_fwhm')`` is the metric
whatever columns there are. `read_metric_calls` turns the function into a column, `find_metrics` decides which columns
are metrics, and `federation.planner.metric_joins` joins them when every column has its source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.model.logical import LogicalType, TableKind
from federation.model.suggestion import suggest
from federation.planner.draft import Relation
from federation.planner.expand import identifier
from federation.planner.position import position_of
from federation.planner.qualify import metric_types, name_outputs
from federation.planner.scopes import binder, sources_of

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["find_metrics", "read_metric_calls"]

_ID = "dataset_id"
#: on a column that was written as metric(table, 'name')
_CALLED = "metric"


def read_metric_calls(draft: Draft) -> None:
    """Rule: ``metric(table, 'name')`` becomes a column of the table that can only be a metric."""
    for call in list(draft.tree.find_all(exp.Anonymous)):
        if call.name.lower() != "metric":
            continue
        arguments = call.expressions
        table = arguments[0] if arguments else None
        name = arguments[1] if len(arguments) == 2 else None
        if (
            not isinstance(table, exp.Column)
            or table.args.get("table") is not None
            or not isinstance(name, exp.Literal)
            or not name.is_string
        ):
            raise draft.error(
                "metric takes a table of FROM and a name in quotes", call, hint="metric(raw, 'psf_fwhm')"
            )
        made = exp.Column(this=identifier(name.name), table=table.this.copy())
        made.meta.update({_CALLED: True, "start": position_of(table)})
        call.replace(made)


@attrs.frozen
class _Found:
    """A column that is the metric ``name`` of the source ``alias`` of ``select``."""

    column: exp.Column
    relation: Relation
    alias: str
    name: str


def find_metrics(draft: Draft) -> None:
    """Rule: qualify every column that is a metric, and note it as a hidden column of its table's relation."""
    known = metric_types(draft)
    columns = list(draft.tree.find_all(exp.Column))
    if not known and not any(node.meta.get(_CALLED) for node in columns):
        return
    found = [one for node in columns if (one := _metric_of(draft, node, known)) is not None]
    if not found:
        return
    name_outputs(draft.tree)
    declared = {definition.name for relation in draft.relations.values() for definition in relation.columns}
    for one in found:
        # where a column has the metric's name, that name would be ambiguous
        hidden = one.name if one.name not in declared else f"{one.name}#metric"
        draft.metrics.setdefault(one.relation.name, {})[hidden] = (one.name, known[one.name])
        written, node = one.column.name, one.column
        node.set("this", identifier(hidden))
        node.set("table", identifier(one.alias))
        if isinstance(node.parent, exp.Select) and node.arg_key == "expressions":
            start = node.meta.get("start")
            alias = exp.Alias(this=node.copy(), alias=identifier(written))
            alias.meta["start"] = alias.this.meta["start"] = start
            node.replace(alias)


def _has_metrics(relation: Relation | None) -> bool:
    if relation is None or relation.literal is not None or relation.key != (_ID,):
        return False
    return relation.arms[0].table.kind is TableKind.DATASET_TYPE or relation.table == "dataset"


def _metric_of(draft: Draft, node: exp.Column, known: dict[str, LogicalType]) -> _Found | None:
    if node.args.get("table") is None:
        return _of_bare_name(draft, node, known)
    select = binder(node)
    source = sources_of(select)[node.table] if select is not None else None
    relation = draft.relations.get(source.name) if isinstance(source, exp.Table) else None
    called = node.meta.get(_CALLED)
    if relation is None or not _has_metrics(relation):
        if called:
            raise draft.error(
                f"{node.table!r} is no table of datasets in FROM, so it has no metrics",
                node,
                hint="name the table of a dataset type, or its alias",
            )
        return None
    if not called and node.name in {definition.name for definition in relation.columns}:
        return None
    name = _spelled(node.name, known)
    if name is None and called:
        raise draft.error(
            f"no dataset has a metric {node.name!r}", node, hint=suggest(node.name, known, "metrics")
        )
    return None if name is None else _Found(node, relation, node.table, name)


def _spelled(name: str, known: dict[str, LogicalType]) -> str | None:
    """The metric that a name means: in any case when only one fits, as tables are."""
    if name in known:
        return name
    alike = [metric for metric in known if metric.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def _of_bare_name(draft: Draft, node: exp.Column, known: dict[str, LogicalType]) -> _Found | None:
    """The metric that an unqualified name means, when no source in sight and no output has the name."""
    name = _spelled(node.name, known)
    if name is None:
        return None
    select = _enclosing(node)
    if select is None or _is_output_name(node, select):
        return None
    found: list[_Found] = []
    while select is not None:
        tables = []
        for alias, source in sources_of(select).items():
            if node.name in _names_of(draft, source):
                return None
            relation = draft.relations.get(source.name) if isinstance(source, exp.Table) else None
            if relation is not None and _has_metrics(relation):
                tables.append(_Found(node, relation, alias, name))
        found = found or tables
        select = _enclosing(select)
    if len(found) > 1:
        choices = " or ".join(f"{one.alias}.{node.name}" for one in found)
        raise draft.error(f"metric {node.name!r} is ambiguous", node, hint=f"write {choices}")
    return found[0] if found else None


def _enclosing(node: exp.Expr) -> exp.Select | None:
    """The next SELECT around ``node`` whose sources it sees; the ORDER BY of a set operation sees none."""
    while node.parent is not None:
        parent = node.parent
        in_from = isinstance(parent, (exp.From, exp.Join)) and node is parent.this
        if isinstance(parent, exp.With) or (in_from and not isinstance(node, exp.Lateral)):
            return None
        if isinstance(parent, exp.Select):
            return parent
        if isinstance(parent, exp.Query) and not isinstance(node, exp.Query):
            return None
        node = parent
    return None


def _is_output_name(node: exp.Column, select: exp.Select) -> bool:
    """Whether a clause after SELECT names an output: ORDER BY any, the others one that AS has named."""
    clause: exp.Expr = node
    while clause.parent is not select:
        assert clause.parent is not None
        clause = clause.parent
    if clause.arg_key == "expressions":
        return False
    aliases = {item.alias for item in select.expressions if isinstance(item, exp.Alias)}
    if clause.arg_key == "order":
        aliases |= {item.alias_or_name for item in select.expressions}
    return node.name in aliases


def _names_of(draft: Draft, source: exp.Expr, around: frozenset[str] = frozenset()) -> set[str]:
    """The columns of one source; those of a sub-select's ``*`` are those of its own sources.

    ``around`` are the WITH queries it is inside of, which may be recursive.
    """
    if isinstance(source, exp.Table):
        relation = draft.relations.get(source.name)
        if relation is not None:
            return {definition.name for definition in relation.columns}
        query: exp.Expr | None = next(
            (cte for cte in draft.tree.find_all(exp.CTE) if cte.alias == source.name), None
        )
    else:
        query = source
    alias = source.args.get("alias")
    names = {renamed.name for renamed in alias.columns} if isinstance(alias, exp.TableAlias) else set()
    if isinstance(query, exp.CTE):
        names |= {renamed.name for renamed in query.args["alias"].columns}
    inner = query.this if isinstance(query, (exp.CTE, exp.Subquery, exp.Lateral)) else None
    while isinstance(inner, (exp.SetOperation, exp.Subquery)):
        inner = inner.this
    if isinstance(inner, exp.Select):
        for item in inner.expressions:
            if not item.is_star:
                names.add(item.alias_or_name)
                continue
            for alias_, below in sources_of(inner).items():
                if (isinstance(item, exp.Star) or item.table == alias_) and below.name not in around:
                    names |= _names_of(draft, below, around | {source.name})
    return names
