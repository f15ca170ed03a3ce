"""How far back a log reaches, and how far it need not: what may be trimmed, in small transactions.

The chain hash of the last entry that went is kept, so that a follower that stands right there goes on. The last entry
is never trimmed. Deletions of rows are entries like any other and go with them: a follower that stands before what is
kept copies by difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog.epochs import continued_until
from federation.changelog.floor import Floor, floor_of, floor_table, set_floor
from federation.changelog.log import log_state, log_tables
from federation.killpoints import killpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from federation.changelog.epochs import Epoch
    from federation.changelog.followers import RegisteredFollower
    from federation.config import LogConfig
    from federation.storage import Database

__all__ = [
    "ENTRY_BYTES",
    "TrimPlan",
    "count_entries",
    "held_for",
    "plan_trim",
    "restart_log",
    "trim",
]

#: what an entry takes beside its body: its other columns, and its places in two indexes
ENTRY_BYTES = 150
#: entries that one transaction counts, looks at, or removes at most
COUNT_BATCH = 10_000
PLAN_ENTRIES = 100_000
TRIM_BATCH = 2000
TRIM_BATCH_BYTES = 16 << 20


@attrs.frozen
class TrimPlan:
    """Entries up to ``lsn`` may go. ``left_behind`` are live followers that lack some of them: the cap was met."""

    lsn: int
    entry_count: int
    size_bytes: int
    left_behind: tuple[str, ...] = ()


def restart_log(connection: sa.Connection, schema: str) -> None:
    """Forget a replica's entries: those to come continue the position at which it stands now."""
    state = log_state(connection, schema)
    connection.execute(log_tables(schema).log.delete())
    set_floor(connection, schema, Floor(state.lsn, state.chain, state.lsn, 0))


def count_entries(database: Database, schema: str) -> Floor:
    """Bring the account of the log's size up to its end, in bounded transactions."""
    table, log = floor_table(schema), log_tables(schema).log
    while True:
        with database.read((schema,)) as connection:
            floor = floor_of(connection, schema)
            # a replica keeps no entries unless it relays them
            head = connection.execute(sa.select(sa.func.max(log.c.lsn))).scalar() or 0
            if floor.counted_lsn >= head:
                return floor
            until = min(head, floor.counted_lsn + COUNT_BATCH)
            found = connection.execute(
                sa.select(
                    sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(log.c.body)), 0)
                ).where(log.c.lsn > floor.counted_lsn, log.c.lsn <= until)
            ).one()
        size = floor.size_bytes + int(found[1]) + ENTRY_BYTES * int(found[0])
        with database.write(schema) as connection:
            # another process may have counted or trimmed meanwhile
            connection.execute(
                table.update()
                .where(table.c.lsn == floor.lsn, table.c.counted_lsn == floor.counted_lsn)
                .values(counted_lsn=until, size_bytes=size)
            )


def held_for(
    registered: Iterable[RegisteredFollower], history: Sequence[Epoch], timeout_s: float, now_tai_ns: int
) -> dict[str, int]:
    """By name, the lsn from which each live follower needs the log.

    One with a position of another history is left out, since it copies the schema anyway.
    """
    held = {}
    for follower in registered:
        until = continued_until(history, follower.epoch)
        if until is not None and follower.lsn <= until and follower.age_s(now_tai_ns) <= timeout_s:
            held[follower.name] = follower.lsn
    return held


def plan_trim(
    connection: sa.Connection,
    schema: str,
    keep: LogConfig,
    needed: Mapping[str, int],
    now_tai_ns: int,
    *,
    entry_count_max: int = PLAN_ENTRIES,
) -> TrimPlan:
    """What may go now, no more than ``entry_count_max`` entries; ``needed`` is as of `held_for`."""
    floor, head = floor_of(connection, schema), log_state(connection, schema).lsn
    log = log_tables(schema).log
    rows = connection.execute(
        sa.select(log.c.lsn, log.c.committed_tai_ns, sa.func.length(log.c.body))
        .where(log.c.lsn > floor.lsn, log.c.lsn < head)
        .order_by(log.c.lsn)
        .limit(entry_count_max)
        .execution_options(yield_per=1000)
    )
    too_old = now_tai_ns - keep.keep_s * 1e9
    slowest = min(needed.values(), default=head)
    left, lsn, count, size = floor.size_bytes, floor.lsn, 0, 0
    for entry_lsn, committed, body_bytes in rows:
        is_free = committed < too_old and entry_lsn <= slowest
        if not is_free and left <= keep.keep_bytes:
            break
        entry_bytes = body_bytes + ENTRY_BYTES
        lsn, count, size, left = entry_lsn, count + 1, size + entry_bytes, left - entry_bytes
    rows.close()
    behind = tuple(sorted(name for name, has in needed.items() if floor.lsn <= has < lsn))
    return TrimPlan(lsn, count, size, behind)


def trim(database: Database, schema: str, lsn: int) -> int:
    """Remove the first entries up to ``lsn``, as many as one short transaction should; returns how many went.

    The last entry stays, whatever ``lsn`` is.
    """
    table, log = floor_table(schema), log_tables(schema).log
    with database.write(schema) as connection:
        connection.execute(sa.select(table.c.id).with_for_update())
        floor, head = floor_of(connection, schema), log_state(connection, schema).lsn
        rows = connection.execute(
            sa.select(log.c.lsn, log.c.chain, sa.func.length(log.c.body))
            .where(log.c.lsn > floor.lsn, log.c.lsn <= min(lsn, head - 1, floor.counted_lsn))
            .order_by(log.c.lsn)
            .limit(TRIM_BATCH)
        ).all()
        last, count, size = None, 0, 0
        for row in rows:
            if count and size + row[2] > TRIM_BATCH_BYTES:
                break
            last, count, size = row, count + 1, size + row[2] + ENTRY_BYTES
        if last is None:
            return 0
        connection.execute(log.delete().where(log.c.lsn <= last.lsn))
        left = max(0, floor.size_bytes - size)
        set_floor(connection, schema, Floor(last.lsn, bytes(last.chain), floor.counted_lsn, left))
        killpoint("trim.before_commit")
    killpoint("trim.after_commit")
    return count
