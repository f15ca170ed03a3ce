"""A log as it grows: waits for entries that are new and reads them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from federation.changelog import log_state, read_entries
from federation.errors import EpochError, LogGapError
from federation.replication.snapshots import stamp_all
from federation.storage import SqliteDatabase

if TYPE_CHECKING:
    import threading

    from federation.model.change import LogEntry
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["LogTail"]

BATCH_BYTES = 4 << 20
#: how often a log is looked at while entries come, and when none came for a while
POLL_S = 0.005
IDLE_POLL_S = 0.05
#: how long it is looked at often after the last entry
QUIET_S = 1.0


class LogTail:
    """The entries of one schema's log after a position, in order, as they are numbered.

    Not shared between threads. ``stopping`` ends a wait.
    """

    def __init__(
        self, registry: Registry, held: HeldSchema, epoch: str, lsn: int, stopping: threading.Event
    ) -> None:
        self._registry, self._held, self._stopping = registry, held, stopping
        self.epoch, self.lsn, self.head_lsn = epoch, lsn, lsn
        self._mark: object = None
        self._looked_at, self._quiet_since = float("-inf"), time.monotonic()

    def next(self, timeout_s: float) -> list[LogEntry]:
        """The next entries, up to 4 MB of them, waiting at most ``timeout_s``; none when there are none by then.

        Moves ``lsn`` behind them and ``head_lsn`` to the log's end. `EpochError` when the log was replaced by another,
        `LogGapError` when what follows ``lsn`` is no longer kept.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            seen, now = self._file_mark(), time.monotonic()
            is_due = now >= deadline
            if is_due or seen is None or seen != self._mark or now - self._looked_at >= IDLE_POLL_S:
                entries = self._read()
                self._mark, self._looked_at = seen, now
                if entries:
                    self.lsn, self._quiet_since = entries[-1].lsn, now
                if entries or is_due:
                    return entries
            is_quiet = now - self._quiet_since > QUIET_S
            # SQLite: looking at the file costs nothing, so it goes on often
            pause_s = IDLE_POLL_S if is_quiet and seen is None else POLL_S
            if self._stopping.wait(min(pause_s, max(0.0, deadline - now))):
                return []

    def _file_mark(self) -> object:
        """What changes when a SQLite schema is written to; None on PostgreSQL."""
        database = self._registry.database
        if not isinstance(database, SqliteDatabase):
            return None
        path, mark = database.path(self._held.physical), []
        for file in (path, path.with_name(path.name + "-wal")):
            with contextlib.suppress(FileNotFoundError):
                found = file.stat()
                mark += [found.st_mtime_ns, found.st_size]
        return mark

    def _read(self) -> list[LogEntry]:
        held = self._held
        stamp_all(self._registry, held)
        with self._registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
            if state.epoch != self.epoch or state.lsn < self.lsn:
                raise EpochError(f"the log of {held.schema} was replaced by another", hint="follow it anew")
            entries = (
                read_entries(connection, held.physical, self.lsn, BATCH_BYTES) if state.lsn > self.lsn else []
            )
        if state.lsn > self.lsn and (not entries or entries[0].lsn != self.lsn + 1):
            raise LogGapError(
                f"entry {self.lsn + 1} of {held.schema} is no longer kept", hint="copy the schema anew"
            )
        self.head_lsn = state.lsn
        return entries
