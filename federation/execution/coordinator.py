"""Asks the sites, runs a plan's fragments at once, and finishes locally."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs
import pyarrow as pa

from federation.config.settings import QueryConfig
from federation.errors import LimitError, NotFoundError, UnavailableError
from federation.execution.local_engine import LocalEngine
from federation.execution.plan_cache import PlanCache, passes_through
from federation.execution.result import FragmentStats, Result, Stream
from federation.model.catalog import FederationCatalog
from federation.model.logical import LogicalType
from federation.planner import PlanOptions
from federation.wire.arrow import arrow_schema, rows_to_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.model.catalog import SiteCatalog
    from federation.model.position import Position
    from federation.planner import Fragment, LiteralTable, Plan
    from federation.wire.messages import Column, RowStream, SiteStatus

__all__ = ["Coordinator", "QueryableSite"]

#: calls to sites at one time, for one coordinator
_WORKERS = 16
#: rows in one batch of an answer that is complete already
_BATCH_ROWS = 10_000


class QueryableSite(Protocol):
    """A site as the coordinator needs it: over the wire, or in this process."""

    def get_catalog(self, known_version: str = "") -> SiteCatalog | None: ...

    def execute(
        self,
        sql: str,
        columns: Sequence[Column],
        keys: Mapping[str, pa.Array] | None = None,
        *,
        user: str = "",
        query_id: str = "",
        row_count_max: int = 0,
        timeout_s: float | None = None,
    ) -> RowStream: ...

    def status(self) -> SiteStatus: ...

    def close(self) -> None: ...


@attrs.frozen(eq=False)
class _Rows:
    """All rows of one fragment."""

    table: pa.Table
    positions: tuple[Position, ...]
    stats: FragmentStats


class _SiteFailedError(UnavailableError):
    """A site that did not answer a fragment."""

    code = "unavailable"

    def __init__(self, site: str, cause: UnavailableError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.site = site


class Coordinator:
    """Queries from one site, its home; ``clients`` in order of nearness, home among them."""

    def __init__(
        self, home: str, clients: Mapping[str, QueryableSite], config: QueryConfig = QueryConfig()
    ) -> None:
        self.home = home
        self.clients = dict(clients)
        self.config = config
        self._engine = LocalEngine(config.memory_limit)
        self._pool = concurrent.futures.ThreadPoolExecutor(_WORKERS, thread_name_prefix="federation-query")
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
        return FederationCatalog(self.home, tuple(sites), down)

    def _ask(self, site: str) -> SiteCatalog:
        with self._lock:
            known = self._known.get(site)
        # the version is that of the rows; how old a replica is must always be asked
        owned = known is not None and all(held.schema.site == site for held in known.schemas)
        fresh = self.clients[site].get_catalog(known.version if known and owned else "")
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

    def query(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        user: str = "",
        timeout_s: float | None = None,
    ) -> Result:
        """Plan a statement, run its fragments at their sites at once, and finish locally.

        A site that fails while it is asked is planned around once: by replicas that are fresh enough, or, for a
        partial answer, without it. Raises `QueryError`, `UnavailableError` or `LimitError`.
        """
        start = time.monotonic()
        deadline = start + (self.config.timeout_s if timeout_s is None else timeout_s)
        options = self._options(max_staleness_s, partial, tuple(chain))
        call = _Call(user, uuid.uuid4().hex, self.config.row_count_max, deadline)
        made = self._plans.plan(sql, self.catalog(), options)
        try:
            answers = self._run(made.fragments, call)
        except _SiteFailedError as error:
            made = self._plans.plan(sql, self.catalog({error.site: error.message}), options)
            answers = self._run(made.fragments, call)
        local_start = time.monotonic()
        if passes_through(made):
            table = answers[0].table
        else:
            tables = {answer.stats.id: answer.table for answer in answers}
            tables |= {literal.name: _literal(literal) for literal in made.literal_tables}
            table = self._engine.run(tables, made.local_sql, made.columns, call.remaining(), made.pair_tables)
        end = time.monotonic()
        positions = dict.fromkeys(position for answer in answers for position in answer.positions)
        return Result(
            table,
            made,
            tuple(positions),
            tuple(answer.stats for answer in answers),
            end - start,
            end - local_start,
        )

    @contextmanager
    def stream(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        user: str = "",
        timeout_s: float | None = None,
    ) -> Iterator[Stream]:
        """As `query`, but rows as they come: a context whose end stops the work that is left.

        An answer that one site gives alone is never held whole; any other one is complete when its first batch comes.
        A site that fails before its first row is planned around as in `query`; one that fails later is an error.
        """
        seconds = self.config.timeout_s if timeout_s is None else timeout_s
        options = self._options(max_staleness_s, partial, tuple(chain))
        made = self._plans.plan(sql, self.catalog(), options)
        if passes_through(made):
            fragment = made.fragments[0]
            call = _Call(user, uuid.uuid4().hex, self.config.row_count_max, time.monotonic() + seconds)
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
            except UnavailableError:
                pass  # `query` plans around it
            else:
                try:
                    yield Stream(rows.schema, made, rows.positions, _in_time(entered, call))
                finally:
                    rows.__exit__(None, None, None)
                return
        result = self.query(
            sql,
            max_staleness_s=max_staleness_s,
            partial=partial,
            chain=options.chain,
            user=user,
            timeout_s=seconds,
        )
        batches = iter(result.table.to_batches(max_chunksize=_BATCH_ROWS))
        yield Stream(result.table.schema, result.plan, result.positions, batches)

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
        call = _Call("", uuid.uuid4().hex, self.config.row_count_max, deadline)
        return _collect(self._client(site), site, site, sql, columns, keys, call, threading.Event()).table

    def _client(self, site: str) -> QueryableSite:
        if site not in self.clients:
            raise NotFoundError(f"unknown site {site!r}", hint="sites: " + ", ".join(self.clients))
        return self.clients[site]

    def _options(self, max_staleness_s: float | None, partial: bool, chain: Iterable[str]) -> PlanOptions:
        staleness_s = self.config.max_staleness_s if max_staleness_s is None else max_staleness_s
        return PlanOptions(staleness_s, partial, tuple(chain))

    def _run(self, fragments: Sequence[Fragment], call: _Call) -> list[_Rows]:
        """Rows of every fragment; the first failure stops the others."""
        stop = threading.Event()

        def run(fragment: Fragment) -> _Rows:
            try:
                return _collect(
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

        futures = [self._pool.submit(run, fragment) for fragment in fragments]
        done, rest = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed:
            stop.set()
            for future in rest:
                future.cancel()
            concurrent.futures.wait(rest)
        return [future.result() for future in (*failed, *futures)]


@attrs.frozen
class _Call:
    """What all fragments of one query share; ``deadline`` is of the monotonic clock."""

    user: str
    query_id: str
    row_count_max: int
    deadline: float

    def remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise LimitError("the query took too long", hint="narrow it, or allow more time with --timeout")
        return left


def _collect(
    client: QueryableSite,
    site: str,
    id_: str,
    sql: str,
    columns: Sequence[Column],
    keys: Mapping[str, pa.Array] | None,
    call: _Call,
    stop: threading.Event,
) -> _Rows:
    start = time.monotonic()
    rows = client.execute(
        sql,
        columns,
        keys,
        user=call.user,
        query_id=call.query_id,
        row_count_max=call.row_count_max,
        timeout_s=call.remaining(),
    )
    batches = []
    with rows:
        for batch in rows:
            batches.append(batch)
            call.remaining()
            if stop.is_set():
                raise UnavailableError("another fragment of the query failed", hint="ask again")
        table = pa.Table.from_batches(batches, schema=rows.schema)
        seconds = time.monotonic() - start
        stats = FragmentStats(id_, site, table.num_rows, rows.byte_count, seconds)
        return _Rows(table, rows.positions, stats)


def _in_time(rows: Iterable[pa.RecordBatch], call: _Call) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        call.remaining()
        yield batch


def _literal(literal: LiteralTable) -> pa.Table:
    schema = arrow_schema((column.name, column.type or LogicalType.STRING) for column in literal.columns)
    return pa.Table.from_batches([rows_to_batch(literal.rows, schema)], schema=schema)
