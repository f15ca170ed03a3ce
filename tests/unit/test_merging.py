"""Changes of several entries, merged: what comes out is what the entries say one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.changelog import decode_changes, encode_changes
from federation.changelog.merging import merged_changes
from federation.errors import CorruptionError
from federation.model.change import Change, Operation

KEY, COLUMNS = ("id",), ("id", "text", "number")

rows = st.lists(
    st.tuples(st.binary(min_size=2, max_size=2), st.sampled_from(["a", "b", None]), st.integers(0, 2)),
    min_size=1,
    max_size=4,
)
puts = st.builds(
    lambda table, found: Change.from_rows(table, Operation.PUT, COLUMNS, found),
    st.sampled_from(["visit", "raw", "dataset_type"]),
    rows,
)
deletes = st.builds(
    lambda table, found: Change.from_rows(table, Operation.DELETE, KEY, [row[:1] for row in found]),
    st.sampled_from(["visit", "raw", "dataset_type"]),
    rows,
)
entries = st.lists(st.lists(puts | deletes, min_size=1, max_size=3), min_size=1, max_size=8)


def one_by_one(changes: list[Change]) -> dict[str, list[tuple[object, ...]]]:
    """Operation, columns and row of each row of each table, in order."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for change in changes:
        for row in change.rows:
            found.setdefault(change.table, []).append((change.operation, change.columns, row))
    return found


@given(entries)
def test_the_rows_of_each_table_stay_in_their_order(log: list[list[Change]]) -> None:
    bodies = [encode_changes(changes) for changes in log]
    separate = [change for body in bodies for change in decode_changes(body)]
    assert one_by_one(merged_changes(bodies)) == one_by_one(separate)


@given(entries)
def test_nothing_passes_a_change_to_a_table_that_is_kept_apart(log: list[list[Change]]) -> None:
    bodies = [encode_changes(changes) for changes in log]
    apart = {"dataset_type"}

    def seen_before_each(changes: list[Change]) -> list[dict[str, list[tuple[object, ...]]]]:
        places = [place for place, change in enumerate(changes) if change.table in apart]
        return [one_by_one(changes[: place + 1]) for place in places]

    separate = [change for body in bodies for change in decode_changes(body)]
    assert seen_before_each(merged_changes(bodies, apart)) == seen_before_each(separate)


def test_single_rows_become_one_change() -> None:
    bodies = [
        encode_changes([Change.from_rows("raw", Operation.PUT, COLUMNS, [(bytes([n]), "a", n)])])
        for n in range(100)
    ]
    (change,) = merged_changes(bodies)
    assert change.rows == tuple((bytes([n]), "a", n) for n in range(100))


@pytest.mark.parametrize("values", [(1, True), (0.0, -0.0), (1, 1.0), (None, "a")])
def test_values_that_are_equal_and_not_the_same_stay_what_they_are(values: tuple[object, ...]) -> None:
    bodies = [
        encode_changes([Change.from_rows("raw", Operation.PUT, ("id",), [(value,)])]) for value in values
    ]
    found = [row[0] for change in merged_changes(bodies) for row in change.rows]
    assert list(map(repr, found)) == list(map(repr, values))


@pytest.mark.parametrize(
    "body", [b"", b"\2", b"\2\xc1", b"\3not zstd", b"\7", b"\2\x91\x95\xa1t\xa3put\x91\xa1a\x01\x90"]
)
def test_damaged_bodies_are_refused(body: bytes) -> None:
    good = encode_changes([Change.from_rows("raw", Operation.PUT, ("id",), [(1,)])])
    with pytest.raises(CorruptionError):
        merged_changes([good, body])
