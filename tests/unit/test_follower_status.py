"""What a follower tells of itself: never younger than the truth, whatever clocks do."""

from __future__ import annotations

import pytest

from federation.model.change import LogEntry
from federation.replication.follower_status import EntrySize, FollowerPhase, FollowerStatus, HeadAge
from federation.wire.messages import FollowBatch


def _sent(server_s: float, head_age_s: float | None = 0.0) -> FollowBatch:
    server_tai_ns = int(server_s * 1e9)
    head_tai_ns = 0 if head_age_s is None else server_tai_ns - int(head_age_s * 1e9)
    return FollowBatch("e1", 3, (), 3, server_tai_ns, b"", ("summit",), head_tai_ns)


def test_a_head_is_as_old_as_the_source_says() -> None:
    age = HeadAge()
    assert age.of(_sent(1000.0), 5.0) == 0.0
    assert age.of(_sent(1001.0, 2.5), 6.0) == pytest.approx(2.5)


def test_a_source_that_does_not_know_tells_nothing() -> None:
    assert HeadAge().of(_sent(1000.0, None), 5.0) is None


def test_time_spent_on_the_way_makes_a_head_older() -> None:
    age = HeadAge()
    age.of(_sent(1000.0), 5.0)
    assert age.of(_sent(1001.0), 9.0) == pytest.approx(3.0)
    assert age.of(_sent(1006.0), 11.0) == pytest.approx(0.0)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_does_not_count_as_time(step_s: float) -> None:
    age = HeadAge()
    age.of(_sent(10_000.0), 5.0)
    assert age.of(_sent(10_001.0 + step_s), 6.0) == pytest.approx(0.0)
    assert age.of(_sent(10_002.0 + step_s), 7.5) == pytest.approx(0.5)


def test_missing_entries_are_estimated_by_those_that_came() -> None:
    size = EntrySize()
    assert size.of(3) is None
    assert size.of(0) == 0
    entry = LogEntry(1, 0, 1, 2, b"x" * 100, b"", b"")
    size.add([entry, entry])
    assert size.of(3) == 300


def test_lag_is_never_negative() -> None:
    assert FollowerStatus("following", "e1", 5, 4, None).lag_entries == 0
    assert FollowerStatus("following", "e1", 5, 9, None).lag_entries == 4


def test_connecting_again_and_again_is_one_outage() -> None:
    phase = FollowerPhase()
    phase.enter("following")
    phase.enter("waiting")
    begun = phase._since
    for name in ("connecting", "waiting", "connecting"):
        phase.enter(name)  # type: ignore[arg-type]
    assert phase._since == begun
    phase.enter("following")
    assert phase._since >= begun
