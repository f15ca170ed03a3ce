"""How the log of an owned schema stands: what is kept, what waits for a number, and what each follower lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog.floor import floor_of
from federation.changelog.followers import followers
from federation.changelog.log import log_state, log_tables
from federation.registry.schemas import FORMAT_VERSION
from federation.wire.messages import FollowerStanding

if TYPE_CHECKING:
    from federation.changelog import LogState
    from federation.changelog.floor import Floor
    from federation.changelog.followers import RegisteredFollower
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["LogStanding", "log_standing"]


@attrs.frozen
class LogStanding:
    """A log: entries from ``first_lsn`` to ``lsn`` are kept, of about ``size_bytes``, as last counted.

    ``unnumbered_count`` entries are committed and wait for the sequencer.
    """

    lsn: int
    first_lsn: int
    size_bytes: int
    unnumbered_count: int
    followers: tuple[FollowerStanding, ...] = ()


def log_standing(registry: Registry, held: HeldSchema) -> LogStanding:
    """How the log of a held schema stands now; a replica without a log of its own keeps nothing."""
    schema = held.physical
    log = log_tables(schema).log
    with registry.database.read((schema,)) as connection:
        state = log_state(connection, schema)
        if registry.format_version != FORMAT_VERSION:  # such logs are whole and have no registered followers
            return LogStanding(state.lsn, 1, 0, 0)
        floor = floor_of(connection, schema)
        waiting = sa.select(sa.func.count()).where(log.c.lsn.is_(None)).select_from(log)
        unnumbered = connection.execute(waiting).scalar() or 0 if held.owned else 0
        found = tuple(
            _standing(connection, log, state, floor, one, registry.clock())
            for one in followers(connection, schema)
        )
    return LogStanding(state.lsn, floor.lsn + 1, floor.size_bytes, unnumbered, found)


def _standing(
    connection: sa.Connection,
    log: sa.Table,
    state: LogState,
    floor: Floor,
    follower: RegisteredFollower,
    now_tai_ns: int,
) -> FollowerStanding:
    lag = max(0, state.lsn - follower.lsn)
    kept = max(1, floor.counted_lsn - floor.lsn)
    oldest_s = None
    if lag:
        after = sa.select(log.c.committed_tai_ns).where(log.c.lsn > follower.lsn).order_by(log.c.lsn).limit(1)
        committed = connection.execute(after).scalar()
        oldest_s = None if committed is None else max(0, now_tai_ns - committed) / 1e9
    return FollowerStanding(
        follower.name,
        follower.lsn,
        lag,
        round(floor.size_bytes / kept * lag) if floor.size_bytes else None,
        oldest_s,
        follower.age_s(now_tai_ns),
    )
