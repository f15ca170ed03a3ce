"""Limits how many bytes a second pass."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Throttle"]


class Throttle:
    """Lets ``bytes_per_s`` pass on average, for all threads that share it; None lets everything pass at once.

    Each chunk is paid for after it has passed, so a chunk may be of any size. ``wait`` waits for a time in seconds.
    """

    def __init__(
        self,
        bytes_per_s: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._wait = bytes_per_s, clock, wait
        self._lock = threading.Lock()
        self._free_at = clock()

    def passing(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks, no faster than allowed."""
        if self._rate is None:
            yield from chunks
            return
        for chunk in chunks:
            yield chunk
            self.passed(len(chunk))

    def passed(self, size_bytes: int) -> None:
        """Wait for as long as these bytes, which have passed, are worth."""
        if self._rate is None:
            return
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + size_bytes / self._rate
            pause_s = self._free_at - now
        self._wait(pause_s)
