"""Asks the sites, runs a plan's fragments at once, and finishes locally."""

from __future__ import annotations

import threading
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
from federation.execution.missing_ranges import with_ranges
from federation.execution.open_rows import OpenRows
from federation.execution.plan_cache import PlanCache
from federation.execution.query_events import query_told
from federation.execution.read_positions import MovedError, check_read
from federation.execution.region_matching import matched_rows
from federation.execution.result import Result, Stream
from federation.execution.result_limit import ResultLimit
from federation.execution.site_catalogs import SiteCatalogs
from federation.execution.small_statements import run_small
from federation.execution.speculation import SiteFailedError, Speculation
from federation.execution.stages import run_fragments
from federation.execution.stopping import Stop
from federation.model.position_vector import by_schema
from federation.planner import PlanOptions
from federation.request_context import RequestPool, request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.execution.present_catalogs import PresentCatalogs
    from federation.model.catalog import FederationCatalog
    from federation.model.position import Position, SchemaId
    from federation.planner import Plan
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
        #: positions of what the caller has written
        self._after: dict[SchemaId, Position] = {}
        self._lock = threading.Lock()
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
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
    ) -> Plan:
        """The plan of a statement, made from the sites' present catalogs; nothing is run."""
        options = self._options(max_staleness_s, partial, chain, after, as_of)
        return self._plans.plan(sql, self.catalog(), options)

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
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
    ) -> Result:
        """Plan a statement, run its fragments at their sites at once, and finish locally.

        A site that fails while it is asked is planned around once: by replicas that are fresh enough, or, for a
        partial answer, without it. An answer of more rows or bytes than the given ones, or else the configuration's,
        is an error, or with ``on_limit`` ``"truncate"`` cut and marked so. Copies that lack an entry up to one of the
        positions ``after`` are not read; with ``as_of`` only those are that are exactly at its positions. Raises
        `QueryError`, `UnavailableError` or `LimitError`.
        """
        limit = ResultLimit.asked(
            row_count_max, byte_count_max, on_limit, self.config.row_count_max, self.config.byte_count_max
        )
        options = self._options(max_staleness_s, partial, chain, after, as_of)
        with query_told(sql, self.user) as tell:
            result = self._whole(sql, options, limit, timeout_s)
            tell(result)
            return result
        raise AssertionError

    def _whole(self, sql: str, options: PlanOptions, limit: ResultLimit, timeout_s: float | None) -> Result:
        start = time.monotonic()
        deadline = start + (self.config.timeout_s if timeout_s is None else timeout_s)
        call = self._call(deadline)
        made, answers = self._speculation.run(
            sql,
            options,
            lambda plan, stop, present: self._run(
                plan, options, wanted(self._roomy(call, present), plan, limit), stop
            ),
            ahead=self._has_round_trips,
        )
        local_start = time.monotonic()
        if is_direct(made):
            (answer,) = answers
            table = limit.table(direct_rows(made, answer.table.to_batches()), direct_schema(made))
        else:
            table = self._finished(made, tables_of(made, answers), call, limit)
        end = time.monotonic()
        stats = tuple(answer.stats for answer in answers)
        made = self._with_ranges(made)
        return Result(table, made, positions_of(answers), stats, end - start, end - local_start, limit.reason)

    def _finished(self, made: Plan, tables: dict[str, pa.Table], call: Call, limit: ResultLimit) -> pa.Table:
        """The answer, made of the fragments' rows."""
        if made.region_match is not None:
            return limit.table(matched_rows(made, tables, call.remaining), direct_schema(made))
        small = None if made.pair_tables else run_small(tables, made.local_sql, made.columns)
        if small is not None:
            return limit.table(small.to_batches(), small.schema)
        return self._engine.run(
            tables, made.local_sql, made.columns, call.remaining(), made.pair_tables, limit
        )

    @contextmanager
    def stream(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
    ) -> Iterator[Stream]:
        """As `query`, but rows as they come: a context whose end stops the work that is left.

        An answer that one site gives alone is never held whole, nor is one that is found first in its rows. For any
        other one, the fragments' rows are all here before its first batch comes.
        A site that fails before its first row is planned around as in `query`; one that fails later is an error.
        No row is given before the sites have confirmed what the plan was made from.
        """
        seconds = self.config.timeout_s if timeout_s is None else timeout_s
        options = self._options(max_staleness_s, partial, chain, after, as_of)
        call = self._call(time.monotonic() + seconds)
        made, found = self._speculation.run(
            sql,
            options,
            lambda plan, stop, present: self._begin(plan, options, self._roomy(call, present), stop),
            lambda begun: begun.close() if isinstance(begun, OpenRows) else None,
            ahead=self._has_round_trips,
        )
        made = self._with_ranges(made)
        if isinstance(found, OpenRows):
            with found:
                batches = direct_rows(made, in_time(found.batches, call))
                yield Stream(direct_schema(made), made, found.positions, batches)
            return
        answers = found
        positions = positions_of(answers)
        tables = tables_of(made, answers)
        if made.region_match is not None:
            yield Stream(direct_schema(made), made, positions, matched_rows(made, tables, call.remaining))
            return
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

    def _with_ranges(self, made: Plan) -> Plan:
        """The plan of a partial answer, with what the last known catalogs tell of the rows that are missing."""
        if not made.missing:
            return made
        return attrs.evolve(made, missing=with_ranges(made.missing, self._catalogs.last()))

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

    def remember(self, positions: Iterable[Position]) -> None:
        """Read no copy from now on that lacks an entry up to one of these; of one schema the latest counts."""
        with self._lock:
            for position in positions:
                known = self._after.get(position.schema_id)
                if known is None or known.epoch != position.epoch or known.lsn < position.lsn:
                    self._after[position.schema_id] = position

    def _options(
        self,
        max_staleness_s: float | None,
        partial: bool,
        chain: Iterable[str],
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
    ) -> PlanOptions:
        staleness_s = self.config.max_staleness_s if max_staleness_s is None else max_staleness_s
        wanted = None if as_of is None else tuple(as_of)
        if wanted is not None:
            by_schema(wanted)
            return PlanOptions(staleness_s, partial, tuple(chain), as_of=wanted)
        with self._lock:
            own = tuple(self._after.values())
        return PlanOptions(staleness_s, partial, tuple(chain), after=tuple(dict.fromkeys((*own, *after))))

    @property
    def _has_round_trips(self) -> bool:
        """Whether a site is asked over the wire, so that it is worth while to begin before it has answered."""
        return not all(isinstance(client, LocalSite) for client in self.clients.values())

    def _roomy(self, call: Call, present: PresentCatalogs | None) -> Call:
        """The call with room for the rows of one more attempt, which has the sites asked for ``present``."""
        return attrs.evolve(call, room=room_for(self.config), present=present)

    def _begin(
        self, made: Plan, options: PlanOptions, call: Call, stop: Stop
    ) -> OpenRows | list[FragmentRows]:
        """The one fragment that is the answer, open; or the rows of all fragments."""
        if not is_direct(made):
            return self._run(made, options, call, stop)
        fragment = made.fragments[0]
        call = attrs.evolve(call, at=options.as_of or ())
        try:
            begun = OpenRows.of(self._client(fragment.site), fragment, call, stop)
        except UnavailableError as error:
            raise SiteFailedError(fragment.site, error) from error
        try:
            check_read(begun.positions, options)
        except MovedError:
            begun.close()
            raise
        return begun

    def _run(self, made: Plan, options: PlanOptions, call: Call, stop: Stop) -> list[FragmentRows]:
        """Rows of every fragment, in their order; the first failure stops the others."""
        call = attrs.evolve(call, at=options.as_of or ())
        answers = run_fragments(made.fragments, self._client, self._pool, call, stop)
        check_read((position for answer in answers for position in answer.positions), options)
        return answers
