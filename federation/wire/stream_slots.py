"""How many long streams a server holds at once: each takes a thread for as long as its follower stays."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from federation.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STREAMS_MAX", "StreamSlots"]

#: streams of followers and of copies together
STREAMS_MAX = 512


class StreamSlots:
    """Room for ``count_max`` streams, so that none of them takes the threads that other calls need; thread-safe."""

    def __init__(self, count_max: int = STREAMS_MAX) -> None:
        self.count_max = count_max
        self._free = threading.BoundedSemaphore(count_max)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Take a place; `LimitError` at once where there is none."""
        if not self._free.acquire(blocking=False):
            raise LimitError(
                f"this site serves {self.count_max} streams of followers already, which is its limit",
                hint="follow through a relay, or try again later",
            )
        try:
            yield
        finally:
            self._free.release()
