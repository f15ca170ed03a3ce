"""Runs queries at a coordinator, and keeps what it learned of collections as long as no schema has changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from federation.queries.facts import facts_from, facts_sql
from federation.queries.statement import compile_selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from federation.execution.coordinator import Coordinator
    from federation.execution.result import Result
    from federation.model.catalog import FederationCatalog
    from federation.model.dimension import DimensionUniverse
    from federation.planner import Plan
    from federation.queries.facts import Facts
    from federation.queries.selection import Options, Selection
    from federation.queries.statement import Statement

__all__ = ["QueryRunner"]


class QueryRunner:
    """What queries of one session share; safe between threads."""

    def __init__(self, coordinator: Coordinator, universe: DimensionUniverse) -> None:
        self._coordinator = coordinator
        self.universe = universe
        self._lock = threading.Lock()
        self._known: dict[Options, tuple[object, Facts]] = {}

    def facts(self, options: Options) -> Facts:
        """Collections and dataset types now: one query, and none while the catalog stays the same."""
        options = attrs.evolve(options, timeout_s=None)
        catalog = self._coordinator.catalog()
        version = _version(catalog)
        with self._lock:
            known = self._known.get(options)
        if known is not None and known[0] == version:
            return known[1]
        facts = facts_from(self.result(facts_sql(self.universe, catalog.schemas), options).table)
        with self._lock:
            self._known[options] = (version, facts)
        return facts

    def compile(self, selection: Selection, options: Options) -> Statement:
        """The statements of a selection."""
        return compile_selection(self.universe, self.facts(options), selection)

    def result(self, sql: str, options: Options) -> Result:
        """All rows."""
        return self._coordinator.query(
            sql,
            max_staleness_s=options.max_staleness_s,
            partial=options.partial,
            chain=options.chain,
            timeout_s=options.timeout_s,
        )

    def batches(self, sql: str, options: Options) -> Iterator[pa.RecordBatch]:
        """Rows as they arrive; closing the iterator stops the work that is left."""
        with self._coordinator.stream(
            sql,
            max_staleness_s=options.max_staleness_s,
            partial=options.partial,
            chain=options.chain,
            timeout_s=options.timeout_s,
        ) as stream:
            yield from stream

    def explain(self, sql: str, options: Options) -> Plan:
        """What would be run, and where."""
        return self._coordinator.explain(
            sql, max_staleness_s=options.max_staleness_s, partial=options.partial, chain=options.chain
        )


def _version(catalog: FederationCatalog) -> object:
    """Changes when any copy of a schema does, or a site comes or goes."""
    copies = frozenset(
        (site.site, held.schema, held.epoch, held.lsn) for site in catalog.sites for held in site.schemas
    )
    return copies, frozenset(catalog.unreachable)
