"""How far one log has been handed on to a watch, and what an error there means to its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.changelog import LogState
from federation.errors import EpochError, FederationError, LogGapError
from federation.replication.state import FollowerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import LogEntry
    from federation.model.position import SchemaId
    from federation.wire.messages import FollowBatch

__all__ = ["Place", "explained"]


class Place:
    """How far one log has been handed on; checks that what comes continues it."""

    def __init__(self, schema: SchemaId, start: LogState, *, is_filtered: bool) -> None:
        self._state, self._is_filtered = FollowerState(schema, start, is_filtered=is_filtered), is_filtered
        self._last_lsn = start.lsn
        self.schema, self.is_connected = schema, False

    @property
    def position(self) -> LogState:
        return self._state.position

    @property
    def is_caught_up(self) -> bool:
        return self._state.is_caught_up

    def has_moved(self) -> bool:
        """Whether anything has come since this was last asked."""
        moved, self._last_lsn = self.position.lsn > self._last_lsn, self.position.lsn
        return moved

    def take(self, batch: FollowBatch) -> Sequence[LogEntry]:
        """The entries of a batch that are new; raises what `FollowerState.on_batch` raises."""
        if not self.position.chain and batch.prev_lsn == self.position.lsn:
            # the source has found the position in its history; from here on every entry is checked
            position = LogState(batch.epoch, batch.prev_lsn, batch.prev_chain)
            self._state = FollowerState(self.schema, position, is_filtered=self._is_filtered)
        self.is_connected = True
        step = self._state.on_batch(batch)
        if step is None:
            return ()
        self._state.moved_to(step.target)
        return step.entries


def explained(error: FederationError, place: Place) -> FederationError:
    """The error with what a reader of events can do about it."""
    here = f"{place.schema}@{place.position.epoch}:{place.position.lsn}"
    told: FederationError
    if isinstance(error, LogGapError):
        told = LogGapError(
            f"what follows {here} is no longer kept: {error.message}",
            hint="ask the tables what is there now, then watch with --from now, or all that is kept with --from start",
        )
    elif isinstance(error, EpochError):
        told = EpochError(
            f"{here} is not of the log's history: {error.message}",
            hint="the owner was restored to an earlier state, or it never gave that position: compare with its tables, "
            "then watch with --from now",
        )
    else:
        return error
    told.request_id = error.request_id
    return told
