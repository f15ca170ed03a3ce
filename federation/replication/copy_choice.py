"""Whether a follower gets to its source's state sooner by a copy of the rows than by the entries it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog.log import log_tables
from federation.registry.row_counts import count_rows

if TYPE_CHECKING:
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["Backlog", "backlog_of"]

#: fewer entries are sent whatever else: nothing is gained that somebody would notice
ENTRIES_MIN = 10_000
#: entries that tell how many rows the others have
_SAMPLE = 5_000
#: microseconds of processor time at both ends and in both databases, rounded, of a run of benchmarks/replication.py
#: from before copies became cheaper; where the two ways take as long was not timed, so `_GAIN` leaves room
ENTRY_US, LOGGED_ROW_US, COPIED_ROW_US, COMPARED_ROW_US = 8.0, 7.0, 7.0, 7.0
#: a copy must take that much less: it holds a snapshot, takes room on disk, and this is an estimate
_GAIN = 2.0


@attrs.frozen
class Backlog:
    """What a follower lacks: ``entries`` of about ``logged_rows``, of a schema that has about ``row_count`` rows now.

    ``has_rows`` where the follower has some, so that a copy compares first.
    """

    entries: int
    logged_rows: int
    row_count: int
    has_rows: bool

    @property
    def is_copied_faster(self) -> bool:
        """Whether a copy is clearly faster.

        >>> Backlog(1_000_000, 1_000_000, 1_000_000, has_rows=False).is_copied_faster  # a row a transaction
        True
        >>> Backlog(1_000_000, 2_000_000, 2_000_000, has_rows=False).is_copied_faster  # each of them still there
        False
        >>> Backlog(20_000, 40_000, 2_000_000, has_rows=True).is_copied_faster  # a little behind
        False
        >>> Backlog(1_000_000, 1_000_000, 500, has_rows=True).is_copied_faster  # the same rows, changed again and again
        True
        """
        if self.entries < ENTRIES_MIN:
            return False
        replayed_us = self.entries * ENTRY_US + self.logged_rows * LOGGED_ROW_US
        copied_us = self.row_count * COPIED_ROW_US
        if self.has_rows:
            copied_us = self.row_count * COMPARED_ROW_US
            copied_us += min(self.row_count, self.logged_rows) * COPIED_ROW_US
        return replayed_us > _GAIN * copied_us


def backlog_of(registry: Registry, held: HeldSchema, lsn: int, head_lsn: int, *, has_rows: bool) -> Backlog:
    """What one who is at ``lsn`` lacks; rows are not counted where there are few entries."""
    entries = max(0, head_lsn - lsn)
    if entries < ENTRIES_MIN:
        return Backlog(entries, 0, 0, has_rows)
    log = log_tables(held.physical).log
    with registry.database.read((held.physical,)) as connection:
        sample = (
            sa.select(log.c.row_count).where(log.c.lsn > lsn).order_by(log.c.lsn).limit(_SAMPLE).subquery()
        )
        mean = connection.execute(sa.select(sa.func.avg(sample.c.row_count))).scalar() or 0
        tables = tuple(registry.tables_in(connection, held.physical).values())
        physical = registry.physical_tables(held.physical, tables)
        counts = count_rows(connection, held.physical, {table.name: physical[table.name] for table in tables})
    rows = sum(count.row_count for count in counts.values())
    return Backlog(entries, round(float(mean) * entries), rows, has_rows)
