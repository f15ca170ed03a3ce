"""The end of each followed log, watched once for all who follow it, and its last entries, read once for all."""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog import LogState, stamp
from federation.changelog.growth import growth
from federation.errors import FederationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import LogEntry
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "LogWatch", "LogWatches"]

#: what is sent as one message at most
BATCH_BYTES, BATCH_ROWS = 4 << 20, 8000
#: entries that are kept for those who are about as far; who is behind reads them from the database
KEPT_BYTES = 16 << 20
#: how often the log is looked at while entries come, and when none came for `QUIET_S`
POLL_S, IDLE_POLL_S, QUIET_S = 0.001, 0.01, 1.0
#: an LSN that no log reaches: only its end is asked for
_END = 2**62


class LogWatches:
    """The watches of a publisher, one a schema; each has a thread as long as somebody follows."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._watches: dict[str, LogWatch] = {}
        self._lock = threading.Lock()

    def join(self, held: HeldSchema) -> LogWatch:
        """The watch of a schema, to be left with `leave`."""
        with self._lock:
            watch = self._watches.get(held.physical)
            if watch is None or not watch.is_running:
                watch = self._watches[held.physical] = LogWatch(self._registry, held)
            watch.user_count += 1
            if watch.user_count == 1:
                watch.start()
            return watch

    def leave(self, watch: LogWatch) -> None:
        """The last to leave ends the watch."""
        with self._lock:
            watch.user_count -= 1
            is_last = watch.user_count == 0
            if is_last and self._watches.get(watch.held.physical) is watch:
                del self._watches[watch.held.physical]
        if is_last:
            watch.stop()

    def stop(self) -> None:
        """End all watches; who waits goes on at once."""
        with self._lock:
            watches = list(self._watches.values())
            self._watches.clear()
        for watch in watches:
            watch.stop()


class LogWatch:
    """Numbers new entries, keeps the last of them, and wakes who waits. Not started until `start`."""

    def __init__(self, registry: Registry, held: HeldSchema) -> None:
        self.registry, self.held = registry, held
        self.user_count = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._state: LogState | None = None
        self._error: FederationError | None = None
        self._kept: deque[LogEntry] = deque()
        self._kept_bytes = 0
        self._thread = threading.Thread(target=self._run, name=f"watch-{held.schema}", daemon=True)

    @property
    def is_running(self) -> bool:
        return not self._stopping.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the watch; who waits goes on at once."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def wait(self, epoch: str, lsn: int, timeout_s: float) -> LogState | None:
        """Where the log ends, once that is after ``lsn`` or of another epoch, or the time is over.

        None when it is not known yet; it may be a moment old. Raises why the log can't be read.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_news(epoch, lsn) or not self.is_running, timeout_s)
            if self._error is not None:
                raise self._error
            return self._state

    def _is_news(self, epoch: str, lsn: int) -> bool:
        state = self._state
        return self._error is not None or (state is not None and (state.lsn > lsn or state.epoch != epoch))

    def entries_after(self, lsn: int) -> list[LogEntry]:
        """As many of the kept entries after ``lsn`` as make a message; none where the next is not kept."""
        with self._changed:
            first = lsn + 1 - self._kept[0].lsn if self._kept else -1
            if first < 0:
                return []
            found: list[LogEntry] = []
            size = rows = 0
            for entry in islice(self._kept, first, None):
                size, rows = size + len(entry.body), rows + entry.row_count
                if found and (size > BATCH_BYTES or rows > BATCH_ROWS):
                    break
                found.append(entry)
            return found

    def _run(self) -> None:
        busy_until = time.monotonic() + QUIET_S
        while not self._stopping.is_set():
            try:
                if self._look():
                    busy_until = time.monotonic() + QUIET_S
            except FederationError as error:
                self._fail(error)
            except sa.exc.SQLAlchemyError as error:
                text = str(error).splitlines()[0]
                self._fail(UnavailableError(f"{self.held.schema}: {text}", hint="it is tried again"))
            is_quiet = self._error is not None or time.monotonic() > busy_until
            self._stopping.wait(IDLE_POLL_S if is_quiet else POLL_S)

    def _fail(self, error: FederationError) -> None:
        with self._changed:
            self._error, self._state = error, None
            self._kept.clear()
            self._kept_bytes = 0
            self._changed.notify_all()

    def _look(self) -> bool:
        """Take in what is new; whether anything is."""
        database, physical, old = self.registry.database, self.held.physical, self._state
        found = growth(database, physical, _END if old is None else old.lsn, BATCH_BYTES)
        if found.is_unnumbered and self.held.owned:
            while stamp(database, physical):
                pass
            found = growth(database, physical, _END if old is None else old.lsn, BATCH_BYTES)
        is_new = found.state != old
        if is_new or self._error is not None:
            with self._changed:
                self._error = None
                self._keep(old, found.state, found.entries)
                self._state = found.state
                self._changed.notify_all()
        return is_new

    def _keep(self, old: LogState | None, state: LogState, entries: Sequence[LogEntry]) -> None:
        """Keep new entries if they are all that is new, and forget the oldest where they are too much."""
        is_all = (
            old is not None
            and state.epoch == old.epoch
            and entries
            and entries[0].lsn == old.lsn + 1
            and entries[-1].lsn == state.lsn
        )
        if not is_all:
            self._kept.clear()
            self._kept_bytes = 0
            return
        self._kept.extend(entries)
        self._kept_bytes += sum(len(entry.body) for entry in entries)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft().body)
