"""Brings one file from one source: by stream, by the kernel or as a link, again while it may help, counted."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tenacity.nap import sleep_using_event

from federation.datastore.checksum import Digester
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.datastore.local_files import LocalReading
from federation.datastore.object_files import UPLOAD_BYTES, WHOLE_BYTES
from federation.datastore.outcomes import Progress, Published, StoppedError
from federation.errors import CorruptionError, FederationError, UnavailableError, UserError

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator

    from tenacity import RetryCallState

    from federation.datastore.landing import Landed, Landing
    from federation.datastore.outcomes import Item, Outcomes
    from federation.datastore.pace import Slots
    from federation.datastore.source import Source
    from federation.datastore.store import Datastore
    from federation.datastore.throttle import Throttle

__all__ = ["Copier", "CopyMode", "CopySettings"]

_BACKOFF_MAX_S = 30.0
#: progress of a file is told in steps of so many bytes
_TELL_BYTES = 4 << 20


class CopyMode(enum.StrEnum):
    """How a file comes from one place of this computer to another; what comes from afar is always streamed.

    STREAM reads, hashes and writes. CLONE lets the kernel copy, or share blocks where the file system can; the
    recorded checksum is believed. LINK gives the file a second name; neither can be written from then on.
    """

    STREAM = "stream"
    CLONE = "clone"
    LINK = "link"


@attrs.frozen
class CopySettings:
    """How files are copied, and how often one source that does not answer is asked."""

    mode: CopyMode
    attempts: int
    backoff_s: float
    throttle: Throttle


class Copier:
    """What the threads of one transfer share for copying."""

    def __init__(
        self,
        target: Datastore,
        landing: Landing | None,
        settings: CopySettings,
        owner: str,
        stopping: threading.Event,
        outcomes: Outcomes,
        slots: Slots,
    ) -> None:
        self.target, self.landing, self.settings, self.owner = target, landing, settings, owner
        self.stopping, self.outcomes, self.slots = stopping, outcomes, slots

    def attempt(self, source: Source, item: Item) -> Attempt:
        """The copying of one item from one source."""
        return Attempt(self, source, item)

    def check_stopped(self) -> None:
        """Raise when the transfer is being stopped."""
        if self.stopping.is_set():
            raise StoppedError

    def held_bytes(self, item: Item) -> int:
        """How much of an item is in memory at one time."""
        size = item.size_bytes if item.size_bytes is not None else WHOLE_BYTES
        if self.landing is not None:
            return min(size, WHOLE_BYTES)
        return size if size <= WHOLE_BYTES else UPLOAD_BYTES


class Attempt:
    """One item from one source, tried as often as the settings allow.

    ``told_bytes`` were told as progress; ``source_error`` is the error if it was the source that failed.
    """

    def __init__(self, copier: Copier, source: Source, item: Item) -> None:
        self._copier, self._source, self._item = copier, source, item
        self.source_error: FederationError | None = None
        self.told_bytes = 0
        self._untold_bytes = 0

    def run(self) -> Published | tuple[Landed, int]:
        """Bring the file; (what landed, bytes not told of) when it is still to be published."""
        try:
            try:
                return self._once()
            except UnavailableError as error:
                return self._again(error)
        except CorruptionError as error:
            if error is self.source_error or self._source.name in error.message:
                raise
            raise CorruptionError(f"{self._source.name} -> {error.message}", hint=error.hint) from error

    def take_back(self, reason: str) -> None:
        """Tell that the bytes so far don't count."""
        self._copier.outcomes.put(Progress(self._item.key, -self.told_bytes, reason))
        self.told_bytes = 0

    def _again(self, first: UnavailableError) -> Published | tuple[Landed, int]:
        """The later attempts; ``first`` is what became of the one that was made without the cost of counting."""
        failed = [first]

        def attempt() -> Published | tuple[Landed, int]:
            if failed:
                raise failed.pop()
            return self._once()

        def tell(state: RetryCallState) -> None:
            self._copier.slots.trouble()
            self.take_back(str(state.outcome.exception()) if state.outcome else "failed")

        settings, stopping = self._copier.settings, self._copier.stopping
        retrying = Retrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=stop_after_attempt(settings.attempts),
            wait=wait_exponential_jitter(
                multiplier=settings.backoff_s, max=_BACKOFF_MAX_S, jitter=settings.backoff_s / 2
            ),
            sleep=sleep_using_event(stopping),
            before_sleep=tell,
            reraise=True,
        )
        return retrying(attempt)

    def _once(self) -> Published | tuple[Landed, int]:
        self._copier.check_stopped()
        self.source_error, self._untold_bytes = None, 0
        try:
            return self._bring()
        except FederationError:
            self._tell()  # the bytes that are taken back or failed are those that were told of
            raise

    def _bring(self) -> Published | tuple[Landed, int]:
        landing, item = self._copier.landing, self._item
        local = self._local_path()
        if landing is not None and local is not None:
            return self._local(landing, local), self._untold_bytes
        if self._copier.settings.mode is CopyMode.LINK:
            raise UserError(
                f"{self._source.name} can't be linked to {self._copier.target.url}: they are not on one computer",
                hint="copy it",
            )
        if landing is not None:
            landed = landing.write(item.target_path, self._chunks(), Digester(item.checksum), item.size_bytes)
            return landed, self._untold_bytes
        stored = self._copier.target.put_stream(
            self._chunks(),
            item.target_path,
            size_bytes=item.size_bytes,
            checksum=item.checksum,
            owner=self._copier.owner,
        )
        return Published(item.key, stored, stored.version, was_there=False, untold_bytes=self._untold_bytes)

    def _local_path(self) -> str | None:
        try:
            path: str | None = getattr(self._source, "local_path", None)
        except FederationError as error:  # a link that leads where it must not
            self.source_error = error
            raise
        return path

    def _local(self, landing: Landing, path: str) -> Landed:
        item, mode = self._item, self._copier.settings.mode
        if mode is CopyMode.LINK:
            try:
                return landing.link(path, item.target_path, item.size_bytes, item.checksum)
            except (CorruptionError, UserError) as error:
                self.source_error = error
                raise
        reading = LocalReading(path)
        try:
            if mode is CopyMode.CLONE:
                cloned = landing.clone(
                    reading, item.target_path, item.size_bytes, item.checksum, self._on_bytes
                )
                if cloned is not None:
                    return cloned
            return landing.copy(
                reading, item.target_path, Digester(item.checksum), item.size_bytes, self._on_bytes
            )
        finally:
            self.source_error = reading.error

    def _chunks(self) -> Generator[bytes]:
        try:
            with self._source.open() as chunks:
                for chunk in chunks:
                    self._on_bytes(len(chunk))
                    yield chunk
        except store_errors() as error:
            self.source_error = as_federation_error(error, "read", self._source.name)
            raise self.source_error from error
        except FederationError as error:
            self.source_error = error
            raise

    def _on_bytes(self, count: int) -> None:
        self._copier.check_stopped()
        self._untold_bytes += count
        # small files are told of as a whole; of others at once, should nothing more come
        if self.told_bytes + self._untold_bytes != self._item.size_bytes and (
            self.told_bytes == 0 or self._untold_bytes >= _TELL_BYTES
        ):
            self._tell()
        self._copier.settings.throttle.passed(count)

    def _tell(self) -> None:
        if self._untold_bytes:
            self._copier.outcomes.put(Progress(self._item.key, self._untold_bytes))
            self.told_bytes += self._untold_bytes
            self._untold_bytes = 0
