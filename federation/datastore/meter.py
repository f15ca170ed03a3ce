"""How far a transfer is: files, bytes, the rate of late, and the time that is left."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from federation.datastore.transfer import TransferEventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.datastore.transfer import TransferEvent

__all__ = ["Meter"]

#: the rate is that of the last so many seconds
_WINDOW_S = 10.0
_STEP_S = 0.25


class Meter:
    """Counts the events of one transfer of ``total_files`` with ``total_bytes``."""

    def __init__(
        self, total_bytes: int, total_files: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total_bytes, self.total_files = total_bytes, total_files
        self.copied_bytes = self.skipped_bytes = 0
        self.files = self.failed_files = 0
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def take(self, event: TransferEvent) -> None:
        """Count one event."""
        match event.kind:
            case TransferEventKind.PROGRESS | TransferEventKind.RETRY:
                self.copied_bytes += event.size_bytes
            case TransferEventKind.DONE:
                self.files += 1
            case TransferEventKind.SKIPPED:
                self.files += 1
                self.skipped_bytes += event.size_bytes
            case TransferEventKind.FAILED:
                self.failed_files += 1
                self.copied_bytes += event.size_bytes
        now = self._clock()
        if now - self._marks[-1][0] >= _STEP_S:
            self._marks.append((now, self.copied_bytes))
            while len(self._marks) > 2 and now - self._marks[1][0] >= _WINDOW_S:
                self._marks.popleft()

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second of late; 0.0 before anything can be said."""
        began, there = self._marks[0]
        spent_s = self._clock() - began
        return max(0.0, (self.copied_bytes - there) / spent_s) if spent_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; None while that is not known."""
        rate = self.bytes_per_s
        left = self.total_bytes - self.copied_bytes - self.skipped_bytes
        return None if rate <= 0 else max(0.0, left / rate)
