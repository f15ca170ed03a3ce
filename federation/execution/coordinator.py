"""Asks the sites, runs a plan's fragments at once, and finishes locally."""

from __future__ import annotations

import time
import uuid
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import pyarrow as pa

from federation.config.settings import QueryConfig
from federation.errors import NotFoundError, UnavailableError
from federation.execution.direct import direct_rows, direct_schema, is_direct, wanted
from federation.execution.gathering import (
    Call,
    FragmentRows,
    QueryableSite,
    collect,
    in_time,
    positions_of,
    room_for,
    tables_of,
)
from federation.execution.local_engine import LocalEngine
from federation.execution.local_site import LocalSite
from federation.execution.open_rows import OpenRows
from federation.execution.plan_cache import PlanCache
from federation.execution.result import Result, Stream
from federation.execution.result_limit import ResultLimit
from federation.execution.site_catalogs import SiteCatalogs
from federation.execution.speculation import SiteFailedError, Speculation
from federation.execution.stages import run_fragments
from federation.execution.stopping import Stop
from federation.planner import PlanOptions
from federation.request_context import RequestPool, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.model.catalog import FederationCatalog
    from federation.planner import Fragment, Plan
    from federation.wire.messages import Column

__all__ = ["Coordinator", "QueryableSite"]

#: calls to sites at one time, for one coordinator
_WORKERS = 16


class Coordinator:
    """Queries from one site, its home; ``clients`` in order of nearness, home among them.

    They are asked on behalf of ``user``, who sees what they may read; ``""`` is the operator.
    """

    def __init__(
        self,
        home: str,
        clients: Mapping[str, QueryableSite],
        config: QueryConfig = QueryConfig(),
        *,
        user: str = "",
    ) -> None:
        self.home = home
        self.clients = dict(clients)
        self.config = config
        self.user = user
        self._engine = LocalEngine(config.memory_limit, config.spill_limit, config.spill_directory)
        self._pool = RequestPool(_WORKERS, thread_name_prefix="federation-query")
        self._catalogs = SiteCatalogs(home, self.clients, user)
        self._plans = PlanCache()
        self._speculation = Speculation(self._catalogs, self._plans, self._stop)
        self._stops: weakref.WeakSet[Stop] = weakref.WeakSet()

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the queries that run, and end the threads; the clients are the caller's."""
        for stop in list(self._stops):
            stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._catalogs.close()
        self._engine.close()

    def catalog(self, unreachable: Mapping[str, str] | None = None) -> FederationCatalog:
        """What all sites hold, home first; those that don't answer with the reason. ``unreachable`` are not asked."""
        return self._catalogs.fresh(unreachable)

    def explain(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
    ) -> Plan:
        """The plan of a statement, made from the sites' present catalogs; nothing is run."""
        return self._plans.plan(sql, self.catalog(), self._options(max_staleness_s, partial, chain))

    @request()
    def query(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        row_count_max: int | None = None,
        byte_count_max: int | None = None,
        on_limit: str = "error",
    ) -> Result:
        """Plan a statement, run its fragments at their sites at once, and finish locally.

        A site that fails while it is asked is planned around once: by replicas that are fresh enough, or, for a
        partial answer, without it. An answer of more rows or bytes than the given ones, or else the configuration's,
        is an error, or with ``on_limit`` ``"truncate"`` cut and marked so. Raises `QueryError`, `UnavailableError` or
        `LimitError`.
        """
        limit = ResultLimit.asked(
            row_count_max, byte_count_max, on_limit, self.config.row_count_max, self.config.byte_count_max
        )
        start = time.monotonic()
        deadline = start + (self.config.timeout_s if timeout_s is None else timeout_s)
        options = self._options(max_staleness_s, partial, tuple(chain))
        call = self._call(deadline)
        made, answers = self._speculation.run(
            sql,
            options,
            lambda plan, stop: self._run(plan.fragments, wanted(self._roomy(call), plan, limit), stop),
            ahead=self._has_round_trips,
        )
        local_start = time.monotonic()
        if is_direct(made):
            (answer,) = answers
            table = limit.table(direct_rows(made, answer.table.to_batches()), direct_schema(made))
        else:
            tables = tables_of(made, answers)
            table = self._engine.run(
                tables, made.local_sql, made.columns, call.remaining(), made.pair_tables, limit
            )
        end = time.monotonic()
        stats = tuple(answer.stats for answer in answers)
        return Result(table, made, positions_of(answers), stats, end - start, end - local_start, limit.reason)

    @contextmanager
    def stream(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> Iterator[Stream]:
        """As `query`, but rows as they come: a context whose end stops the work that is left.

        An answer that one site gives alone is never held whole, nor is one that is found first in its rows. For any
        other one, the fragments' rows are all here before its first batch comes.
        A site that fails before its first row is planned around as in `query`; one that fails later is an error.
        """
        seconds = self.config.timeout_s if timeout_s is None else timeout_s
        options = self._options(max_staleness_s, partial, tuple(chain))
        call = self._call(time.monotonic() + seconds)
        made, found = self._speculation.run(
            sql,
            options,
            lambda plan, stop: self._begin(plan, self._roomy(call), stop),
            lambda begun: begun.close() if isinstance(begun, OpenRows) else None,
            ahead=self._has_round_trips,
        )
        if isinstance(found, OpenRows):
            with found:
                batches = direct_rows(made, in_time(found.batches, call))
                yield Stream(direct_schema(made), made, found.positions, batches)
            return
        answers = found
        positions = positions_of(answers)
        tables = tables_of(made, answers)
        answers.clear()  # the engine holds their rows from now on
        with self._engine.stream(
            tables, made.local_sql, made.columns, call.remaining(), made.pair_tables
        ) as (schema, batches):
            yield Stream(schema, made, positions, in_time(batches, call))

    @request()
    def execute_on(
        self,
        site: str,
        sql: str,
        columns: Sequence[Column],
        keys: Mapping[str, pa.Table] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> pa.Table:
        """All rows of one fragment of the caller's own at one site, which reads ``keys`` as ``param.NAME``."""
        deadline = time.monotonic() + (self.config.timeout_s if timeout_s is None else timeout_s)
        return collect(
            self._client(site), site, site, sql, columns, keys, self._call(deadline), self._stop()
        ).table

    def _call(self, deadline: float) -> Call:
        return Call(
            self.user, uuid.uuid4().hex, self.config.row_count_max, deadline, room=room_for(self.config)
        )

    def _stop(self) -> Stop:
        """What stops the work that begins now; also the end of the coordinator does."""
        stop = Stop()
        self._stops.add(stop)
        return stop

    def _client(self, site: str) -> QueryableSite:
        if site not in self.clients:
            raise NotFoundError(f"unknown site {site!r}", hint="sites: " + ", ".join(self.clients))
        return self.clients[site]

    def _options(self, max_staleness_s: float | None, partial: bool, chain: Iterable[str]) -> PlanOptions:
        staleness_s = self.config.max_staleness_s if max_staleness_s is None else max_staleness_s
        return PlanOptions(staleness_s, partial, tuple(chain))

    @property
    def _has_round_trips(self) -> bool:
        """Whether a site is asked over the wire, so that it is worth while to begin before it has answered."""
        return not all(isinstance(client, LocalSite) for client in self.clients.values())

    def _roomy(self, call: Call) -> Call:
        """The call with room for the rows of one more attempt."""
        return attrs.evolve(call, room=room_for(self.config))

    def _begin(self, made: Plan, call: Call, stop: Stop) -> OpenRows | list[FragmentRows]:
        """The one fragment that is the answer, open; or the rows of all fragments."""
        if not is_direct(made):
            return self._run(made.fragments, call, stop)
        fragment = made.fragments[0]
        try:
            return OpenRows.of(self._client(fragment.site), fragment, call, stop)
        except UnavailableError as error:
            raise SiteFailedError(fragment.site, error) from error

    def _run(self, fragments: Sequence[Fragment], call: Call, stop: Stop) -> list[FragmentRows]:
        """Rows of every fragment, in their order; the first failure stops the others."""
        return run_fragments(fragments, self._client, self._pool, call, stop)
