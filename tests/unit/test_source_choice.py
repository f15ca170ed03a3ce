"""Which of several sources a follower asks: the owner, relays while it fails, the owner again."""

from __future__ import annotations

import pytest

from federation.errors import UnavailableError
from federation.model.position import SchemaId
from federation.replication.relays import RETURN_S, SourceChoice, check_path

SCHEMA = SchemaId("summit", "summit")


def test_relays_are_asked_in_order_and_then_there_is_a_pause() -> None:
    choice = SourceChoice(["summit", "base", "tucson"])
    assert choice.is_direct
    asked = []
    for _ in range(3):
        asked.append(choice.names[choice.current])
        over = choice.failed(0.0)
    assert asked == ["summit", "base", "tucson"]
    assert over
    assert choice.is_direct


def test_a_single_source_is_asked_again_after_a_pause() -> None:
    choice = SourceChoice(["summit"])
    assert choice.failed(0.0)
    assert choice.is_direct
    assert not choice.prefers_owner(100.0)


def test_a_relay_that_served_does_not_end_the_round_by_failing_later() -> None:
    choice = SourceChoice(["summit", "base"])
    assert not choice.failed(0.0)
    choice.heard()
    assert not choice.failed(10.0)
    assert choice.is_direct


def test_the_owner_is_preferred_once_it_has_been_left_alone_for_a_while() -> None:
    choice = SourceChoice(["summit", "base"])
    choice.failed(10.0)
    assert not choice.prefers_owner(10.0 + RETURN_S / 2)
    assert choice.prefers_owner(10.0 + RETURN_S)
    choice.return_to_owner()
    assert choice.is_direct
    assert not choice.prefers_owner(1000.0)


def test_a_path_through_the_follower_is_a_loop() -> None:
    check_path(SCHEMA, ("summit", "base"), "ncsa")
    with pytest.raises(UnavailableError, match="summit > ncsa > base: ncsa would follow itself"):
        check_path(SCHEMA, ("summit", "ncsa", "base"), "ncsa")
