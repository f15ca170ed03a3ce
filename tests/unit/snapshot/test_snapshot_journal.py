"""The journal of a snapshot in the making."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import CorruptionError, UnavailableError, UserError
from federation.snapshot.journal import SnapshotJournal

REQUEST = {"where": "visit > 3", "collections": ["a"]}


def test_gives_the_next_run_what_this_one_decided(tmp_path: Path) -> None:
    with SnapshotJournal(tmp_path / "journal.sqlite", REQUEST) as journal:
        assert journal.result("closure") is None
        journal.mark("closure", {"members": [1, 2], "positions": ["summit/summit@e1:7"]})
        journal.mark("files")
    with SnapshotJournal(tmp_path / "journal.sqlite", dict(reversed(REQUEST.items()))) as journal:
        assert journal.result("closure") == {"members": [1, 2], "positions": ["summit/summit@e1:7"]}
        assert journal.result("files") is True
        assert journal.result("bag") is None


def test_refuses_another_request_and_names_the_difference(tmp_path: Path) -> None:
    with SnapshotJournal(tmp_path / "journal.sqlite", REQUEST):
        pass
    with pytest.raises(UserError, match=r"another request \(other where\)") as caught:
        SnapshotJournal(tmp_path / "journal.sqlite", {**REQUEST, "where": "visit > 4"})
    assert "remove" in caught.value.hint


def test_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(CorruptionError, match="no journal"):
        SnapshotJournal(tmp_path / "journal.sqlite", REQUEST)


def test_names_a_directory_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nowhere"):
        SnapshotJournal(tmp_path / "nowhere" / "journal.sqlite", REQUEST)
