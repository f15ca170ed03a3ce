"""Asks the sites, runs a plan's fragments at once, and finishes locally."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from federation.config.settings import QueryConfig
from federation.errors import NotFoundError, UnavailableError
from federation.execution.direct import direct_rows, direct_schema, is_direct
from federation.execution.gathering import (
    Call,
    FragmentRows,
    QueryableSite,
    collect,
    in_time,
    positions_of,
    tables_of,
)
from federation.execution.local_engine import LocalEngine
from federation.execution.local_site import LocalSite
from federation.execution.plan_cache import PlanCache
from federation.execution.result import Result, Stream
from federation.model.catalog import FederationCatalog
from federation.planner import PlanOptions
from federation.request_context import RequestPool, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.model.catalog import SiteCatalog
    from federation.planner import Fragment, Plan
    from federation.wire.messages import Column

__all__ = ["Coordinator", "QueryableSite"]

#: calls to sites at one time, for one coordinator
_WORKERS = 16
#: rows in one batch of an answer that is complete already
_BATCH_ROWS = 10_000


class _SiteFailedError(UnavailableError):
    """A site that did not answer a fragment."""

    code = "unavailable"

    def __init__(self, site: str, cause: UnavailableError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.site, self.request_id = site, cause.request_id


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
        self._engine = LocalEngine(config.memory_limit)
        self._pool = RequestPool(_WORKERS, thread_name_prefix="federation-query")
        self._known: dict[str, SiteCatalog] = {}
        self._plans = PlanCache()
        self._lock = threading.Lock()

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads; the clients are the caller's."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._engine.close()

    def catalog(self, unreachable: Mapping[str, str] | None = None) -> FederationCatalog:
        """What all sites hold, home first; those that don't answer with the reason. ``unreachable`` are not asked."""
        down = dict(unreachable or {})
        order = sorted((site for site in self.clients if site not in down), key=lambda s: s != self.home)
        futures = {site: self._pool.submit(self._ask, site) for site in order}
        sites = []
        for site, future in futures.items():
            try:
                sites.append(future.result())
            except UnavailableError as error:
                down[site] = error.message
        return FederationCatalog.permitted(self.home, tuple(sites), down)

    def _ask(self, site: str) -> SiteCatalog:
        with self._lock:
            known = self._known.get(site)
        # the version is that of the rows; how old a replica is must always be asked
        owned = known is not None and all(held.schema.site == site for held in known.schemas)
        fresh = self.clients[site].get_catalog(known.version if known and owned else "", self.user)
        if fresh is None:
            if known is None:
                raise UnavailableError(f"site {site} sent no catalog", hint="bring both sites to one version")
            return known
        with self._lock:
            self._known[site] = fresh
        return fresh

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
    ) -> Result:
        """Plan a statement, run its fragments at their sites at once, and finish locally.

        A site that fails while it is asked is planned around once: by replicas that are fresh enough, or, for a
        partial answer, without it. Raises `QueryError`, `UnavailableError` or `LimitError`.
        """
        start = time.monotonic()
        deadline = start + (self.config.timeout_s if timeout_s is None else timeout_s)
        options = self._options(max_staleness_s, partial, tuple(chain))
        call = Call(self.user, uuid.uuid4().hex, self.config.row_count_max, deadline)
        made = self._plans.plan(sql, self.catalog(), options)
        made, answers = self._answers(made, sql, options, call)
        local_start = time.monotonic()
        if is_direct(made):
            (answer,) = answers
            table = pa.Table.from_batches(direct_rows(made, answer.table.to_batches()), direct_schema(made))
        else:
            table = self._engine.run(
                tables_of(made, answers), made.local_sql, made.columns, call.remaining(), made.pair_tables
            )
        end = time.monotonic()
        stats = tuple(answer.stats for answer in answers)
        return Result(table, made, positions_of(answers), stats, end - start, end - local_start)

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
        made = self._plans.plan(sql, self.catalog(), options)
        call = Call(self.user, uuid.uuid4().hex, self.config.row_count_max, time.monotonic() + seconds)
        if is_direct(made):
            fragment = made.fragments[0]
            try:
                rows = self._client(fragment.site).execute(
                    fragment.sql,
                    fragment.columns,
                    user=call.user,
                    query_id=call.query_id,
                    row_count_max=call.row_count_max,
                    timeout_s=call.remaining(),
                )
                entered = rows.__enter__()
            except UnavailableError as error:
                made = self._plans.plan(sql, self.catalog({fragment.site: error.message}), options)
            else:
                try:
                    batches = direct_rows(made, in_time(entered, call))
                    yield Stream(direct_schema(made), made, rows.positions, batches)
                finally:
                    rows.__exit__(None, None, None)
                return
        made, answers = self._answers(made, sql, options, call)
        positions = positions_of(answers)
        if is_direct(made):
            batches = direct_rows(made, iter(answers[0].table.to_batches(max_chunksize=_BATCH_ROWS)))
            yield Stream(direct_schema(made), made, positions, batches)
            return
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
        keys: Mapping[str, pa.Array] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> pa.Table:
        """All rows of one fragment of the caller's own at one site."""
        deadline = time.monotonic() + (self.config.timeout_s if timeout_s is None else timeout_s)
        call = Call(self.user, uuid.uuid4().hex, self.config.row_count_max, deadline)
        return collect(self._client(site), site, site, sql, columns, keys, call, threading.Event()).table

    def _client(self, site: str) -> QueryableSite:
        if site not in self.clients:
            raise NotFoundError(f"unknown site {site!r}", hint="sites: " + ", ".join(self.clients))
        return self.clients[site]

    def _options(self, max_staleness_s: float | None, partial: bool, chain: Iterable[str]) -> PlanOptions:
        staleness_s = self.config.max_staleness_s if max_staleness_s is None else max_staleness_s
        return PlanOptions(staleness_s, partial, tuple(chain))

    def _answers(
        self, made: Plan, sql: str, options: PlanOptions, call: Call
    ) -> tuple[Plan, list[FragmentRows]]:
        """The rows of a plan's fragments; where a site fails, of another plan without it, which is then the plan."""
        try:
            return made, self._run(made.fragments, call)
        except _SiteFailedError as error:
            made = self._plans.plan(sql, self.catalog({error.site: error.message}), options)
            return made, self._run(made.fragments, call)

    def _run(self, fragments: Sequence[Fragment], call: Call) -> list[FragmentRows]:
        """Rows of every fragment, read at once where that is quicker; the first failure stops the others."""
        stop = threading.Event()

        def run(fragment: Fragment) -> FragmentRows:
            try:
                return collect(
                    self._client(fragment.site),
                    fragment.site,
                    fragment.id,
                    fragment.sql,
                    fragment.columns,
                    None,
                    call,
                    stop,
                )
            except UnavailableError as error:
                raise _SiteFailedError(fragment.site, error) from error

        clients = [self._client(fragment.site) for fragment in fragments]
        if all(isinstance(client, LocalSite) and client.answers_in_turn for client in clients):
            return [run(fragment) for fragment in fragments]
        futures = [self._pool.submit(run, fragment) for fragment in fragments]
        done, rest = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed:
            stop.set()
            for future in rest:
                future.cancel()
            concurrent.futures.wait(rest)
        return [future.result() for future in (*failed, *futures)]
