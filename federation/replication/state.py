"""What a follower does next, decided without I/O: batches and errors go in, instructions come out.

Exactly once: an entry at or below the position is skipped, one that does not continue it is refused, and an entry
counts only when its bytes have its digest and its chain hash continues the history that was applied. An epoch changes
only where the chain hash shows the same history, and never back to one that was left.
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
from federation.replication.relays import check_path

if TYPE_CHECKING:
    from collections.abc import Collection

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
    """The position of one replica and what is known of its source.

    ``site`` is the follower's own name, ``is_filtered`` whether it asked for a part of the rows, ``former_epochs``
    those it has left. ``head_lsn`` is the end of the owner's log and ``path`` the sites entries come through, as last
    heard.
    """

    def __init__(
        self,
        schema: SchemaId,
        position: LogState,
        *,
        site: str = "",
        is_filtered: bool = False,
        former_epochs: Collection[str] = (),
    ) -> None:
        self.schema = schema
        self.position = position
        self.head_lsn = position.lsn
        self.path: tuple[str, ...] = ()
        self._site, self._is_filtered = site, is_filtered
        self._former = tuple(former_epochs)

    @property
    def is_caught_up(self) -> bool:
        """Whether all that the source was last known to have is applied."""
        return self.position.lsn >= self.head_lsn

    def on_batch(self, batch: FollowBatch) -> Apply | None:
        """What to apply of a batch; None for a heartbeat and for what has been applied before.

        A batch of another epoch that continues the very history that was applied is taken over with its epoch.
        `EpochError` when the source has another history, `LogGapError` when entries are missing, `CorruptionError`
        when one is damaged, `UserError` when it is of a newer version, `UnavailableError` from a relay that is behind.
        """
        here = self.position
        check_path(self.schema, batch.path, self._site)
        self._check_source(batch)
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
        self.head_lsn, self.path = max(batch.head_lsn, lsn), tuple(batch.path)
        is_adopted = bool(here.epoch) and batch.epoch != here.epoch
        if not fresh and not is_adopted:
            return None
        return Apply(here, tuple(fresh), LogState(batch.epoch, max(lsn, here.lsn), chain))

    def check_epoch(self, epoch: str) -> None:
        """`UnavailableError` for an epoch that was left for another: its source has not heard of that yet."""
        if epoch in self._former and epoch != self.position.epoch:
            raise UnavailableError(
                f"{self.schema}: the source still has epoch {epoch}, which was left for {self.position.epoch}",
                hint="it is asked again",
            )

    def _check_source(self, batch: FollowBatch) -> None:
        """Whether the source has the history that was applied here."""
        here, relay = self.position, batch.path[-1] if len(batch.path) > 1 else ""
        if here.epoch and batch.epoch != here.epoch:
            self.check_epoch(batch.epoch)
            if not _continues(batch, here):
                raise EpochError(
                    f"{self.schema}: the source's log has epoch {batch.epoch}, the replica {here.epoch}",
                    hint=_COPY,
                )
        if batch.head_lsn < here.lsn:
            if relay:
                raise UnavailableError(
                    f"{self.schema}: {relay} knows it up to {batch.head_lsn}, the replica is at {here.lsn}",
                    hint="it is asked again",
                )
            raise EpochError(
                f"{self.schema}: the source's log ends at {batch.head_lsn}, the replica is at {here.lsn}",
                hint=_COPY,
            )
        if batch.prev_chain and batch.prev_lsn == here.lsn and batch.prev_chain != here.chain:
            raise EpochError(
                f"{self.schema}: the source has another history before lsn {here.lsn}", hint=_COPY
            )

    def _verify(self, entry: LogEntry, chain: bytes) -> bytes:
        if entry.body_digest and not self._is_filtered:
            raise CorruptionError(f"{self.schema}: entry {entry.lsn} comes without some rows", hint=_AGAIN)
        if digest_of(entry.body) != (entry.body_digest or entry.digest):
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


def _continues(batch: FollowBatch, here: LogState) -> bool:
    """Whether a batch shows that its log has the applied history up to here."""
    if batch.prev_lsn == here.lsn:
        return bool(batch.prev_chain) and batch.prev_chain == here.chain
    return any(entry.lsn == here.lsn and entry.chain == here.chain for entry in batch.entries)


_COPY = "the replica is copied anew"
_AGAIN = "it is asked for again"
