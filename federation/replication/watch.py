"""Follows change logs as one stream of typed events: at least once, in order for each schema, resumable anywhere."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

import attrs
import tenacity

from federation.changelog import LogState
from federation.errors import FederationError, LimitError, UnavailableError
from federation.logs import fields
from federation.model.event_filter import EVERYTHING
from federation.model.log_filter import LogFilter
from federation.model.position import GENESIS, Position
from federation.replication.publisher import Publisher
from federation.replication.watch_inbox import Inbox
from federation.replication.watch_place import Place, explained
from federation.wire.messages import FollowFrom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from federation.model.change import LogEntry
    from federation.model.event_filter import EventFilter
    from federation.model.events import Event
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.replication.event_decoder import EventDecoder
    from federation.replication.watch_state import WatchState
    from federation.wire.messages import FollowBatch

__all__ = ["BEGINNING", "LocalLog", "LogSource", "Watch", "WatchedLog"]

#: the position before the first entry of a log
BEGINNING = LogState("", 0, GENESIS)
#: batches that wait for the reader, of all logs together; each has at most 4 MB
_WAITING_MAX = 4
#: the state file is written this often while events come, and whenever none waits
_SAVE_S = 1.0
_BACKOFF_MIN_S = 0.2
_BACKOFF_MAX_S = 5.0
_log = logging.getLogger(__name__)


class EntryStream(Protocol):
    """Batches of one log; `cancel`, from any thread, ends it."""

    def __iter__(self) -> Iterator[FollowBatch]: ...
    def cancel(self) -> None: ...


class LogSource(Protocol):
    """Where a log is to be had: a site's server, or a registry itself."""

    def follow(self, start: FollowFrom) -> EntryStream: ...


class LocalLog:
    """The logs of a registry that this process has open."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def follow(self, start: FollowFrom) -> EntryStream:
        """Entries after a position as they commit."""
        return _LocalStream(Publisher(self._registry), start)


class _LocalStream:
    def __init__(self, publisher: Publisher, start: FollowFrom) -> None:
        self._publisher, self._start = publisher, start

    def __iter__(self) -> Iterator[FollowBatch]:
        return self._publisher.follow(self._start, lambda: True)

    def cancel(self) -> None:
        self._publisher.stop()


@attrs.frozen
class WatchedLog:
    """One log to watch from ``start`` on; an empty chain there is one that the reader does not know.

    ``head_lsn`` is where it was known to end before.
    """

    schema: SchemaId
    source: LogSource
    decoder: EventDecoder
    start: LogState
    head_lsn: int = 0


@attrs.frozen
class _Entries:
    """What came of one log, and where it is after each entry; ``entries`` empty: it has caught up."""

    log: WatchedLog
    epoch: str
    entries: Sequence[LogEntry] = ()


class Watch:
    """An iterator over the events of some logs; a context that ends it.

    Events of one schema come in the order of their commits, each at least once: a position counts as read when the
    next event is asked for, and is then kept in ``state``. With ``once`` it ends when all that was there has been read,
    else when it is closed. Sites that go away are asked again for ever; only a first connection must succeed.
    """

    def __init__(
        self,
        logs: Sequence[WatchedLog],
        *,
        reader: str,
        fingerprint: str,
        filter: EventFilter = EVERYTHING,  # noqa: A002 - the word of the command line
        state: WatchState | None = None,
        once: bool = False,
    ) -> None:
        self._reader, self._fingerprint, self._filter = reader, fingerprint, filter
        # of the other globs the source could leave out what an event that is wanted is made from
        self._sent = LogFilter(dataset_types=filter.dataset_types)
        self._state, self._once = state, once
        self._at_close: list[Callable[[], None]] = []
        self._read = {log.schema: log.start for log in logs}
        self._saved = dict(self._read)
        self._current: tuple[SchemaId, LogState] | None = None
        self._saved_at = time.monotonic()
        self._inbox = Inbox[_Entries | FederationError](_WAITING_MAX)
        self._streams: dict[SchemaId, EntryStream] = {}
        self._lock = threading.Lock()
        self._busy = {log.schema for log in logs}
        self._events = self._generate()
        self.event_count = 0
        self._threads = [
            threading.Thread(target=self._follow, args=(log,), name=f"watch-{log.schema}", daemon=True)
            for log in logs
        ]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = next(self._events)
        self.event_count += 1
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def positions(self) -> tuple[Position, ...]:
        """Up to where each log has been read: to go on from there misses nothing."""
        return tuple(
            Position(schema.site, schema.name, state.epoch, state.lsn) for schema, state in self._read.items()
        )

    def acknowledge(self) -> None:
        """Count the last event as read, although no next one has been asked for."""
        if self._current is not None:
            schema, state = self._current
            self._read[schema], self._current = state, None

    def at_close(self, call: Callable[[], None]) -> None:
        """Let `close` do this too, as its last act."""
        self._at_close.append(call)

    def close(self) -> None:
        """End the watch; what the reader has had is kept in the state file."""
        self._inbox.close()
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            stream.cancel()
        for thread in self._threads:
            thread.join()
        try:
            self._save()
        finally:
            while self._at_close:
                self._at_close.pop()()

    # -- the reader's side ------------------------------------------------------------------------------------

    def _generate(self) -> Iterator[Event]:
        while self._busy:
            if self._inbox.is_empty() or time.monotonic() - self._saved_at > _SAVE_S:
                self._save()
            item = self._inbox.get()
            if item is None:
                return
            if isinstance(item, FederationError):
                raise item
            if not item.entries:
                self._busy.discard(item.log.schema)
            for entry in item.entries:
                found = self._decode(item, entry)
                yield from found[:-1]
                self._current = item.log.schema, LogState(item.epoch, entry.lsn, entry.chain)
                if found:
                    yield attrs.evolve(found[-1], last=True)
                self.acknowledge()  # the reader asks for more: it has had these
        self._save()

    def _decode(self, item: _Entries, entry: LogEntry) -> list[Event]:
        """The events of an entry that are wanted; what the log left out is asked for until a site answers."""
        wait_s = _BACKOFF_MIN_S
        while True:
            try:
                decoded = item.log.decoder.decode(item.epoch, entry)
                return [event for event in decoded if self._filter.passes(event)]
            except (UnavailableError, LimitError):
                if self._inbox.is_closed():
                    raise
                self._inbox.wait_closed(wait_s)
                wait_s = min(2 * wait_s, _BACKOFF_MAX_S)

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._state is not None and self._read != self._saved:
            self._state.save(self._read)
            self._saved = dict(self._read)

    # -- the logs' side ---------------------------------------------------------------------------------------

    def _follow(self, log: WatchedLog) -> None:
        """Read one log until the watch is closed, over however many connections."""
        place = Place(log.schema, log.start, is_filtered=bool(self._sent))
        backoff = tenacity.wait_random_exponential(multiplier=_BACKOFF_MIN_S, max=_BACKOFF_MAX_S)
        retry = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        while not self._inbox.is_closed():
            try:
                if self._connect(log, place):
                    return
                retry.attempt_number = 1
            except (UnavailableError, LimitError) as error:
                if not place.is_connected:
                    self._inbox.put(error)
                    return
                _log.warning("watch_waits", extra=fields(schema=str(log.schema), message=str(error)))
                retry.attempt_number = 1 if place.has_moved() else retry.attempt_number + 1
            except FederationError as error:
                self._inbox.put(explained(error, place))
                return
            self._inbox.wait_closed(float(backoff(retry)))

    def _connect(self, log: WatchedLog, place: Place) -> bool:
        """Hand on what one connection brings; True when all that was asked for has come."""
        here = place.position
        stream = log.source.follow(
            FollowFrom(
                log.schema, here.epoch, here.lsn, here.chain, self._reader, self._fingerprint, self._sent
            )
        )
        with self._lock:
            self._streams[log.schema] = stream
        if self._inbox.is_closed():  # between the closing and the line above
            stream.cancel()
        for batch in stream:
            entries = place.take(batch)
            if entries and not self._inbox.put(_Entries(log, batch.epoch, entries)):
                return True
            if self._once and place.is_caught_up and place.position.lsn >= log.head_lsn:
                self._inbox.put(_Entries(log, batch.epoch))
                stream.cancel()
                return True
        return self._inbox.is_closed()
