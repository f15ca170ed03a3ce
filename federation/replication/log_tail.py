"""A log as it grows, for one who follows it: waits for entries that are new and gives them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from federation.changelog import log_state, read_entries
from federation.errors import EpochError, LogGapError
from federation.replication.log_watch import BATCH_BYTES, BATCH_ROWS

if TYPE_CHECKING:
    import threading

    from federation.model.change import LogEntry
    from federation.registry.schemas import HeldSchema
    from federation.replication.log_watch import LogWatches

__all__ = ["LogTail"]

#: how long a stop may go unnoticed
_STOP_CHECK_S = 0.25


class LogTail:
    """The entries of one schema's log after a position, in order, as they are numbered; a context.

    Not shared between threads. ``stopping`` ends a wait within a moment.
    """

    def __init__(
        self, watches: LogWatches, held: HeldSchema, epoch: str, lsn: int, stopping: threading.Event
    ) -> None:
        self._watches, self._held, self._stopping = watches, held, stopping
        self._watch = watches.join(held)
        self.epoch, self.lsn, self.head_lsn = epoch, lsn, lsn
        self._is_first = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._watches.leave(self._watch)

    def next(self, timeout_s: float) -> list[LogEntry]:
        """The next entries, as many as make a message, waiting at most ``timeout_s``; none if there are none by then.

        Moves ``lsn`` behind them and ``head_lsn`` to the log's end. `EpochError` when the log was replaced by another,
        `LogGapError` when what follows ``lsn`` is no longer kept.
        """
        deadline = time.monotonic() + timeout_s
        if self._is_first:  # what was committed before somebody began to follow is told at once
            self._is_first = False
            entries = self._take(self._read())
            if entries or timeout_s <= 0:
                return entries
        while not self._stopping.is_set():
            left_s = deadline - time.monotonic()
            state = self._watch.wait(self.epoch, self.lsn, max(0.0, min(left_s, _STOP_CHECK_S)))
            is_same = state is not None and state.epoch == self.epoch and state.lsn >= self.lsn
            if state is not None and is_same and state.lsn > self.lsn:
                self.head_lsn = max(self.head_lsn, state.lsn)
                return self._take(self._watch.entries_after(self.lsn) or self._read())
            if left_s <= 0 or (state is not None and state.epoch != self.epoch):
                # what the watch knows is a moment old, or nothing yet
                return [] if is_same else self._take(self._read())
        return []

    def _take(self, entries: list[LogEntry]) -> list[LogEntry]:
        if entries:
            self.lsn = entries[-1].lsn
        return entries

    def _read(self) -> list[LogEntry]:
        """From the database: for who is further behind than what the watch keeps."""
        held = self._held
        with self._watch.registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
            if state.epoch != self.epoch or state.lsn < self.lsn:
                raise EpochError(f"the log of {held.schema} was replaced by another", hint="follow it anew")
            self.head_lsn = state.lsn
            if state.lsn == self.lsn:
                return []
            entries = read_entries(connection, held.physical, self.lsn, BATCH_BYTES, BATCH_ROWS)
        if not entries or entries[0].lsn != self.lsn + 1:
            raise LogGapError(
                f"entry {self.lsn + 1} of {held.schema} is no longer kept", hint="copy the schema anew"
            )
        return entries
