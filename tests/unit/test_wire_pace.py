"""Rows are compressed for the link: quickly for a site that is near, well for one that is far."""

from __future__ import annotations

import pyarrow as pa
import pytest

from federation.wire.arrow import IpcEncoder, decode_stream
from federation.wire.pace import Pace


def _after(*seconds: float) -> str:
    now = [100.0]
    pace = Pace(lambda: now[0])
    for each in seconds:
        with pace.timed():
            now[0] += each
    return pace.compression


def test_a_site_of_which_nothing_is_known_counts_as_far() -> None:
    assert _after() == "zstd"


def test_a_site_that_answers_at_once_is_near() -> None:
    assert _after(0.150, 0.001, 0.150) == "lz4"


def test_a_site_that_always_takes_a_while_is_far() -> None:
    assert _after(0.150, 0.151) == "zstd"


def test_a_call_that_fails_says_nothing() -> None:
    pace = Pace()
    with pytest.raises(OSError, match="no"), pace.timed():
        raise OSError("no")
    assert pace.compression == "zstd"


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_rows_arrive_as_they_were_whatever_the_compression(compression: str) -> None:
    batch = pa.record_batch({"n": pa.array(range(5000), pa.int64())})
    encoder = IpcEncoder(batch.schema, compression)
    parts = [*encoder.start(), *encoder.batch(batch), *encoder.finish()]
    assert sum(map(len, parts)) < batch.nbytes
    assert [one.to_pylist() for one in decode_stream(iter(parts), "here")] == [batch.to_pylist()]
