"""How many files are copied at one time: as many as the disk or server gains from, within a bound of memory."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Climb", "Slots"]

#: a change of the rate below this is noise
_GAIN = 1.05
#: windows during which a step that didn't pay isn't tried again
_HOLD_WINDOWS = 8
#: what opening, naming and asking for a file costs, as bytes
_FILE_BYTES = 64 << 10


@attrs.define
class Climb:
    """Looks for the lowest number of workers beyond which the rate doesn't grow; no I/O and no clock.

    >>> climb = Climb(4, 16)
    >>> [climb.next(rate) for rate in (100, 150, 200, 201)]
    [6, 8, 10, 8]
    """

    limit: int
    maximum: int
    step: int = 2
    _last_rate: float = 0.0
    _last_change: int = 0
    _hold: int = 0

    def next(self, rate: float) -> int:
        """The number of workers after a window in which they came to ``rate``, in any unit."""
        if self._hold > 0:
            self._hold -= 1
            self._last_rate = max(self._last_rate * 0.9, rate)  # what was once reached is not for ever
            return self.limit
        if self._last_change > 0 and rate < self._last_rate * _GAIN:
            self.limit -= self._last_change
            self._last_change, self._hold = 0, _HOLD_WINDOWS
            return self.limit
        self._last_rate = rate
        change = min(self.step, self.maximum - self.limit)
        self.limit += change
        self._last_change = change
        return self.limit

    def trouble(self) -> int:
        """The number of workers after a server said that it has too much to do."""
        self.limit = max(1, self.limit // 2)
        self._last_change, self._hold, self._last_rate = 0, _HOLD_WINDOWS, 0.0
        return self.limit


class Slots:
    """Lets ``climb.limit`` files be copied at once that together hold at most ``memory_bytes``.

    One file may always be copied, however large. Without ``climb`` the limit stays ``fixed``.
    """

    def __init__(
        self,
        climb: Climb | None,
        *,
        fixed: int = 1,
        memory_bytes: int = 96 << 20,
        window_s: float = 0.4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._climb, self._memory_bytes = climb, memory_bytes
        self._limit = climb.limit if climb is not None else fixed
        self._window_s, self._clock = window_s, clock
        self._changed = threading.Condition()
        self._active = self._held_bytes = 0
        self._began, self._done_files, self._done_bytes = clock(), 0, 0

    @property
    def limit(self) -> int:
        """Files that may be copied at one time now."""
        return self._limit

    def take(self, held_bytes: int, timeout_s: float) -> bool:
        """Wait for a slot for a file of which ``held_bytes`` are in memory at one time; False after ``timeout_s``."""
        with self._changed:
            free = self._changed.wait_for(lambda: self._has_room(held_bytes), timeout_s)
            if free:
                self._active += 1
                self._held_bytes += held_bytes
            return free

    def _has_room(self, held_bytes: int) -> bool:
        if self._active == 0:
            return True
        return self._active < self._limit and self._held_bytes + held_bytes <= self._memory_bytes

    def give_back(self, held_bytes: int, copied_bytes: int) -> None:
        """End a file that held ``held_bytes``, of which ``copied_bytes`` were copied."""
        with self._changed:
            self._active -= 1
            self._held_bytes -= held_bytes
            self._done_files += 1
            self._done_bytes += copied_bytes
            self._look()
            self._changed.notify_all()

    def trouble(self) -> None:
        """A server could not keep up."""
        with self._changed:
            if self._climb is not None:
                self._limit = self._climb.trouble()

    def _look(self) -> None:
        now = self._clock()
        spent_s = now - self._began
        if self._climb is None or spent_s < self._window_s or self._done_files < 2 * self._limit:
            return
        rate = (self._done_bytes + self._done_files * _FILE_BYTES) / spent_s
        self._limit = self._climb.next(rate)
        self._began, self._done_files, self._done_bytes = now, 0, 0
