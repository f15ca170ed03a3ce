"""Looks, for all fragments that a process runs, whether anybody still waits for their rows; one thread for all."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["cancelled_without_caller"]

#: how often one looks
_WATCH_S = 0.2
#: a thread that watches nothing ends after so many looks
_IDLE_LOOKS = 50


class _Watched:
    """One call; ``lock`` is held while it is looked at, so that it does not end meanwhile."""

    def __init__(self, is_active: Callable[[], bool], cancel: Callable[[], None]) -> None:
        self.is_active, self.cancel = is_active, cancel
        self.lock = threading.Lock()
        self.is_over = False

    def look(self) -> None:
        with self.lock:
            if not self.is_over and not self.is_active():
                self.is_over = True
                self.cancel()


class _Watch:
    """Calls that run; a thread of its own as long as there are some, as starting one costs as much as a short call."""

    def __init__(self) -> None:
        self._watched: set[_Watched] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, watched: _Watched) -> None:
        with self._lock:
            self._watched.add(watched)
            # a forked process has the object, but not the thread
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._look, name="federation-caller-watch", daemon=True
                )
                self._thread.start()

    def remove(self, watched: _Watched) -> None:
        """From here on it is not cancelled any more: its connection may serve another call."""
        with self._lock:
            self._watched.discard(watched)
        with watched.lock:
            watched.is_over = True

    def _look(self) -> None:
        never = threading.Event()
        idle = 0
        while True:
            never.wait(_WATCH_S)
            with self._lock:
                running = list(self._watched)
                idle = 0 if running else idle + 1
                if idle > _IDLE_LOOKS:
                    self._thread = None
                    return
            while (
                running
            ):  # nothing of them is kept: a connection must not live as long as this thread sleeps
                running.pop().look()


_watch = _Watch()


@contextmanager
def cancelled_without_caller(is_active: Callable[[], bool], cancel: Callable[[], None]) -> Iterator[None]:
    """Call ``cancel``, from another thread, once within this context when ``is_active`` says no."""
    watched = _Watched(is_active, cancel)
    _watch.add(watched)
    try:
        yield
    finally:
        _watch.remove(watched)
