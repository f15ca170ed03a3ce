"""What the threads of a transfer tell its calling thread, and the bounded queue that carries it."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import threading

    from federation.datastore.source import Source
    from federation.datastore.store import Stored
    from federation.errors import FederationError

__all__ = ["Ended", "Failed", "Item", "Outcomes", "Progress", "Published", "StoppedError"]

_INTERRUPT_CHECK_S = 0.5


class Item(Protocol):
    """What a worker needs to know of a transfer's item."""

    @property
    def key(self) -> str: ...
    @property
    def sources(self) -> tuple[Source, ...]: ...
    @property
    def target_path(self) -> str: ...
    @property
    def size_bytes(self) -> int | None: ...
    @property
    def checksum(self) -> str | None: ...


@attrs.frozen
class Progress:
    """Bytes arrived; or, with ``detail``, an attempt failed and ``size_bytes`` takes back what it had brought."""

    key: str
    size_bytes: int
    detail: str = ""


@attrs.frozen
class Published:
    """The file is durable at its target; ``was_there`` when nothing had to be copied.

    ``untold_bytes`` of it were copied without a `Progress`.
    """

    key: str
    stored: Stored
    version: str | None
    was_there: bool
    untold_bytes: int = 0


@attrs.frozen
class Failed:
    """No source worked; ``is_fatal`` when the target takes no more files."""

    key: str
    error: FederationError
    size_bytes: int = 0
    is_fatal: bool = False


@attrs.frozen
class Ended:
    """Items that came to their ends together."""

    items: tuple[Published | Failed, ...]


@attrs.frozen
class Crashed:
    """A worker met an error that is nobody's input: a defect, to be raised in the calling thread."""

    error: BaseException


class StoppedError(Exception):
    """The transfer is being stopped."""


class Outcomes:
    """A bounded queue whose producers give up when the transfer stops, and whose consumer sees crashes raised."""

    def __init__(self, size: int, stopping: threading.Event) -> None:
        self._queue: queue.Queue[Progress | Ended | Crashed] = queue.Queue(size)
        self._stopping = stopping

    def put(self, outcome: Progress | Ended | Crashed) -> None:
        while not self._stopping.is_set():
            try:
                return self._queue.put(outcome, timeout=0.1)
            except queue.Full:
                continue
        raise StoppedError

    def get(self) -> Progress | Ended:
        while True:
            try:
                # never without an end: an interrupt that arrives just before the wait would not be seen
                return self._checked(self._queue.get(timeout=_INTERRUPT_CHECK_S))
            except queue.Empty:
                continue

    def get_nowait(self) -> Progress | Ended:
        return self._checked(self._queue.get_nowait())

    def rest(self) -> list[Published]:
        """Files that were published and not yet taken from the queue, once all producers have ended."""
        found: list[Published] = []
        while True:
            try:
                outcome = self._queue.get_nowait()
            except queue.Empty:
                return found
            if isinstance(outcome, Ended):
                found.extend(one for one in outcome.items if isinstance(one, Published))

    @staticmethod
    def _checked(outcome: Progress | Ended | Crashed) -> Progress | Ended:
        if isinstance(outcome, Crashed):
            raise outcome.error
        return outcome
