"""The follower's decisions: what it applies, skips, refuses, and what it does about an error."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from federation.changelog import LogState, chain_hash, digest_of, encode_changes
from federation.errors import (
    ConflictError,
    CorruptionError,
    EpochError,
    LimitError,
    LogGapError,
    NotFoundError,
    UnavailableError,
    UserError,
)
from federation.model.change import Change, LogEntry, Operation
from federation.model.position import GENESIS, SchemaId
from federation.replication.state import Bootstrap, FollowerState, Retry, Stop
from federation.wire.messages import FollowBatch

SCHEMA = SchemaId("summit", "summit")
EPOCH = "e1"


def _log(count: int, *, salt: str = "") -> list[LogEntry]:
    entries, chain = [], GENESIS
    for lsn in range(1, count + 1):
        body = encode_changes([Change("collection", Operation.PUT, ("name",), ([f"run/{salt}{lsn}"],))])
        digest = digest_of(body)
        chain = chain_hash(chain, digest)
        entries.append(LogEntry(lsn, lsn, 1, 1, body, digest, chain))
    return entries


LOG = _log(10)


def _batch(
    first: int, last: int, *, log: list[LogEntry] = LOG, epoch: str = EPOCH, head: int = 10
) -> FollowBatch:
    return FollowBatch(epoch, first - 1, tuple(log[first - 1 : last]), head, 0)


def _state(lsn: int) -> FollowerState:
    position = LogState(EPOCH, lsn, LOG[lsn - 1].chain) if lsn else LogState("", 0, GENESIS)
    return FollowerState(SCHEMA, position)


def test_applies_what_follows_its_position() -> None:
    step = _state(3).on_batch(_batch(4, 6))
    assert step is not None
    assert [entry.lsn for entry in step.entries] == [4, 5, 6]
    assert step.target == LogState(EPOCH, 6, LOG[5].chain)


def test_takes_its_epoch_from_the_first_entry() -> None:
    step = _state(0).on_batch(_batch(1, 2))
    assert step is not None
    assert step.previous == LogState("", 0, GENESIS)
    assert step.target.epoch == EPOCH


def test_ignores_a_repeated_transaction() -> None:
    state = _state(3)
    assert state.on_batch(_batch(2, 3)) is None
    assert state.position.lsn == 3


def test_skips_the_part_of_a_batch_that_was_applied() -> None:
    step = _state(3).on_batch(_batch(2, 5))
    assert step is not None
    assert [entry.lsn for entry in step.entries] == [4, 5]


def test_every_delivery_in_any_pieces_applies_each_entry_once() -> None:
    state, applied = _state(0), []
    for first, last in [(1, 3), (1, 3), (2, 4), (4, 4), (3, 7), (8, 10), (1, 10)]:
        step = state.on_batch(_batch(first, last))
        if step is not None:
            applied += [entry.lsn for entry in step.entries]
            state.moved_to(step.target)
    assert applied == list(range(1, 11))


def test_a_heartbeat_tells_the_head_and_applies_nothing() -> None:
    state = _state(3)
    assert state.on_batch(FollowBatch(EPOCH, 3, (), 8, 0)) is None
    assert state.head_lsn == 8
    assert not state.is_caught_up


def test_is_caught_up_at_the_head() -> None:
    state = _state(10)
    state.on_batch(FollowBatch(EPOCH, 10, (), 10, 0))
    assert state.is_caught_up


@pytest.mark.parametrize("batch", [_batch(5, 6), FollowBatch(EPOCH, 5, (), 8, 0)])
def test_refuses_a_gap_before_a_batch(batch: FollowBatch) -> None:
    with pytest.raises(LogGapError, match="expected lsn 4"):
        _state(3).on_batch(batch)


def test_refuses_a_gap_inside_a_batch() -> None:
    batch = FollowBatch(EPOCH, 3, (LOG[3], LOG[5]), 10, 0)
    with pytest.raises(LogGapError, match="expected lsn 5, got 6"):
        _state(3).on_batch(batch)


def test_refuses_a_damaged_entry() -> None:
    damaged = msgspec.structs.replace(LOG[3], body=LOG[3].body + b"x")
    with pytest.raises(CorruptionError, match="entry 4"):
        _state(3).on_batch(FollowBatch(EPOCH, 3, (damaged,), 10, 0))


def test_refuses_another_epoch() -> None:
    with pytest.raises(EpochError, match="epoch e2"):
        _state(3).on_batch(_batch(4, 4, epoch="e2"))


def test_refuses_another_history_of_the_same_epoch() -> None:
    other = _log(10, salt="other")
    with pytest.raises(EpochError, match="entry 4"):
        _state(3).on_batch(_batch(4, 5, log=other))
    with pytest.raises(EpochError, match="entry 3"):
        _state(3).on_batch(_batch(3, 5, log=other))


def test_refuses_a_log_that_ends_before_its_position() -> None:
    with pytest.raises(EpochError, match="ends at 2"):
        _state(3).on_batch(FollowBatch(EPOCH, 2, (), 2, 0))


def test_refuses_an_entry_of_a_newer_version() -> None:
    newer = msgspec.structs.replace(LOG[3], schema_version=99)
    with pytest.raises(UserError, match="schema version 99"):
        _state(3).on_batch(FollowBatch(EPOCH, 3, (newer,), 10, 0))


@pytest.mark.parametrize(
    ("error", "by_source", "expected"),
    [
        (UnavailableError("down"), True, Retry),
        (LimitError("disk full"), False, Retry),
        (NotFoundError("no such schema yet"), True, Retry),
        (CorruptionError("damaged"), False, Retry),
        (LogGapError("a message was lost"), False, Retry),
        (LogGapError("trimmed"), True, Bootstrap),
        (EpochError("restored"), True, Bootstrap),
        (EpochError("forked"), False, Bootstrap),
        (ConflictError("another universe"), True, Stop),
        (ConflictError("another process was faster"), False, Retry),
        (UserError("a newer version"), False, Stop),
    ],
)
def test_decides_what_an_error_means(error: Exception, by_source: bool, expected: type) -> None:
    decision = _state(3).on_error(error, by_source=by_source)
    assert isinstance(decision, expected)
    assert str(error) in decision.reason


def _batch_of(
    first: int, last: int, *, epoch: str = EPOCH, path: tuple[str, ...] = ("summit",)
) -> FollowBatch:
    """As a server of today sends it: with the chain hash before the first entry."""
    chain = LOG[first - 2].chain if first > 1 else GENESIS
    return FollowBatch(epoch, first - 1, tuple(LOG[first - 1 : last]), 10, 0, chain, path)


def test_takes_over_an_epoch_that_continues_what_was_applied() -> None:
    step = _state(3).on_batch(_batch_of(4, 5, epoch="e2"))
    assert step is not None
    assert step.previous == LogState(EPOCH, 3, LOG[2].chain)
    assert step.target == LogState("e2", 5, LOG[4].chain)


def test_takes_over_an_epoch_from_a_heartbeat() -> None:
    step = _state(3).on_batch(FollowBatch("e2", 3, (), 3, 0, LOG[2].chain))
    assert step is not None
    assert (step.entries, step.target) == ((), LogState("e2", 3, LOG[2].chain))


def test_takes_over_an_epoch_where_a_repeated_entry_shows_the_same_history() -> None:
    step = _state(3).on_batch(_batch_of(2, 5, epoch="e2"))
    assert step is not None
    assert [entry.lsn for entry in step.entries] == [4, 5]
    assert step.target.epoch == "e2"
    only_known = _state(3).on_batch(_batch_of(2, 3, epoch="e2"))
    assert only_known is not None
    assert (only_known.entries, only_known.target) == ((), LogState("e2", 3, LOG[2].chain))


@pytest.mark.parametrize("chain", [b"", b"another history."])
def test_refuses_an_epoch_that_does_not_show_the_same_history(chain: bytes) -> None:
    with pytest.raises(EpochError, match="epoch e2"):
        _state(3).on_batch(FollowBatch("e2", 3, (), 8, 0, chain))


def test_a_heartbeat_shows_a_fork_before_one_row_of_it_comes() -> None:
    with pytest.raises(EpochError, match="another history before lsn 3"):
        _state(3).on_batch(FollowBatch(EPOCH, 3, (), 8, 0, b"another history."))


def test_never_goes_back_to_an_epoch_that_was_left() -> None:
    state = FollowerState(SCHEMA, LogState("e2", 3, LOG[2].chain), former_epochs=[EPOCH])
    with pytest.raises(UnavailableError, match="still has epoch e1, which was left for e2"):
        state.on_batch(_batch_of(4, 5))
    state.check_epoch("e2")
    state.check_epoch("e3")


def test_waits_for_a_relay_that_is_behind() -> None:
    behind = FollowBatch(EPOCH, 2, (), 2, 0, LOG[1].chain, ("summit", "base"))
    with pytest.raises(UnavailableError, match="base knows it up to 2, the replica is at 3"):
        _state(3).on_batch(behind)


def test_refuses_what_has_come_through_itself() -> None:
    state = FollowerState(SCHEMA, LogState(EPOCH, 3, LOG[2].chain), site="ncsa")
    with pytest.raises(UnavailableError, match="loop by way of summit > ncsa > base"):
        state.on_batch(_batch_of(4, 5, path=("summit", "ncsa", "base")))
    assert state.on_batch(_batch_of(4, 5, path=("summit", "base"))) is not None
    assert state.path == ("summit", "base")


def _without_rows(entry: LogEntry) -> LogEntry:
    body = encode_changes(())
    return msgspec.structs.replace(entry, body=body, body_digest=digest_of(body), row_count=0)


def test_an_entry_without_the_rows_left_out_moves_the_position_along_the_whole_history() -> None:
    state = FollowerState(SCHEMA, LogState(EPOCH, 3, LOG[2].chain), is_filtered=True)
    step = state.on_batch(FollowBatch(EPOCH, 3, (_without_rows(LOG[3]), LOG[4]), 10, 0, LOG[2].chain))
    assert step is not None
    assert step.target == LogState(EPOCH, 5, LOG[4].chain)


def test_refuses_a_filtered_entry_that_was_damaged_and_one_that_was_not_asked_for() -> None:
    damaged = msgspec.structs.replace(_without_rows(LOG[3]), body=encode_changes(()) + b"x")
    for is_filtered, entry in ((True, damaged), (False, _without_rows(LOG[3]))):
        state = FollowerState(SCHEMA, LogState(EPOCH, 3, LOG[2].chain), is_filtered=is_filtered)
        with pytest.raises(CorruptionError, match="entry 4"):
            state.on_batch(FollowBatch(EPOCH, 3, (entry,), 10, 0))


def test_every_order_of_damaged_deliveries_applies_each_entry_once_or_is_refused() -> None:
    """Batches that are repeated, reordered, truncated, corrupted or forked, in every order of four."""
    other = _log(10, salt="other")
    deliveries = [
        _batch_of(1, 4),
        _batch_of(3, 7),
        _batch_of(8, 10),
        FollowBatch(EPOCH, 0, tuple(LOG[0:2]), 10, 0, GENESIS),
        FollowBatch(EPOCH, 4, (msgspec.structs.replace(LOG[4], body=b"\2\x90"),), 10, 0, LOG[3].chain),
        FollowBatch(EPOCH, 4, tuple(other[4:6]), 10, 0, other[3].chain),
        FollowBatch(EPOCH, 2, (LOG[3], LOG[2]), 10, 0, LOG[1].chain),
    ]
    for order in itertools.permutations(deliveries, 4):
        state, applied = _state(0), []
        for batch in order:
            try:
                step = state.on_batch(batch)
            except (EpochError, LogGapError, CorruptionError):
                continue
            if step is not None:
                applied += [(entry.lsn, entry.digest) for entry in step.entries]
                state.moved_to(step.target)
        assert applied == [(entry.lsn, entry.digest) for entry in LOG[: len(applied)]]
        assert state.position.lsn == len(applied)
