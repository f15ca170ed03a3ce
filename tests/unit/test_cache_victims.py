"""Which files a cache lets go, for any files."""

from __future__ import annotations

import uuid
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from federation.cache.victims import CachedFile, Marks, candidates, room

NOW = 1_000
FILES = st.lists(
    st.builds(
        CachedFile,
        dataset_id=st.uuids(),
        schema=st.just("base"),
        owner=st.just("base/base"),
        uri=st.just("x"),
        size_bytes=st.integers(0, 50),
        checksum=st.just("sha256:0"),
        formatter=st.none(),
        added_ns=st.integers(0, NOW),
        used_ns=st.integers(0, NOW),
        pinned_until_ns=st.none() | st.integers(0, 2 * NOW),
    ),
    unique_by=lambda file: file.dataset_id,
    max_size=20,
)


@given(FILES, st.integers(0, NOW), st.integers(0, 500))
def test_what_goes_is_old_or_least_recently_used_and_no_more_than_needed(
    files: list[CachedFile], keep_ns: int, excess: int
) -> None:
    chosen = candidates(files, NOW, Marks(keep_ns, 0.9, 0.8), excess)
    ids = [file.dataset_id for file in chosen]
    assert len(set(ids)) == len(ids)
    assert not any(file.is_pinned(NOW) for file in chosen)
    free = [file for file in files if not file.is_pinned(NOW)]
    old = [file for file in free if NOW - file.added_ns > keep_ns]
    assert set(ids) >= {file.dataset_id for file in old}
    beyond = chosen[len(old) :]
    assert all(one.used_ns <= other.used_ns for one, other in pairwise(beyond))
    stays = [file for file in free if file.dataset_id not in ids]
    if beyond:
        assert sum(file.size_bytes for file in chosen[:-1]) < excess
        assert all(file.used_ns >= beyond[-1].used_ns for file in stays)
    if stays:
        assert sum(file.size_bytes for file in chosen) >= excess


@given(st.integers(0, 200), st.integers(1, 100), st.integers(0, 50))
def test_room_is_given_back_from_the_high_mark_to_the_low_one(used: int, capacity: int, wanted: int) -> None:
    found = room(used, capacity, Marks(0, 0.9, 0.5), wanted)
    if used + wanted > 0.9 * capacity:
        assert used + wanted - found.excess_bytes <= 0.5 * capacity
    else:
        assert found.excess_bytes == 0


def test_equal_times_are_ordered_by_identity() -> None:
    files = [
        CachedFile(uuid.UUID(int=n), "base", "base/base", "x", 10, "sha256:0", None, 0, 0) for n in (3, 1, 2)
    ]
    assert [f.dataset_id.int for f in candidates(files, NOW, Marks(NOW, 0.9, 0.8), 20)] == [1, 2]
