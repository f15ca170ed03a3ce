"""The planner: a tuple of rules, each a function that takes the draft one step further."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.planner.aggregates import aggregate_early
from federation.planner.columns import drop_columns
from federation.planner.cut import cut_fragments
from federation.planner.disjoint import split_disjoint
from federation.planner.draft import Draft
from federation.planner.duplicates import drop_duplicates
from federation.planner.empty import skip_empty
from federation.planner.filters import push_filters
from federation.planner.find_first import find_first
from federation.planner.folding import fold_conditions
from federation.planner.grouping import check_grouping
from federation.planner.inline import inline_ctes
from federation.planner.literals import type_literals
from federation.planner.local import finish_local, name_columns
from federation.planner.metric_joins import join_metrics
from federation.planner.metrics import find_metrics, read_metric_calls
from federation.planner.outer_joins import narrow_outer_joins
from federation.planner.parse import parse_statement
from federation.planner.plan import Plan, PlanOptions
from federation.planner.prune import prune
from federation.planner.qualify import qualify_names, spell_names
from federation.planner.reduce import reduce_fragments
from federation.planner.region_joins import join_regions
from federation.planner.region_match import match_regions
from federation.planner.regions import check_region_functions, fold_region_functions
from federation.planner.resolve import resolve_tables
from federation.planner.routing import route_schemas
from federation.planner.semi_joins import gather_semi_joins
from federation.planner.timespans import expand_timespan_functions
from federation.planner.topk import push_top

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.model.catalog import FederationCatalog

__all__ = ["OPTIONAL_RULES", "RULES", "plan"]

#: in order; a new rule is a function in a file of its own and one line here
RULES: tuple[Callable[[Draft], None], ...] = (
    parse_statement,
    read_metric_calls,
    expand_timespan_functions,
    check_region_functions,
    resolve_tables,
    spell_names,
    find_metrics,
    qualify_names,
    check_grouping,
    join_metrics,
    type_literals,
    fold_region_functions,
    name_columns,
    inline_ctes,
    narrow_outer_joins,
    push_filters,
    fold_conditions,
    drop_columns,
    prune,
    route_schemas,
    find_first,
    skip_empty,
    split_disjoint,
    gather_semi_joins,
    aggregate_early,
    drop_duplicates,
    push_top,
    cut_fragments,
    reduce_fragments,
    match_regions,
    join_regions,
    finish_local,
)

#: rules that only save work: without any of them a statement gives the same rows
OPTIONAL_RULES: tuple[Callable[[Draft], None], ...] = (
    inline_ctes,
    narrow_outer_joins,
    push_filters,
    fold_conditions,
    drop_columns,
    prune,
    find_first,
    skip_empty,
    split_disjoint,
    gather_semi_joins,
    aggregate_early,
    drop_duplicates,
    push_top,
    reduce_fragments,
    match_regions,
)


def plan(sql: str, catalog: FederationCatalog, options: PlanOptions | None = None) -> Plan:
    """Plan one statement over the federation.

    Raises `QueryError` for a statement that can't be parsed, resolved or allowed, and `UnavailableError` when what
    it needs is at a site that does not answer and no replica is fresh enough.
    """
    draft = Draft(sql, catalog, options or PlanOptions())
    switched_off = {rule for rule in OPTIONAL_RULES if rule.__name__ in draft.options.rules_off}
    for rule in RULES:
        if rule not in switched_off:
            draft.rule = rule.__name__
            rule(draft)
    return Plan(
        sql=sql,
        fragments=tuple(draft.fragments),
        local_sql=draft.local_sql,
        columns=draft.columns,
        decisions=tuple(draft.decisions),
        deciders=tuple(draft.deciders),
        missing=tuple(draft.missing),
        consulted=tuple(draft.consulted.values()),
        literal_tables=tuple(draft.literal_tables.values()),
        pair_tables=tuple(draft.pair_tables),
        find_first=draft.find_first,
        region_match=draft.region_match,
    )
