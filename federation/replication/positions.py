"""Whether a follower's position is one of a log's history, and can be continued from."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from federation.changelog import LogState, chain_hash, entry_chain, log_state, read_entries
from federation.changelog.epochs import continued_until, epochs
from federation.changelog.floor import floor_of, floor_table
from federation.errors import EpochError, LogGapError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.changelog.epochs import Epoch
    from federation.model.change import LogEntry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import FollowFrom

__all__ = ["PublishedLog", "chain_at", "check_position", "judge_position"]


class PublishedLog(Protocol):
    """What must be known of a log to judge positions by it."""

    @property
    def is_owned(self) -> bool:
        """Whether its site writes it, or relays it."""

    @property
    def state(self) -> LogState:
        """Its end."""

    @property
    def history(self) -> Sequence[Epoch]:
        """Its epochs in order, the current one last; empty where only one was ever."""

    def chain_at(self, lsn: int) -> bytes | None:
        """The chain hash at its end, its floor or an entry that is kept; None elsewhere."""

    def first_after(self, lsn: int) -> LogEntry | None:
        """The first entry that is kept with a higher number."""


def judge_position(log: PublishedLog, start: FollowFrom) -> str:
    """The log's epoch, if the follower's position is one of its history; it may be of an older epoch. Pure.

    `EpochError` when it is not, `LogGapError` when what follows it is no longer kept, `UnavailableError` when a relay
    has not come as far yet.
    """
    state = log.state
    place = f"position {start.epoch or 'none'}:{start.lsn} of {start.follower}"
    if start.epoch and start.epoch != state.epoch:
        until = continued_until(log.history, start.epoch)
        if until is None:
            raise EpochError(f"{start.schema} has epoch {state.epoch}: {place} is of another log", hint=_COPY)
        if start.lsn > until:
            raise EpochError(
                f"{start.schema} has epoch {state.epoch}, which left {start.epoch} after {until}: "
                f"{place} is past that",
                hint=_COPY,
            )
    if start.lsn > state.lsn:
        if not log.is_owned:  # the owner's log goes on, and this site has not heard of it yet
            raise UnavailableError(
                f"{start.schema} is known here up to {state.lsn}: {place} is ahead",
                hint="it is asked for again",
            )
        raise EpochError(f"the log of {start.schema} ends at {state.lsn}: {place} is past it", hint=_COPY)
    successor = log.first_after(start.lsn)
    if start.lsn < state.lsn and (successor is None or successor.lsn != start.lsn + 1):
        kept = "nothing" if successor is None else f"entries from {successor.lsn} on"
        raise LogGapError(
            f"the log of {start.schema} keeps {kept}, {start.follower} is at {start.lsn}", hint=_COPY
        )
    found = log.chain_at(start.lsn)
    if found is None and successor is not None:
        # the entry itself is gone, its successor tells what its hash was
        found = start.chain if chain_hash(start.chain, successor.digest) == successor.chain else b""
    if start.chain and found != start.chain:  # a reader that keeps no rows may not know the chain hash
        raise EpochError(f"{start.schema} has another history before {place}", hint=_COPY)
    return state.epoch


def check_position(connection: sa.Connection, held: HeldSchema, start: FollowFrom) -> str:
    """`judge_position` by the log of a schema as an open connection sees it."""
    return judge_position(_StoredLog(connection, held), start)


def chain_at(connection: sa.Connection, schema: str, lsn: int) -> bytes | None:
    """The chain hash of a physical schema's log at ``lsn``: at its end, its floor or an entry; None elsewhere."""
    state = log_state(connection, schema)
    if lsn == state.lsn:
        return state.chain
    if _has_history(connection, schema):
        floor = floor_of(connection, schema)
        if lsn <= floor.lsn:
            return floor.chain if lsn == floor.lsn else None
    return entry_chain(connection, schema, lsn)


class _StoredLog:
    """A log in a registry's database."""

    def __init__(self, connection: sa.Connection, held: HeldSchema) -> None:
        self._connection, self._schema = connection, held.physical
        self.is_owned = held.owned

    @cached_property
    def state(self) -> LogState:
        return log_state(self._connection, self._schema)

    @cached_property
    def history(self) -> Sequence[Epoch]:
        return epochs(self._connection, self._schema) if _has_history(self._connection, self._schema) else ()

    def chain_at(self, lsn: int) -> bytes | None:
        return chain_at(self._connection, self._schema, lsn)

    def first_after(self, lsn: int) -> LogEntry | None:
        return next(iter(read_entries(self._connection, self._schema, lsn, 1)), None)


def _has_history(connection: sa.Connection, schema: str) -> bool:
    """False in a registry of a format whose logs are never trimmed and have one epoch."""
    return sa.inspect(connection).has_table(floor_table(schema).name, schema=schema)


_COPY = "copy the schema anew"
