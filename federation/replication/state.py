"""What a follower does next, decided without I/O: batches and errors go in, instructions come out.

Exactly once: an entry at or below the position is skipped, one that does not continue it is refused, and an entry
counts only when its bytes have its digest and its chain hash continues the history that was applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.changelog import SCHEMA_VERSION, LogState, chain_hash, digest_of
from federation.errors import (
    ConflictError,
    CorruptionError,
    EpochError,
    FederationError,
    LimitError,
    LogGapError,
    NotFoundError,
    UnavailableError,
    UserError,
)

if TYPE_CHECKING:
    from federation.model.change import LogEntry
    from federation.model.position import SchemaId
    from federation.wire.messages import FollowBatch

__all__ = ["Apply", "Bootstrap", "FollowerState", "Retry", "Stop"]


@attrs.frozen
class Apply:
    """Apply ``entries``, which are verified and continue ``previous``, and move the watermark to ``target``."""

    previous: LogState
    entries: tuple[LogEntry, ...]
    target: LogState


@attrs.frozen
class Retry:
    """Connect again after a while."""

    reason: str


@attrs.frozen
class Bootstrap:
    """The log can't be continued from here: copy the schema anew."""

    reason: str


@attrs.frozen
class Stop:
    """Nothing will change until somebody acts."""

    reason: str


class FollowerState:
    """The position of one replica and what is known of its source; ``head_lsn`` is the source's head as last heard."""

    def __init__(self, schema: SchemaId, position: LogState) -> None:
        self.schema = schema
        self.position = position
        self.head_lsn = position.lsn

    @property
    def is_caught_up(self) -> bool:
        """Whether all that the source was last known to have is applied."""
        return self.position.lsn >= self.head_lsn

    def on_batch(self, batch: FollowBatch) -> Apply | None:
        """What to apply of a batch; None for a heartbeat and for what has been applied before.

        `EpochError` when the source has another history, `LogGapError` when entries are missing, `CorruptionError`
        when one is damaged, `UserError` when it is of a newer version.
        """
        here = self.position
        if here.epoch and batch.epoch != here.epoch:
            raise EpochError(
                f"{self.schema}: the source's log has epoch {batch.epoch}, the replica {here.epoch}",
                hint=_COPY,
            )
        if batch.head_lsn < here.lsn:
            raise EpochError(
                f"{self.schema}: the source's log ends at {batch.head_lsn}, the replica is at {here.lsn}",
                hint=_COPY,
            )
        if batch.prev_lsn > here.lsn:
            raise LogGapError(
                f"{self.schema}: expected lsn {here.lsn + 1}, got what follows {batch.prev_lsn}", hint=_AGAIN
            )
        lsn, fresh, chain = batch.prev_lsn, [], here.chain
        for entry in batch.entries:
            lsn += 1
            if entry.lsn != lsn:
                raise LogGapError(f"{self.schema}: expected lsn {lsn}, got {entry.lsn}", hint=_AGAIN)
            if lsn == here.lsn and entry.chain != here.chain:
                raise EpochError(f"{self.schema}: entry {lsn} is not the one that was applied", hint=_COPY)
            if lsn > here.lsn:
                chain = self._verify(entry, chain)
                fresh.append(entry)
        self.head_lsn = max(batch.head_lsn, lsn)
        if not fresh:
            return None
        return Apply(here, tuple(fresh), LogState(batch.epoch, lsn, chain))

    def _verify(self, entry: LogEntry, chain: bytes) -> bytes:
        if digest_of(entry.body) != entry.digest:
            raise CorruptionError(
                f"{self.schema}: entry {entry.lsn} has another digest than announced", hint=_AGAIN
            )
        if chain_hash(chain, entry.digest) != entry.chain:
            raise EpochError(
                f"{self.schema}: entry {entry.lsn} does not continue the history that was applied", hint=_COPY
            )
        if entry.schema_version > SCHEMA_VERSION:
            raise UserError(
                f"{self.schema}: entry {entry.lsn} has schema version {entry.schema_version}, this software reads "
                f"up to {SCHEMA_VERSION}",
                hint="update this site's software",
            )
        return entry.chain

    def moved_to(self, position: LogState) -> None:
        """The replica stands here now: entries were applied, or the schema was copied."""
        self.position = position
        self.head_lsn = max(self.head_lsn, position.lsn)

    def on_error(self, error: FederationError, *, by_source: bool) -> Retry | Bootstrap | Stop:
        """What follows from an error; ``by_source`` when the source refused, not when this side noticed something.

        A gap that this side sees may be the connection's; only the source knows that its log begins too late.
        """
        match error:
            case EpochError():
                return Bootstrap(str(error))
            case LogGapError():
                return Bootstrap(str(error)) if by_source else Retry(str(error))
            case NotFoundError() | UnavailableError() | LimitError() | CorruptionError():
                return Retry(str(error))
            case ConflictError() if not by_source:  # another process wrote here at the same time
                return Retry(str(error))
            case UserError():
                return Stop(str(error))
            case _:
                return Retry(str(error))


_COPY = "the replica is copied anew"
_AGAIN = "it is asked for again"
