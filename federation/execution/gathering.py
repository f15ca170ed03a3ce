"""Rows of fragments, gathered from the sites within the limits of one query."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import attrs
import pyarrow as pa

from federation.errors import LimitError, UnavailableError
from federation.execution.result import FragmentStats
from federation.model.logical import LogicalType
from federation.wire.arrow import arrow_schema, rows_to_batch

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.model.catalog import SiteCatalog
    from federation.model.position import Position
    from federation.planner import LiteralTable, Plan
    from federation.wire.messages import Column, RowStream, SiteStatus

__all__ = ["Call", "FragmentRows", "QueryableSite", "collect", "in_time", "positions_of", "tables_of"]


class QueryableSite(Protocol):
    """A site as the coordinator needs it: over the wire, or in this process."""

    def get_catalog(self, known_version: str = "", user: str = "") -> SiteCatalog | None: ...

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
class FragmentRows:
    """All rows of one fragment."""

    table: pa.Table
    positions: tuple[Position, ...]
    stats: FragmentStats


@attrs.frozen
class Call:
    """What all fragments of one query share; ``deadline`` is of the monotonic clock."""

    user: str
    query_id: str
    row_count_max: int
    deadline: float

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
    keys: Mapping[str, pa.Array] | None,
    call: Call,
    stop: threading.Event,
) -> FragmentRows:
    """Run one fragment and hold its rows; ends early, with `UnavailableError`, once ``stop`` is set."""
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
        return FragmentRows(table, rows.positions, stats)


def positions_of(answers: Sequence[FragmentRows]) -> tuple[Position, ...]:
    """Each position that was read, once."""
    return tuple(dict.fromkeys(position for answer in answers for position in answer.positions))


def tables_of(made: Plan, answers: Sequence[FragmentRows]) -> dict[str, pa.Table]:
    """What the local statement reads."""
    tables = {answer.stats.id: answer.table for answer in answers}
    return tables | {literal.name: _literal(literal) for literal in made.literal_tables}


def in_time(rows: Iterable[pa.RecordBatch], call: Call) -> Iterator[pa.RecordBatch]:
    """The batches as long as there is time."""
    for batch in rows:
        call.remaining()
        yield batch


def _literal(literal: LiteralTable) -> pa.Table:
    schema = arrow_schema((column.name, column.type or LogicalType.STRING) for column in literal.columns)
    return pa.Table.from_batches([rows_to_batch(literal.rows, schema)], schema=schema)
