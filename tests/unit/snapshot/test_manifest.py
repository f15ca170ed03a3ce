"""``snapshot.json``: read back as written, refused with the remedy otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import CorruptionError, NotFoundError, UserError
from federation.model.position import Position
from federation.snapshot.manifest import Counts, Increment, SnapshotManifest, summary

POSITIONS = (Position("ncsa", "alice", "e2", 9), Position("summit", "summit", "e1", 7))
COUNTS = Counts(3, 2, 1000, {"raw": 2, "calexp": 1})
TAI = 1_793_664_000_000_000_005
MANIFEST = SnapshotManifest(
    "night 1",
    "ncsa",
    TAI,
    POSITIONS,
    "instrument = 'LSSTCam' AND visit > 3",
    COUNTS,
    "f00d",
    ("registry/summit__summit.sqlite",),
    (Increment(TAI, "x", POSITIONS, COUNTS),),
)


def test_is_read_back_as_written(tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_bytes(MANIFEST.to_json())
    assert SnapshotManifest.load(tmp_path) == MANIFEST


@given(
    name=st.text(st.characters(codec="utf-8")),
    selection=st.text(st.characters(codec="utf-8")),
    tai=st.integers(0, 1 << 62),
)
def test_keeps_any_text_and_moment(name: str, selection: str, tai: int) -> None:
    manifest = SnapshotManifest(name, "base", tai, (), selection, Counts(0, 0, 0))
    assert SnapshotManifest.from_json(manifest.to_json()) == manifest


def test_is_written_for_people_to_read() -> None:
    document = json.loads(MANIFEST.to_json())
    assert document["created_tai"] == "2026-11-03 00:00:00.000000005"
    assert document["positions"] == ["ncsa/alice@e2:9", "summit/summit@e1:7"]
    assert document["counts"] == {"datasets": 3, "files": 2, "bytes": 1000, "rows": {"calexp": 1, "raw": 2}}


def test_is_summed_up_for_a_command() -> None:
    assert summary(MANIFEST)["datasets"] == 3


def test_extended_has_the_newest_position_of_each_schema() -> None:
    newer = Increment(
        TAI + 1, "y", (Position("summit", "summit", "e1", 12), Position("base", "base", "e3", 1)), COUNTS
    )
    extended = MANIFEST.extended(newer, Counts(6, 4, 2000))
    assert [str(position) for position in extended.positions] == [
        "base/base@e3:1",
        "ncsa/alice@e2:9",
        "summit/summit@e1:12",
    ]
    assert [increment.selection for increment in extended.increments] == ["x", "y"]
    assert extended.counts.dataset_count == 6


@pytest.mark.parametrize(("version", "remedy"), [(3, "newer federation"), (0, "again")])
def test_of_another_format_is_refused_with_the_remedy(version: int, remedy: str) -> None:
    with pytest.raises(UserError, match=f"format {version}") as caught:
        SnapshotManifest.from_json(json.dumps({"format_version": version}).encode())
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "format_version"),
        (b'{"format_version": "1"}', "format_version"),
        (b'{"format_version": true}', "format_version"),
        (b'{"format_version": 1}', "name"),
        (MANIFEST.to_json().replace(b'"datasets": 3', b'"datasets": "3"'), r"\$\.counts\.datasets"),
        (MANIFEST.to_json().replace(b'"selection"', b'"selektion"'), "sele"),
        (MANIFEST.to_json().replace(b"ncsa/alice@e2:9", b"ncsa/alice"), "not a position"),
        (MANIFEST.to_json().replace(b"2026-11-03", b"2026-13-03"), "not a TAI timestamp"),
    ],
)
def test_that_is_damaged_is_told_from_one_that_is_foreign(content: bytes, problem: str) -> None:
    with pytest.raises(CorruptionError, match=problem) as caught:
        SnapshotManifest.from_json(content, "snap/snapshot.json")
    assert "snap/snapshot.json" in caught.value.message
    assert "\n" not in caught.value.message


def test_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"snapshot\.json"):
        SnapshotManifest.load(tmp_path)
