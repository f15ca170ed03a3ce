"""Takes batches from a stream and decodes them while earlier ones are applied; hands on several as one where they wait.

The database does its work while the next entries are received and decoded, in another thread.
"""

from __future__ import annotations

import operator
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Self

import attrs

from federation.changelog.merging import merged_changes
from federation.errors import CorruptionError
from federation.registry.registry import DECLARING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import Change, LogEntry
    from federation.wire.messages import FollowBatch
    from federation.wire.streams import ResponseStream

__all__ = ["ReadAhead"]

#: rows, and bytes of their entries, that wait at most, and one batch more; the transport's own window holds up the
#: source beyond
WAITING_ROWS_MAX, WAITING_BYTES_MAX = 64_000, 16 << 20
#: rows of batches that are made one. Keys in no order touch a tree's pages all over: each transaction writes most of
#: them, so that four times the rows cost SQLite a third less time. A transaction of more is no faster.
MERGED_ROWS_MAX = 64_000


class ReadAhead:
    """The batches of a stream in order, read by a thread of its own; its errors are raised where they come in order.

    A replica that is behind gets larger batches, and so larger transactions; one that is not gets each as it comes.
    """

    def __init__(self, stream: ResponseStream[FollowBatch]) -> None:
        self._stream = stream
        self._waiting: deque[_Received] = deque()
        self._given: list[_Received] = []
        self._changed = threading.Condition()
        self._ended_by: BaseException | None = None
        self._is_cancelled = False
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """End the stream; from any thread."""
        self._stream.cancel()
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FollowBatch:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended_by or self._is_cancelled)
            if self._is_cancelled:
                raise StopIteration
            if not self._waiting:
                assert self._ended_by is not None
                raise self._ended_by
            given = [self._waiting.popleft()]
            rows = given[0].row_count
            while self._waiting and given[-1].is_followed_by(self._waiting[0]):
                rows += self._waiting[0].row_count
                if rows > MERGED_ROWS_MAX:
                    break
                given.append(self._waiting.popleft())
            self._changed.notify_all()
        self._given = given
        return _merged([one.batch for one in given])

    def changes_of(self, entries: Sequence[LogEntry]) -> list[Change] | None:
        """The changes of these entries, if they are those of the last batch; None where they must be decoded anew."""
        received = chain.from_iterable(one.batch.entries for one in self._given)
        if len(entries) != sum(len(one.batch.entries) for one in self._given) or not all(
            map(operator.is_, entries, received)
        ):
            return None
        found: list[Change] = []
        for one in self._given:
            if one.changes is None:
                return None
            found += one.changes
        return found

    @property
    def received_s(self) -> float:
        """When the last batch came (of several made one, the last), by the monotonic clock."""
        return self._given[-1].received_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()
        self._thread.join()

    def _is_full(self) -> bool:
        rows = sum(one.row_count for one in self._waiting)
        return rows >= WAITING_ROWS_MAX or sum(one.size_bytes for one in self._waiting) >= WAITING_BYTES_MAX

    def _read(self) -> None:
        try:
            while True:
                received = _Received.of(next(self._stream))
                with self._changed:
                    self._waiting.append(received)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: not self._is_full() or self._is_cancelled)
                    if self._is_cancelled:
                        return
        except BaseException as error:  # noqa: BLE001 - raised in the thread that reads from here
            with self._changed:
                self._ended_by = error
                self._changed.notify_all()


@attrs.frozen(eq=False)
class _Received:
    """A batch, and the changes of its entries; None where they can't be decoded, which is told when they are due."""

    batch: FollowBatch
    row_count: int
    size_bytes: int
    changes: list[Change] | None
    received_s: float

    @classmethod
    def of(cls, batch: FollowBatch) -> _Received:
        received_s = time.monotonic()
        changes: list[Change] | None = None
        with suppress(CorruptionError):
            changes = merged_changes([entry.body for entry in batch.entries], apart=DECLARING)
        rows = sum(entry.row_count for entry in batch.entries)
        return cls(batch, rows, sum(len(entry.body) for entry in batch.entries), changes, received_s)

    def is_followed_by(self, other: _Received) -> bool:
        """Whether another batch goes on where this one ended."""
        here, there = self.batch, other.batch
        last_lsn = here.entries[-1].lsn if here.entries else here.prev_lsn
        return (there.epoch, there.path, there.prev_lsn) == (here.epoch, here.path, last_lsn)


def _merged(batches: list[FollowBatch]) -> FollowBatch:
    if len(batches) == 1:
        return batches[0]
    entries = tuple(entry for batch in batches for entry in batch.entries)
    first = batches[0]
    return attrs.evolve(batches[-1], prev_lsn=first.prev_lsn, prev_chain=first.prev_chain, entries=entries)
