"""Rows of fragments, gathered from the sites within the limits of one query."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs
import pyarrow as pa

from federation.config.settings import QueryConfig, size_bytes
from federation.errors import FederationError, LimitError, UnavailableError, UserError
from federation.execution.arriving import ArrivedRows, Room
from federation.execution.result import FragmentStats
from federation.model.logical import LogicalType
from federation.wire.arrow import arrow_schema, rows_to_batch
from federation.wire.client import SiteClient
from federation.wire.streams import ExecuteStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from federation.execution.present_catalogs import PresentCatalogs
    from federation.execution.stopping import Stop
    from federation.model.catalog import SiteCatalog
    from federation.model.key_filter import KeyFilter
    from federation.model.position import Position
    from federation.planner import LiteralTable, Plan
    from federation.wire.messages import Column, RowStream, SiteStatus
    from federation.wire.walks import WalkAnswer, WalkCall

__all__ = [
    "Call",
    "FragmentRows",
    "QueryableSite",
    "ask_fragment",
    "collect",
    "in_time",
    "late_as_limit",
    "positions_of",
    "room_for",
    "tables_of",
    "take_catalog",
]

#: part of the local engine's memory that rows may have before it gets them
_ARRIVING_SHARE = 0.5
#: a call's own clock may end it so much before ours
_CLOCKS_DIFFER_S = 0.1


class QueryableSite(Protocol):
    """A site as the coordinator needs it: over the wire, or in this process."""

    def get_catalog(self, known_version: str = "", user: str = "") -> SiteCatalog | None: ...

    def execute(
        self,
        sql: str,
        columns: Sequence[Column],
        keys: Mapping[str, pa.Table] | None = None,
        *,
        user: str = "",
        query_id: str = "",
        row_count_max: int = 0,
        timeout_s: float | None = None,
        at: Sequence[Position] = (),
        filters: Sequence[KeyFilter] = (),
    ) -> RowStream: ...

    def walk(self, call: WalkCall) -> WalkAnswer: ...

    def status(self) -> SiteStatus: ...

    def close(self) -> None: ...


@attrs.frozen(eq=False)
class FragmentRows:
    """All rows of one fragment."""

    table: pa.Table
    positions: tuple[Position, ...]
    stats: FragmentStats


def room_for(config: QueryConfig) -> Room:
    """Where the rows of one query's fragments are kept until the local engine has them."""
    memory = int(size_bytes(config.memory_limit) * _ARRIVING_SHARE)
    return Room(memory, size_bytes(config.spill_limit), config.spill_directory)


@attrs.frozen
class Call:
    """What all fragments of one query share; ``deadline`` is of the monotonic clock.

    ``rows_wanted`` is set where a fragment's rows are the answer: after so many, and one to tell that there are more,
    it need not go on. ``room`` is where rows are kept as they come. ``present`` are the catalogs that are to be
    asked for once a fragment is on its way, if any.
    """

    user: str
    query_id: str
    row_count_max: int
    deadline: float
    rows_wanted: int | None = None
    room: Room = attrs.field(factory=lambda: room_for(QueryConfig()), eq=False)
    #: states of schemas that the sites must read
    at: tuple[Position, ...] = ()
    present: PresentCatalogs | None = attrs.field(default=None, eq=False)

    def remaining(self) -> float:
        """Seconds that are left; `LimitError` when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise LimitError("the query took too long", hint="narrow it, or allow more time with --timeout")
        return left


def collect(
    client: QueryableSite,
    site: str,
    id_: str,
    sql: str,
    columns: Sequence[Column],
    keys: Mapping[str, pa.Table] | None,
    call: Call,
    stop: Stop,
    filters: Sequence[KeyFilter] = (),
) -> FragmentRows:
    """Run one fragment and hold its rows; once ``stop`` is set the site is told, and `UserError` raised."""
    start = time.monotonic()
    rows = ask_fragment(client, id_, sql, columns, keys, call, filters)
    arrived = ArrivedRows(rows.schema, call.room)
    try:
        with _stopped(stop), late_as_limit(call), stop.ending(rows.cancel), rows:
            take_catalog(rows, id_, call)
            for batch in rows:
                arrived.add(batch)
                call.remaining()
                if stop.is_set() or (call.rows_wanted is not None and arrived.row_count > call.rows_wanted):
                    break
            table = arrived.table()
    finally:
        arrived.close()
    seconds = time.monotonic() - start
    stats = FragmentStats(
        id_, site, table.num_rows, rows.byte_count, seconds, site_seconds=rows.site_seconds, round_trips=1
    )
    return FragmentRows(table, rows.positions, stats)


def ask_fragment(
    client: QueryableSite,
    id_: str,
    sql: str,
    columns: Sequence[Column],
    keys: Mapping[str, pa.Table] | None,
    call: Call,
    filters: Sequence[KeyFilter] = (),
) -> RowStream:
    """Send a fragment to its site, and have all sites asked for their catalogs if that is still to be done."""
    execute: Callable[..., RowStream] = client.execute
    if call.present is not None and isinstance(client, SiteClient) and call.present.comes_with(id_):
        execute = partial(execute, with_catalog=True)
    if filters:
        execute = partial(execute, filters=filters)
    rows = execute(
        sql,
        columns,
        keys,
        user=call.user,
        query_id=call.query_id,
        row_count_max=call.row_count_max,
        timeout_s=call.remaining(),
        at=call.at,
    )
    if call.present is not None:
        call.present.ask()
    return rows


def take_catalog(rows: RowStream, id_: str, call: Call) -> None:
    """Tell of the catalog that came with a fragment's first word."""
    if call.present is not None and isinstance(rows, ExecuteStream) and call.present.comes_with(id_):
        call.present.tell(id_, rows.catalog)


@contextmanager
def _stopped(stop: Stop) -> Iterator[None]:
    """What comes of a fragment that is stopped is one error, whatever it was about to say."""
    try:
        yield
    except FederationError as error:
        if not stop.is_set():
            raise
        raise _stopped_error() from error
    if stop.is_set():
        raise _stopped_error()


def _stopped_error() -> UserError:
    return UserError(
        "the query was stopped: its session was closed, or a part of it failed", hint="ask again"
    )


@contextmanager
def late_as_limit(call: Call) -> Iterator[None]:
    """A site that has not answered when the caller's time is over is not one that is down."""
    try:
        yield
    except UnavailableError as error:
        if call.deadline - time.monotonic() > _CLOCKS_DIFFER_S:
            raise
        raise LimitError(
            f"the query took too long: {error.message}", hint="narrow it, or allow more time with --timeout"
        ) from error


def positions_of(answers: Sequence[FragmentRows]) -> tuple[Position, ...]:
    """Each position that was read, once."""
    return tuple(dict.fromkeys(position for answer in answers for position in answer.positions))


def tables_of(made: Plan, answers: Sequence[FragmentRows]) -> dict[str, pa.Table]:
    """What the local statement reads."""
    tables = {answer.stats.id: answer.table for answer in answers}
    return tables | {literal.name: _literal(literal) for literal in made.literal_tables}


def in_time(rows: Iterable[pa.RecordBatch], call: Call) -> Iterator[pa.RecordBatch]:
    """The batches as long as there is time."""
    batches = iter(rows)
    while True:
        with late_as_limit(call):
            batch = next(batches, None)
        if batch is None:
            return
        call.remaining()
        yield batch


def _literal(literal: LiteralTable) -> pa.Table:
    schema = arrow_schema((column.name, column.type or LogicalType.STRING) for column in literal.columns)
    return pa.Table.from_batches([rows_to_batch(literal.rows, schema)], schema=schema)
