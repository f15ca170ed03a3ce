"""Rows that arrive stay in memory up to a bound, and go to a file without a name beyond it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from federation.errors import LimitError
from federation.execution.arriving import ArrivedRows, Room
from federation.execution.result_limit import ResultLimit
from federation.execution.stopping import Stop

BATCHES = [pa.record_batch({"n": list(range(start, start + 100))}) for start in range(0, 1000, 100)]
SCHEMA = BATCHES[0].schema


def test_rows_keep_their_order_on_both_sides_of_the_bound(tmp_path: Path) -> None:
    room = Room(2500, 100_000, tmp_path)
    arrived = ArrivedRows(SCHEMA, room)

    for batch in BATCHES:
        arrived.add(batch)
    table = arrived.table()

    assert table["n"].to_pylist() == list(range(1000))
    assert room.spilled_bytes == 7 * BATCHES[0].nbytes
    assert not list(tmp_path.iterdir())


def test_rows_that_fit_are_not_written(tmp_path: Path) -> None:
    room = Room(100_000, 0, tmp_path)
    arrived = ArrivedRows(SCHEMA, room)
    for batch in BATCHES:
        arrived.add(batch)
    assert (arrived.table().num_rows, arrived.row_count, room.spilled_bytes) == (1000, 1000, 0)


def test_nothing_that_arrives_is_an_empty_table() -> None:
    assert ArrivedRows(SCHEMA, Room(0, 0)).table().equals(SCHEMA.empty_table())


def test_one_bound_is_for_all_fragments_together(tmp_path: Path) -> None:
    room = Room(1000, 1700, tmp_path)
    one, other = ArrivedRows(SCHEMA, room), ArrivedRows(SCHEMA, room)
    one.add(BATCHES[0])
    other.add(BATCHES[1])
    one.add(BATCHES[2])
    with pytest.raises(LimitError, match="more than 1000 bytes of memory and 1700 bytes on disk"):
        other.add(BATCHES[3])
    other.close()
    assert one.table()["n"].to_pylist() == [*range(100), *range(200, 300)]


@pytest.mark.parametrize(
    ("rows", "size", "kept"),
    [(250, None, 250), (None, 1600, 200), (0, None, 0), (None, 7, 0), (1000, 8000, 1000)],
)
def test_a_result_is_cut_after_the_last_row_that_fits(rows: int | None, size: int | None, kept: int) -> None:
    limit = ResultLimit(rows, size, "truncate")
    table = limit.table(iter(BATCHES), SCHEMA)
    assert table["n"].to_pylist() == list(range(kept))
    assert bool(limit.reason) == (kept < 1000)


def test_a_result_over_its_limit_is_an_error() -> None:
    with pytest.raises(LimitError, match="more than 999 rows"):
        ResultLimit(999, None).table(iter(BATCHES), SCHEMA)


def test_whoever_begins_after_the_stop_is_ended_at_once() -> None:
    ended: list[str] = []
    stop = Stop()
    with stop.ending(lambda: ended.append("left")):
        pass
    with stop.ending(lambda: ended.append("first")):
        stop.set()
        stop.set()
        assert ended == ["first"]
    with stop.ending(lambda: ended.append("late")):
        assert ended == ["first", "late"]
