"""Ends the work that goes on for one query, in whatever thread it is, also where that thread waits for a site."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Stop"]


class Stop:
    """Set once, from any thread. Whoever begins a part of the work says how that part is ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._ends: dict[int, Callable[[], None]] = {}

    def is_set(self) -> bool:
        """Whether the work is to end."""
        return self._is_set

    def set(self) -> None:
        """End every part that goes on, and each one that begins from now on; a second call does nothing."""
        with self._lock:
            self._is_set = True
            ends, self._ends = list(self._ends.values()), {}
        for end in ends:
            end()

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Within this context `set` calls ``end``, which must return at once; it is called now if that has happened."""
        with self._lock:
            is_late = self._is_set
            if not is_late:
                self._ends[id(end)] = end
        if is_late:
            end()
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(id(end), None)
