"""Bloom filters of keys: no key is lost, few other rows pass, and what is no filter is refused."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import QueryError
from federation.execution.key_filters import check_filters, filter_of, filtered_batch, key_hashes
from federation.model.key_filter import (
    FALSE_POSITIVES,
    FILTER_BYTES_MAX,
    FILTER_VERSION,
    KeyFilter,
    filter_byte_count,
)
from federation.model.logical import LogicalType
from federation.wire.arrow import column_array
from federation.wire.keys import filters_in, filters_out
from federation.wire.v1 import query_pb2

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    LogicalType.INT64: INT64,
    LogicalType.TIMESTAMP: INT64,
    LogicalType.UUID: st.uuids(),
    LogicalType.STRING: st.text(max_size=40) | st.text("aé\x00", min_size=250, max_size=300),
}
KIND_LISTS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3)


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[LogicalType], list[tuple[Any, ...]]]:
    kinds = draw(KIND_LISTS)
    return kinds, draw(st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in kinds)), max_size=30))


def batch_of(kinds: list[LogicalType], values: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = [column_array([row[n] for row in values], kind) for n, kind in enumerate(kinds)]
    return pa.RecordBatch.from_arrays(columns, names=[f"c{n}" for n in range(len(kinds))])


def one_column(kind: LogicalType, numbers: range) -> pa.RecordBatch:
    make: Callable[[int], Any] = {
        LogicalType.UUID: lambda n: uuid.UUID(int=n * 2**60),
        LogicalType.STRING: lambda n: f"run {n}" * (1 + n % 3),
    }.get(kind, lambda n: n)
    return batch_of([kind], [(make(n),) for n in numbers])


@settings(max_examples=150, deadline=timedelta(seconds=5))
@given(rows(), st.data())
def test_every_key_passes_and_no_row_with_a_null(
    made: tuple[list[LogicalType], list[tuple[Any, ...]]], data: st.DataObject
) -> None:
    kinds, values = made
    whole = [row for row in values if None not in row]
    keys = data.draw(st.lists(st.sampled_from(whole), unique=True)) if whole else []
    names = [f"c{n}" for n in range(len(kinds))]
    filter_ = filter_of(pa.Table.from_batches([batch_of(kinds, keys)]), names)
    # rows of a slice, as their buffers begin elsewhere
    skipped = data.draw(st.integers(0, len(values)))
    batch = batch_of(kinds, values).slice(skipped)
    passed = filtered_batch(batch, [filter_])
    assert passed.schema == batch.schema
    assert not any(column.null_count for column in passed.columns)
    wanted = [row for row in values[skipped:] if row in keys]
    expected = batch_of(kinds, wanted).to_pylist()
    assert [row for row in passed.to_pylist() if row in expected] == expected
    for row in passed.to_pylist():
        assert row in batch.to_pylist()


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_other_rows_pass_as_rarely_as_the_formula_says(kind: LogicalType) -> None:
    keys, others = one_column(kind, range(20_000)), one_column(kind, range(20_000, 60_000))
    filter_ = filter_of(pa.Table.from_batches([keys]), ["c0"])
    assert len(filter_.bits) == filter_byte_count(20_000) == 25_000
    assert filtered_batch(keys, [filter_]).num_rows == 20_000
    share = filtered_batch(others, [filter_]).num_rows / 40_000
    assert FALSE_POSITIVES / 3 < share < 3 * FALSE_POSITIVES


def mixed(word: int) -> int:
    """The step of splitmix64 with whole numbers."""
    word = (word + 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
    return word ^ word >> 31


def words_of(value: Any) -> list[int]:
    """What the hash takes up of one value, as the format says."""
    if isinstance(value, int):
        return [value % 2**64]
    data: bytes = value.bytes if isinstance(value, uuid.UUID) else value.encode()
    first = [len(data)] * isinstance(value, str)
    if len(data) > 256:
        data = hashlib.blake2b(data, digest_size=8).digest()
    return first + [int.from_bytes(data[n : n + 8], "little") for n in range(0, len(data), 8)]


@settings(max_examples=100, deadline=timedelta(seconds=5))
@given(rows())
def test_the_hash_is_what_the_format_says(made: tuple[list[LogicalType], list[tuple[Any, ...]]]) -> None:
    kinds, values = made
    values = [row for row in values if None not in row]
    expected = []
    for row in values:
        state = 0
        for word in itertools.chain.from_iterable(map(words_of, row)):
            state = mixed(state ^ word)
        expected.append(state)
    assert key_hashes(batch_of(kinds, values).columns).tolist() == expected


def test_a_key_sets_the_bits_that_the_format_says() -> None:
    # what sites of this version take them for: another hash needs another version
    assert FILTER_VERSION == 1
    one = filter_of(pa.table({"n": pa.array([1, 2], pa.int64())}), ["n"])
    h1s = [mixed(1), mixed(2)]
    places = {((h1 + i * (mixed(h1) | 1)) % 2**64 // 2**32 * 64) // 2**32 for h1 in h1s for i in range(7)}
    assert one.bits == sum(1 << place for place in places).to_bytes(8, "little")
    assert one.bits.hex() == "0404080538040258"


def test_order_of_columns_matters() -> None:
    a, b = (pa.array(values, pa.int64()) for values in ([1, 2], [2, 1]))
    assert not np.array_equal(key_hashes([a, b]), key_hashes([b, a]))


def test_a_filter_of_nothing_lets_nothing_pass() -> None:
    filter_ = filter_of(pa.table({"n": pa.array([], pa.int64())}), ["n"])
    assert filtered_batch(pa.record_batch({"n": pa.array([1, 2, None], pa.int64())}), [filter_]).num_rows == 0


def test_rows_must_pass_all_filters() -> None:
    def of(*values: int) -> pa.Table:
        return pa.table({"v": pa.array(values, pa.int64())})

    batch = pa.record_batch({"n": pa.array([1, 2, 3], pa.int64()), "m": pa.array([1, 2, None], pa.int64())})
    passed = filtered_batch(batch, [filter_of(of(2, 3), ["n"]), filter_of(of(2, 1), ["m"])])
    assert passed.to_pylist() == [{"n": 2, "m": 2}]


@pytest.mark.parametrize(
    ("columns", "hash_count", "byte_count", "message"),
    [
        ((), 7, 8, "0 columns"),
        (("n", "n"), 7, 8, "2 columns"),
        (tuple(f"c{n}" for n in range(17)), 7, 8, "17 columns"),
        (("n",), 0, 8, "0 bits a key"),
        (("n",), 17, 8, "17 bits a key"),
        (("n",), 7, 7, "7 bytes"),
        (("n",), 7, FILTER_BYTES_MAX + 1, f"{FILTER_BYTES_MAX + 1} bytes"),
    ],
)
def test_what_is_no_filter_is_refused(
    columns: tuple[str, ...], hash_count: int, byte_count: int, message: str
) -> None:
    wire = query_pb2.KeyFilter(version=1, columns=columns, hash_count=hash_count, bits=bytes(byte_count))
    with pytest.raises(QueryError, match=message) as raised:
        filters_in([wire])
    assert raised.value.hint


def test_filters_of_columns_that_are_no_keys_are_refused() -> None:
    columns = (("n", LogicalType.INT64), ("x", LogicalType.FLOAT64))
    check_filters([KeyFilter(("n",), 7, bytes(8))], columns)
    for name, message in (("x", "its type is float64"), ("y", "does not give it")):
        with pytest.raises(QueryError, match=message):
            check_filters([KeyFilter(("n", name), 7, bytes(8))], columns)


def test_filters_travel_and_those_of_later_versions_are_left_aside() -> None:
    filters = [KeyFilter(("n", "m"), 7, b"12345678"), KeyFilter(("n",), 3, bytes(100))]
    messages = filters_out(filters)
    assert filters_in(messages) == tuple(filters)
    messages[0].version = FILTER_VERSION + 1
    assert filters_in(messages) == (filters[1],)
    messages[0].version = 0
    with pytest.raises(QueryError, match="no version"):
        filters_in(messages)
    with pytest.raises(QueryError, match="17 filters"):
        filters_in(messages * 8 + messages[:1])
