"""Batches that are read ahead: in order, merged where they wait, with their changes decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from federation.changelog import chain_hash, decode_changes, digest_of, encode_changes
from federation.errors import UnavailableError
from federation.model.change import Change, LogEntry, Operation
from federation.model.position import GENESIS
from federation.replication import read_ahead
from federation.replication.read_ahead import ReadAhead
from federation.wire.messages import FollowBatch

WAIT_S = 20.0


def _log(count: int) -> list[LogEntry]:
    entries: list[LogEntry] = []
    chain = GENESIS
    for lsn in range(1, count + 1):
        body = encode_changes([Change.from_rows("visit", Operation.PUT, ("id",), [(lsn,)])])
        chain = chain_hash(chain, digest_of(body))
        entries.append(LogEntry(lsn, lsn, 1, 2, body, digest_of(body), chain))
    return entries


LOG = _log(20)


def _batch(first: int, last: int, epoch: str = "e") -> FollowBatch:
    prev_chain = LOG[first - 2].chain if first > 1 else GENESIS
    return FollowBatch(
        epoch, first - 1, tuple(LOG[first - 1 : last]), 20, last, prev_chain, ("summit",), last
    )


class _Stream:
    """What `ReadAhead` needs of a stream: batches, then an error or the end; ``taken`` says how many were asked for."""

    def __init__(self, batches: list[FollowBatch], error: Exception | None = None) -> None:
        self._batches, self._error = iter(batches), error
        self.taken = 0
        self.was_cancelled = False
        self.took_four = threading.Event()
        self.ended = threading.Event()

    def __iter__(self) -> Iterator[FollowBatch]:
        return self

    def __next__(self) -> FollowBatch:
        self.taken += 1
        if self.taken == 4:
            self.took_four.set()
        batch = next(self._batches, None)
        if batch is not None:
            return batch
        self.ended.set()
        raise self._error or StopIteration

    def cancel(self) -> None:
        self.was_cancelled = True


def _ahead(stream: _Stream) -> ReadAhead:
    return ReadAhead(stream)  # type: ignore[arg-type]


def test_batches_that_wait_are_given_as_one_with_their_changes() -> None:
    stream = _Stream([_batch(1, 2), _batch(3, 5), _batch(6, 6)])
    with _ahead(stream) as ahead:
        assert stream.ended.wait(WAIT_S)
        batch = next(ahead)
        assert (batch.prev_lsn, batch.prev_chain, batch.server_tai_ns) == (0, GENESIS, 6)
        assert [entry.lsn for entry in batch.entries] == [1, 2, 3, 4, 5, 6]
        changes = ahead.changes_of(batch.entries)
        assert changes is not None
        assert [row for change in changes for row in change.rows] == [(n,) for n in range(1, 7)]
        assert ahead.changes_of(batch.entries[1:]) is None
        assert next(ahead, None) is None


def test_batches_that_do_not_continue_each_other_stay_apart() -> None:
    stream = _Stream([_batch(1, 2), _batch(4, 5), _batch(6, 6, epoch="other")])
    with _ahead(stream) as ahead:
        assert stream.ended.wait(WAIT_S)
        assert [[entry.lsn for entry in batch.entries] for batch in ahead] == [[1, 2], [4, 5], [6]]


def test_an_error_comes_after_the_batches_before_it() -> None:
    stream = _Stream([_batch(1, 1)], UnavailableError("gone", hint="wait"))
    with _ahead(stream) as ahead:
        assert next(ahead).prev_lsn == 0
        with pytest.raises(UnavailableError, match="gone"):
            next(ahead)


def test_a_damaged_body_is_left_to_who_verifies_it() -> None:
    batch = _batch(1, 1)
    damaged = LogEntry(1, 1, 1, 2, b"\2\xc1", LOG[0].digest, LOG[0].chain)
    with _ahead(_Stream([FollowBatch("e", 0, (damaged,), 20, 1, GENESIS, batch.path)])) as ahead:
        found = next(ahead)
        assert found.entries == (damaged,)
        assert ahead.changes_of(found.entries) is None


def test_all_is_given_in_order() -> None:
    with _ahead(_Stream([_batch(n, n) for n in range(1, 21)])) as ahead:
        seen = [lsn for batch in ahead for lsn in [entry.lsn for entry in batch.entries]]
        assert seen == list(range(1, 21))


@pytest.mark.parametrize(
    ("limit", "value"), [("WAITING_ROWS_MAX", 4), ("WAITING_BYTES_MAX", 4 * len(LOG[0].body))]
)
def test_who_does_not_take_holds_up_the_stream(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(read_ahead, limit, value)
    stream = _Stream([_batch(n, n) for n in range(1, 21)])
    ahead = _ahead(stream)
    assert stream.took_four.wait(WAIT_S)
    ahead.cancel()
    ahead._thread.join(WAIT_S)
    assert stream.was_cancelled
    assert stream.taken == 4


def test_changes_are_those_that_decoding_gives() -> None:
    with _ahead(_Stream([_batch(1, 20)])) as ahead:
        batch = next(ahead)
        separate = [
            row for entry in batch.entries for change in decode_changes(entry.body) for row in change.rows
        ]
        changes = ahead.changes_of(batch.entries) or []
        assert [row for change in changes for row in change.rows] == separate
