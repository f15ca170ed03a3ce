"""The first row of each key, batch by batch, as a plain set finds it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.execution.find_first import _GOLDEN, first_rows
from federation.planner import FindFirst

SCHEMA = pa.schema([("name", pa.string()), ("x", pa.int64()), ("place", pa.int64())])
OUT = pa.schema([("x", pa.int64()), ("who", pa.string())])
Row = tuple[str, int, int]

#: as a signed number; ``("a", _GOLDEN)`` has the hash of the key after ``a`` with 0
COLLIDING = int(np.array(_GOLDEN).view(np.int64))


def wanted(place_last: int, limit: int | None = None) -> FindFirst:
    return FindFirst("f1", ("name", "x"), "place", place_last, ("x", "name"), limit)


def batches(rows: list[Row], size: int) -> list[pa.RecordBatch]:
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [
        pa.RecordBatch.from_arrays(
            [pa.array([row[n] for row in part], SCHEMA.field(n).type) for n in range(3)], schema=SCHEMA
        )
        for part in parts
    ]


def in_plain_python(rows: list[Row]) -> list[tuple[int, str]]:
    seen: set[tuple[str, int]] = set()
    found = []
    for name, x, _ in rows:
        if (name, x) not in seen:
            seen.add((name, x))
            found.append((x, name))
    return found


def found(rows: list[Row], size: int, limit: int | None = None) -> list[tuple[int, str]]:
    place_last = max((row[2] for row in rows), default=0)
    made = list(first_rows(batches(rows, size), wanted(place_last, limit), OUT))
    assert all(batch.schema == OUT and batch.num_rows for batch in made)
    return [(row["x"], row["who"]) for batch in made for row in batch.to_pylist()]


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0, 1, 2, -1, 2**63 - 1, -(2**63), COLLIDING, COLLIDING + 1]),
        st.integers(0, 6),
    ),
    unique=True,
    max_size=80,
).map(lambda rows: sorted(rows, key=lambda row: row[2]))


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(1, 20), st.none() | st.integers(0, 30))
def test_equals_a_plain_set(rows: list[Row], size: int, limit: int | None) -> None:
    assert found(rows, size, limit) == in_plain_python(rows)[:limit]


def test_keys_of_one_hash_are_told_apart() -> None:
    rows = [("a", COLLIDING, 0), ("b", 5, 1), ("b", 0, 1), ("a", COLLIDING, 2), ("b", 0, 2), ("a", 0, 2)]
    assert found(rows, 10) == [(COLLIDING, "a"), (5, "b"), (0, "b"), (0, "a")]


def test_many_places_are_remembered_in_few_arrays() -> None:
    rows = [("a", x, place) for place in range(40) for x in range(place, place + 5)]
    assert found(rows, 7) == [(x, "a") for x in range(44)]


def test_nothing_is_asked_for_after_the_limit() -> None:
    def counted() -> Iterator[pa.RecordBatch]:
        yield from batches([("a", x, 0) for x in range(4)], 2)
        pytest.fail("asked for more than the limit needs")

    made = list(first_rows(counted(), wanted(1, 3), OUT))
    assert sum(batch.num_rows for batch in made) == 3


def test_batches_without_rows_are_passed_over() -> None:
    parts = [*batches([("a", 1, 0)], 1), *batches([("a", 1, 0)], 1)]
    parts[0] = parts[0].slice(0, 0)
    assert [batch.num_rows for batch in first_rows(parts, wanted(1), OUT)] == [1]


def test_rows_that_never_come_are_none() -> None:
    assert found([], 3) == []
