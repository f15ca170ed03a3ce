"""How a replica stands, as its follower tells: state, position, lag, path, and since when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import attrs

from federation.model.log_filter import LogFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import LogEntry
    from federation.wire.messages import FollowBatch

__all__ = ["EntrySize", "FollowerPhase", "FollowerStatus", "HeadAge", "Phase"]

Phase = Literal["connecting", "copying", "following", "waiting", "refused", "stopped"]

#: no batch waits for so long on its way: a clock was set
CLOCK_STEP_S = 30.0
#: connecting and waiting take turns while a source does not answer
_AWAY = frozenset({"connecting", "waiting"})


@attrs.frozen
class FollowerStatus:
    """How a replica stands.

    ``staleness_s`` is the time since the replica was last known to equal its owner's schema, None when it never was
    since this process began; ``error`` the last one in words, empty once it is overcome. ``path`` are the sites that
    entries last came through, the owner first. ``lag_bytes`` is what the missing entries take on the way, by the mean
    of those that came (None: none came yet). ``since_s`` tells for how long ``state`` has been so; connecting and
    waiting count as one.
    """

    state: Phase
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float | None
    error: str = ""
    path: tuple[str, ...] = ()
    filter: LogFilter = attrs.field(factory=LogFilter)
    lag_bytes: int | None = None
    since_s: float = 0.0
    #: entries applied since this process began, their rows, and the bytes of their bodies; copies not counted
    applied_entries: int = 0
    applied_rows: int = 0
    applied_bytes: int = 0

    @property
    def lag_entries(self) -> int:
        """Entries of the owner's log, as far as it is known, that are not applied here."""
        return max(0, self.head_lsn - self.lsn)


class FollowerPhase:
    """The present phase, and since when it has been."""

    def __init__(self) -> None:
        self.name: Phase = "connecting"
        self._since = time.monotonic()

    def enter(self, name: Phase) -> None:
        """Go on to a phase."""
        if name != self.name and not {name, self.name} <= _AWAY:
            self._since = time.monotonic()
        self.name = name

    @property
    def since_s(self) -> float:
        """Seconds since it was entered."""
        return time.monotonic() - self._since


class HeadAge:
    """How old the end of the owner's log is that a batch tells of, for one connection; pure.

    A batch says how old that knowledge was when it was sent. What it waited on its way longer than the quickest one is
    seen by both ends' clocks, whose difference need not be known as long as it stays.
    """

    def __init__(self) -> None:
        self._quickest_s: float | None = None

    def of(self, batch: FollowBatch, received_s: float) -> float | None:
        """Seconds at ``received_s`` (of any clock that goes on); None where the source does not know itself."""
        if not batch.head_tai_ns:
            return None
        way_s = received_s - batch.server_tai_ns / 1e9
        if self._quickest_s is None or not 0 <= way_s - self._quickest_s < CLOCK_STEP_S:
            self._quickest_s = way_s
        return max(0, batch.server_tai_ns - batch.head_tai_ns) / 1e9 + way_s - self._quickest_s


class EntrySize:
    """The mean size of entries, the last ones weighing most, and how many there were of which rows and bytes."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self.entries = self.rows = self.size_bytes = 0

    def add(self, entries: Sequence[LogEntry]) -> None:
        """Take the sizes of entries that came together."""
        sizes = [len(entry.body) for entry in entries]
        self.entries += len(sizes)
        self.rows += sum(entry.row_count for entry in entries)
        self.size_bytes += sum(sizes)
        if sizes:
            mean = sum(sizes) / len(sizes)
            self._mean = mean if self._mean is None else 0.8 * self._mean + 0.2 * mean

    def of(self, count: int) -> int | None:
        """Bytes of so many entries; None before any came."""
        if not count:
            return 0
        return None if self._mean is None else round(self._mean * count)
