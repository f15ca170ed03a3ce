"""A bounded queue between those who read logs and the one who asks for events; it ends for both when it is closed."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """At most ``size`` items wait in it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> bool:
        """Wait for room and add; False when the queue was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._size)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def get(self) -> T | None:
        """Wait for the next item; None when the queue was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items))
            if self._closed:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def is_empty(self) -> bool:
        with self._changed:
            return not self._items

    def is_closed(self) -> bool:
        with self._changed:
            return self._closed

    def wait_closed(self, timeout_s: float) -> None:
        """Wait until the queue is closed, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout_s)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
