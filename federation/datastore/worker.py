"""The threads of a transfer: each takes an item, streams it from a source to the target, and says how that went."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Protocol

import attrs
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from tenacity.nap import sleep_using_event

from federation.datastore.checksum import CHUNK_BYTES, Digester
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.datastore.store import Stored
from federation.errors import (
    CorruptionError,
    FederationError,
    LimitError,
    NotFoundError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tenacity import RetryCallState

    from federation.datastore.source import Source
    from federation.datastore.store import Datastore

__all__ = ["Failed", "Progress", "Published", "WorkerPool"]

_BACKOFF_MAX_S = 30.0
#: how long an interrupted transfer waits for threads that are blocked in a read; they are daemons
_STOP_GRACE_S = 2.0
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
    """The file is durable at its target; ``was_there`` when nothing had to be copied."""

    key: str
    stored: Stored
    was_there: bool


@attrs.frozen
class Failed:
    """No source worked; ``is_fatal`` when the target takes no more files."""

    key: str
    error: FederationError
    size_bytes: int = 0
    is_fatal: bool = False


@attrs.frozen
class _Crashed:
    """A worker met an error that is nobody's input: a defect, to be raised in the calling thread."""

    error: BaseException


class _StoppedError(Exception):
    """The transfer is being stopped."""


class _Outcomes:
    """A bounded queue whose producers give up when the transfer stops, and whose consumer sees crashes raised."""

    def __init__(self, size: int, stopping: threading.Event) -> None:
        self._queue: queue.Queue[Progress | Published | Failed | _Crashed] = queue.Queue(size)
        self._stopping = stopping

    def put(self, outcome: Progress | Published | Failed | _Crashed) -> None:
        while not self._stopping.is_set():
            try:
                return self._queue.put(outcome, timeout=0.1)
            except queue.Full:
                continue
        raise _StoppedError

    def get(self) -> Progress | Published | Failed:
        while True:
            try:
                # never without an end: an interrupt that arrives just before the wait would not be seen
                return self._checked(self._queue.get(timeout=_INTERRUPT_CHECK_S))
            except queue.Empty:
                continue

    def get_nowait(self) -> Progress | Published | Failed:
        return self._checked(self._queue.get_nowait())

    @staticmethod
    def _checked(outcome: Progress | Published | Failed | _Crashed) -> Progress | Published | Failed:
        if isinstance(outcome, _Crashed):
            raise outcome.error
        return outcome


class _Stream:
    """The chunks of one attempt, counted; remembers whether it was the source that failed."""

    def __init__(self, source: Source, on_bytes: Callable[[int], None], stopping: threading.Event) -> None:
        self.source = source
        self.size_bytes = 0
        self.error: BaseException | None = None
        self._on_bytes = on_bytes
        self._stopping = stopping

    def __iter__(self) -> Generator[bytes]:
        try:
            with self.source.open() as chunks:
                for chunk in chunks:
                    if self._stopping.is_set():
                        raise _StoppedError
                    self.size_bytes += len(chunk)
                    self._on_bytes(len(chunk))
                    yield chunk
        except store_errors() as error:
            self.error = as_federation_error(error, "read", self.source.name)
            raise self.error from error
        except FederationError as error:
            self.error = error
            raise


class WorkerPool:
    """``workers`` threads that copy items to ``target``; their outcomes come through `outcomes`."""

    def __init__(self, target: Datastore, owner: str, workers: int, attempts: int, backoff_s: float) -> None:
        self._target = target
        self._owner = owner
        self._attempts = attempts
        self._backoff_s = backoff_s
        self._stopping = threading.Event()
        self._todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.outcomes = _Outcomes(max(workers, 1) * 16, self._stopping)
        # daemons: a thread blocked in a read from a dead server must not keep an interrupted process alive
        self._threads = [
            threading.Thread(target=self._run, name=f"transfer-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self, items: Sequence[Item]) -> None:
        """Begin with ``items``."""
        for item in items:
            self._todo.put(item)
        for thread in self._threads:
            thread.start()

    def withdraw(self) -> list[Item]:
        """Take back the items that no worker has begun."""
        items = []
        while True:
            try:
                items.append(self._todo.get_nowait())
            except queue.Empty:
                return items

    def stop(self) -> None:
        """End the threads: at once when they are idle, after the chunk in hand when not."""
        self._stopping.set()
        self.withdraw()
        deadline = time.monotonic() + _STOP_GRACE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                item = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                self.outcomes.put(self._copy(item))
            except _StoppedError:
                return
            except BaseException as error:  # noqa: BLE001 - a thread's exception must reach the caller, not stderr
                try:
                    self.outcomes.put(_Crashed(error))
                except _StoppedError:
                    return

    def _copy(self, item: Item) -> Published | Failed:
        try:
            there = self._already_there(item)
        except FederationError as error:
            return Failed(item.key, error)
        if there is not None:
            return Published(item.key, there, was_there=True)
        errors: list[FederationError] = []
        for source in item.sources:
            stream = _Stream(source, lambda size: self.outcomes.put(Progress(item.key, size)), self._stopping)
            try:
                return Published(item.key, self._copy_from(stream, item), was_there=False)
            except FederationError as error:
                errors.append(error)
                from_target = error is not stream.error and not isinstance(error, CorruptionError)
                if from_target or source is item.sources[-1]:
                    break
                self.outcomes.put(Progress(item.key, -stream.size_bytes, str(error)))
        if not errors:
            return Failed(
                item.key, NotFoundError(f"no source is known for {item.key}", hint="no site has this file")
            )
        is_fatal = from_target and isinstance(errors[-1], LimitError)
        return Failed(item.key, _summary(item.key, errors), stream.size_bytes, is_fatal)

    def _already_there(self, item: Item) -> Stored | None:
        """What is at the target, if it is the item's file by checksum."""
        path = item.target_path
        if item.checksum is None or not self._target.exists(path):
            return None
        if item.size_bytes is not None and self._target.size(path) != item.size_bytes:
            return None
        digester = Digester(item.checksum)
        with self._target.open(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                if self._stopping.is_set():
                    raise _StoppedError
                digester.update(chunk)
        try:
            digester.check(path)
        except CorruptionError:
            return None  # other bytes than wanted: they get replaced
        return Stored(digester.size_bytes, digester.checksum)

    def _copy_from(self, stream: _Stream, item: Item) -> Stored:
        def attempt() -> Stored:
            if self._stopping.is_set():
                raise _StoppedError
            stream.size_bytes, stream.error = 0, None
            return self._target.put_stream(
                stream,
                item.target_path,
                size_bytes=item.size_bytes,
                checksum=item.checksum,
                owner=self._owner,
            )

        def tell(state: RetryCallState) -> None:
            reason = str(state.outcome.exception()) if state.outcome else "failed"
            self.outcomes.put(Progress(item.key, -stream.size_bytes, reason))

        retrying = Retrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(self._backoff_s, max=_BACKOFF_MAX_S),
            sleep=sleep_using_event(self._stopping),
            before_sleep=tell,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except CorruptionError as error:
            if error is stream.error:
                raise
            raise CorruptionError(f"{stream.source.name} -> {error.message}", hint=error.hint) from error


def _summary(key: str, errors: list[FederationError]) -> FederationError:
    """One error for several sources, of the class that says most about what to do."""
    if len(errors) == 1:
        return errors[0]
    ranked = (LimitError, CorruptionError, UnavailableError, FederationError)
    worst = next(error for kind in ranked for error in errors if isinstance(error, kind))
    return type(worst)(
        f"no source of {key} worked: " + "; ".join(error.message for error in errors), hint=worst.hint
    )
