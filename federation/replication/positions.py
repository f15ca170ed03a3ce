"""Whether a follower's position is one of a log's history, and can be continued from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.changelog import LogState, chain_hash, entry_chain, log_state, read_entries
from federation.errors import EpochError, LogGapError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import FollowFrom

__all__ = ["check_position"]


def check_position(connection: sa.Connection, held: HeldSchema, start: FollowFrom) -> str:
    """The log's epoch, if the follower's position is one of its history.

    `EpochError` when it is not, `LogGapError` when what follows it is no longer kept.
    """
    state = log_state(connection, held.physical)
    place = f"position {start.epoch or 'none'}:{start.lsn} of {start.follower}"
    copy = "copy the schema anew"
    if start.epoch and start.epoch != state.epoch:
        raise EpochError(f"{held.schema} has epoch {state.epoch}: {place} is of another log", hint=copy)
    if start.lsn > state.lsn:
        raise EpochError(f"the log of {held.schema} ends at {state.lsn}: {place} is past it", hint=copy)
    if _chain_at(connection, held, start, state) != start.chain:
        raise EpochError(f"{held.schema} has another history before {place}", hint=copy)
    return state.epoch


def _chain_at(connection: sa.Connection, held: HeldSchema, start: FollowFrom, state: LogState) -> bytes:
    """The chain hash at the follower's lsn; `LogGapError` when the log no longer reaches back to it."""
    if start.lsn == state.lsn:
        return state.chain
    first: Any = next(iter(read_entries(connection, held.physical, start.lsn, 1)), None)
    if first is None or first.lsn != start.lsn + 1:
        kept = "nothing" if first is None else f"entries from {first.lsn} on"
        raise LogGapError(
            f"the log of {held.schema} keeps {kept}, {start.follower} is at {start.lsn}",
            hint="copy the schema anew",
        )
    found = entry_chain(connection, held.physical, start.lsn)
    if found is not None:
        return found
    # the entry itself is gone, its successor tells what its hash was
    return start.chain if chain_hash(start.chain, first.digest) == first.chain else b""
