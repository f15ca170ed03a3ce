"""What a status says in words: what waits, how old, how much, and what to do."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from federation.cli.replica_words import advice, duration_text, follower_advice, site_words
from federation.model.position import SchemaId
from federation.session import SiteReport
from federation.wire.messages import FollowerStanding, SchemaStatus, SiteStatus

REPLICA = SchemaStatus(SchemaId("summit", "summit"), False, "e1", 8, 8, 0.4, "following", path=("summit",))


def replica(**values: Any) -> SchemaStatus:
    return attrs.evolve(REPLICA, **values)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
        (86_400, "1 d"),
    ],
)
def test_times_are_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_nothing_is_said_where_all_is_well() -> None:
    assert advice(REPLICA) == ""
    assert follower_advice("summit", FollowerStanding("base", 8, 0, 0, None, 900.0)) == ""


def test_a_replica_that_catches_up_says_how_much_is_missing() -> None:
    told = advice(replica(head_lsn=348, lag_entries=340, lag_bytes=1_234_000))
    assert told == "catching up: 340 entries (about 1.2 MB) to come. Nothing to do."


def test_a_replica_that_is_cut_off_says_since_when_what_works_and_what_to_do() -> None:
    told = advice(
        replica(
            state="waiting", since_s=754.0, staleness_s=755.0, lag_entries=1, lag_bytes=900,
            detail="site summit at summit:50051 does not answer: refused (check that the site runs)",
        )
    )  # fmt: skip
    assert told.startswith("cut off for 12 min 34 s: site summit at summit:50051 does not answer: refused. ")
    assert (
        "As last heard, 1 entry (about 900 B) not yet here. It last equalled its owner 12 min 35 s ago."
        in told
    )
    assert "this site goes on taking in data" in told
    assert told.endswith("run: federation site status summit")


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("refused", "Nothing changes until somebody acts"),
        ("copying", "Queries see the rows of before"),
        ("stopped", "Restart this site's server"),
        ("not followed", 'add follow = ["summit"] to [[peer]] summit'),
    ],
)
def test_every_other_state_has_its_words(state: str, says: str) -> None:
    assert says in advice(replica(state=state, detail="why"))


def test_files_that_wait_are_told_too() -> None:
    assert advice(replica(files_waiting=3)) == "3 files are still to be brought here; that goes on by itself."


def test_an_owner_says_what_waits_for_a_follower_that_is_gone() -> None:
    told = follower_advice("summit", FollowerStanding("base", 5, 3, 2_000, 3_700.0, 3_600.0))
    assert told.startswith(
        "3 entries wait for base, about 2.0 kB, the oldest 1 h 1 min old. It was last heard 1 h ago"
    )
    assert told.endswith("federation replica forget base --site summit")
    soon = follower_advice("summit", FollowerStanding("base", 5, 3, None, 0.5, 1.0))
    assert soon == "3 entries wait for base, the oldest 0.5 s old."


def test_a_site_that_is_down_is_told() -> None:
    (line,) = site_words(SiteReport("base", "base:50051", None, "connection refused"))
    assert line.startswith("base does not answer: connection refused.")
    assert line.endswith("federation site serve base")


def test_lines_name_schema_and_site() -> None:
    status = SiteStatus("base", "0.1.0", "SQLite", "u", (replica(files_waiting=1), REPLICA), 0)
    assert site_words(SiteReport("base", "", status)) == [
        "summit/summit at base: 1 file is still to be brought here; that goes on by itself."
    ]
