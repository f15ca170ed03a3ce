"""Makes Bloom filters of keys, and leaves out the rows of Arrow batches that don't pass them.

The hash is part of what sites exchange: version 1 is what this file does. A key's 64-bit state begins with 0 and takes
up one word after another by ``state = mix(state ^ word)``, where ``mix`` is the step of splitmix64 (Steele, Lea, Flood:
"Fast splittable pseudorandom number generators", 2014). Words are those of the key's columns, in order:

* an int64, or a timestamp's TAI nanoseconds: itself;
* a UUID: its 16 bytes as two little-endian words;
* a text: the number of its UTF-8 bytes, then these as little-endian words, the last one filled up with zeros; where
  they are more than 256, their 8-byte BLAKE2b digest as one word instead.

Of the state h1 and of h2 = mix(h1) | 1 come the key's bits: for i = 0 .. k - 1 the upper half of h1 + i h2 mod 2**64,
scaled to the number of bits by a multiplication (Kirsch and Mitzenmacher, "Less hashing, same performance: building a
better Bloom filter", 2006; Lemire, "Fast random integer generation in an interval", 2019).
"""

from __future__ import annotations

import hashlib
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from federation.errors import QueryError
from federation.model.key_filter import HASH_COUNT, KEY_TYPES, KeyFilter, filter_byte_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from federation.model.logical import LogicalType

    Words = NDArray[np.uint64]

__all__ = ["check_filters", "filter_of", "filtered_batch", "key_hashes"]

#: keys that are hashed at a time
_CHUNK_ROWS = 16_384
#: bytes of a text that are hashed word by word
_TEXT_BYTES = 256
_HALF = np.uint64(32)
_ONES = np.uint64(2**64 - 1)


def filter_of(keys: pa.Table, columns: Sequence[str]) -> KeyFilter:
    """A filter of all rows of ``keys``, which have no NULL, for a fragment's ``columns``."""
    bits = np.zeros(filter_byte_count(keys.num_rows) * 8, dtype=np.bool_)
    for batch in keys.to_batches(max_chunksize=_CHUNK_ROWS):
        for place in _places(key_hashes(batch.columns), HASH_COUNT, len(bits)):
            bits[place] = True
    return KeyFilter(tuple(columns), HASH_COUNT, np.packbits(bits, bitorder="little").tobytes())


def check_filters(filters: Iterable[KeyFilter], columns: Iterable[tuple[str, LogicalType]]) -> None:
    """`QueryError` where a filter is of columns that a fragment does not give, or of types that keys don't have."""
    types = dict(columns)
    for one in filters:
        for name in one.columns:
            if name not in types:
                raise QueryError(
                    f"filter of column {name[:100]!r}: the statement does not give it",
                    hint="filter columns of the result; they are " + ", ".join(types),
                )
            if types[name] not in KEY_TYPES:
                raise QueryError(
                    f"filter of column {name[:100]!r}: its type is {types[name]}",
                    hint="keys are of " + ", ".join(sorted(KEY_TYPES)),
                )


def filtered_batch(batch: pa.RecordBatch, filters: Sequence[KeyFilter]) -> pa.RecordBatch:
    """The rows that may have a key of each filter; for columns as `check_filters` wants them."""
    for one in filters:
        columns = [batch.column(name) for name in one.columns]
        if any(column.null_count for column in columns):
            batch = batch.filter(reduce(pc.and_, [column.is_valid() for column in columns]))
            columns = [batch.column(name) for name in one.columns]
        if not batch.num_rows:
            break
        data = np.frombuffer(one.bits, dtype=np.uint8)
        passes = np.ones(batch.num_rows, dtype=np.bool_)
        for place in _places(key_hashes(columns), one.hash_count, len(data) * 8):
            passes &= (data[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8)) & 1 == 1
        if not passes.all():
            batch = batch.filter(pa.array(passes))
    return batch


def key_hashes(columns: Sequence[pa.Array]) -> Words:
    """The state of each row's key; ``columns`` have no NULL and are of types that keys have."""
    state = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        if isinstance(column.type, pa.UuidType):
            state = _with_ids(state, column.storage)
        elif pa.types.is_string(column.type):
            state = _with_texts(state, column)
        else:
            state = _mix(state ^ column.view(pa.int64()).to_numpy().view(np.uint64))
    return state


def _places(h1: Words, hash_count: int, bit_count: int) -> Iterator[Words]:
    """The place of each key's first bit, of its second, and so on."""
    h2 = _mix(h1) | np.uint64(1)
    for _ in range(hash_count):
        yield ((h1 >> _HALF) * np.uint64(bit_count)) >> _HALF
        h1 = h1 + h2


def _mix(words: Words) -> Words:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _with_ids(state: Words, ids: pa.FixedSizeBinaryArray) -> Words:
    words = np.frombuffer(ids.buffers()[1], dtype="<u8").reshape(-1, 2)[ids.offset : ids.offset + len(ids)]
    return _mix(_mix(state ^ words[:, 0]) ^ words[:, 1])


def _with_texts(state: Words, texts: pa.StringArray) -> Words:
    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    starts, lengths = bounds[:-1].astype(np.int64), np.diff(bounds)
    data = np.frombuffer(values or b"", dtype=np.uint8)
    padded = np.concatenate([data[: bounds[-1]], np.zeros(8, dtype=np.uint8)])
    state = _mix(state ^ lengths.astype(np.uint64))
    for row in np.flatnonzero(lengths > _TEXT_BYTES):
        text = data[starts[row] : starts[row] + lengths[row]]
        word = np.frombuffer(hashlib.blake2b(text.tobytes(), digest_size=8).digest(), dtype="<u8")
        state[row : row + 1] = _mix(state[row : row + 1] ^ word)
    short = np.where(lengths <= _TEXT_BYTES, lengths, 0)
    for begin in range(0, int(short.max(initial=0)), 8):
        rows = np.flatnonzero(short > begin)
        word = padded[(starts[rows] + begin)[:, None] + np.arange(8)].view("<u8")[:, 0]
        beyond = np.maximum(begin + 8 - short[rows], 0).astype(np.uint64)  # bytes of the next text
        state[rows] = _mix(state[rows] ^ (word & (_ONES >> (beyond * np.uint64(8)))))
    return state
