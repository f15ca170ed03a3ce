"""The threads of a transfer: each takes items, brings them from a source to the target, and says how that went."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from federation.datastore.copying import Copier
from federation.datastore.outcomes import (
    Crashed,
    Ended,
    Failed,
    Item,
    Outcomes,
    Published,
    StoppedError,
)
from federation.datastore.store import Stored
from federation.errors import CorruptionError, FederationError, LimitError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.datastore.copying import CopySettings
    from federation.datastore.landing import Landed, Landing
    from federation.datastore.pace import Slots
    from federation.datastore.presence import Presence
    from federation.datastore.store import Datastore

__all__ = ["WorkerPool"]

#: how long an interrupted transfer waits for threads that are blocked in a read; they are daemons
_STOP_GRACE_S = 2.0
#: how often a thread without a slot looks whether the transfer is stopped
_SLOT_WAIT_S = 0.2
#: bytes that a thread lets wait for being made durable
_BATCH_BYTES = 64 << 20


class WorkerPool:
    """Up to ``workers`` threads that copy items to ``target``; their outcomes come through `outcomes`.

    A thread publishes ``batch_files`` at a time where the target is local, so ``landing`` is given.
    """

    def __init__(
        self,
        target: Datastore,
        landing: Landing | None,
        presence: Presence,
        settings: CopySettings,
        slots: Slots,
        *,
        workers: int,
        batch_files: int,
        owner: str,
        stopping: threading.Event,
    ) -> None:
        self._landing, self._presence, self._slots = landing, presence, slots
        self._batch_files = batch_files
        self._stopping = stopping
        self._todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.outcomes = Outcomes(max(workers, 1) * 16, self._stopping)
        self._copier = Copier(target, landing, settings, owner, self._stopping, self.outcomes, slots)
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

    def stop(self) -> list[Published]:
        """End the threads, at once when they are idle, after the chunk in hand when not; what they published since."""
        self._stopping.set()
        self.withdraw()
        deadline = time.monotonic() + _STOP_GRACE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return self.outcomes.rest()

    def _run(self) -> None:
        batch: list[tuple[Item, Landed, int]] = []
        waiting_bytes = 0
        try:
            try:
                while self._take_one(batch):
                    waiting_bytes = waiting_bytes + batch[-1][1].size_bytes if batch else 0
                    if len(batch) >= self._batch_files or waiting_bytes >= _BATCH_BYTES:
                        self._publish(batch)
                        waiting_bytes = 0
                self._publish(batch)
            finally:
                # a stopped or crashed thread leaves no temporaries
                if self._landing is not None and batch:
                    self._landing.discard([landed for _, landed, _ in batch])
        except StoppedError:
            return
        except BaseException as error:  # noqa: BLE001 - a thread's exception must reach the caller, not stderr
            try:
                self.outcomes.put(Crashed(error))
            except StoppedError:
                return

    def _take_one(self, batch: list[tuple[Item, Landed, int]]) -> bool:
        """Bring one item, to ``batch`` if it is still to be published; False when there are no more."""
        try:
            item = self._todo.get_nowait()
        except queue.Empty:
            return False
        held_bytes = self._copier.held_bytes(item)
        while not self._slots.take(held_bytes, _SLOT_WAIT_S):
            if batch:
                self._publish(batch)  # nothing better to do
            if self._stopping.is_set():
                raise StoppedError
        copied_bytes = 0
        try:
            ended = self._bring(item)
            copied_bytes = item.size_bytes or 0
        finally:
            self._slots.give_back(held_bytes, copied_bytes)
        if isinstance(ended, tuple):
            batch.append((item, *ended))
        else:
            self.outcomes.put(Ended((ended,)))
        return not self._stopping.is_set()

    def _publish(self, batch: list[tuple[Item, Landed, int]]) -> None:
        """Publish a batch and empty it."""
        if not batch or self._landing is None:
            return
        done, batch[:] = tuple(batch), ()
        landed = [one for _, one, _ in done]
        try:
            infos = self._landing.publish(landed)
        except FederationError as error:
            infos = [error] * len(done)
        ended: list[Published | Failed] = []
        for (item, one, untold), info in zip(done, infos, strict=True):
            if isinstance(info, FederationError):
                ended.append(Failed(item.key, info, one.size_bytes - untold, isinstance(info, LimitError)))
            else:
                stored = Stored(one.size_bytes, one.checksum)
                ended.append(Published(item.key, stored, info.version, was_there=False, untold_bytes=untold))
        self.outcomes.put(Ended(tuple(ended)))

    def _bring(self, item: Item) -> Published | Failed | tuple[Landed, int]:
        try:
            there = self._presence.same(item, self._copier.check_stopped)
        except FederationError as error:
            return Failed(item.key, error)
        if there is not None:
            return Published(item.key, *there, was_there=True)
        errors: list[FederationError] = []
        from_target = False
        for source in item.sources:
            attempt = self._copier.attempt(source, item)
            try:
                return attempt.run()
            except FederationError as error:
                errors.append(error)
                from_target = error is not attempt.source_error and not isinstance(error, CorruptionError)
                if from_target or source is item.sources[-1]:
                    break
                attempt.take_back(str(error))
        if not errors:
            return Failed(
                item.key, NotFoundError(f"no source is known for {item.key}", hint="no site has this file")
            )
        is_fatal = from_target and isinstance(errors[-1], LimitError)
        return Failed(item.key, _summary(item.key, errors), attempt.told_bytes, is_fatal)


def _summary(key: str, errors: list[FederationError]) -> FederationError:
    """One error for several sources, of the class that says most about what to do."""
    if len(errors) == 1:
        return errors[0]
    ranked = (LimitError, CorruptionError, UnavailableError, FederationError)
    worst = next(error for kind in ranked for error in errors if isinstance(error, kind))
    return type(worst)(
        f"no source of {key} worked: " + "; ".join(error.message for error in errors), hint=worst.hint
    )
