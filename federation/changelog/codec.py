"""Changes of one transaction as bytes: msgpack by column, compressed with zstd where that pays.

The first byte tells how: ``2`` plain, ``3`` zstd. The rest is a msgpack array of ``[table, operation, columns, row
count, values]`` with one of these for each column: ``[0, value]`` where all rows have one value, ``[1, width, bytes]``
for byte strings of one width, one after the other, and ``[2, values]`` for anything else. A UUID is its 16 bytes.

Format 1 wrote rows (first byte ``0`` plain, ``1`` zstd): ``[table, operation, columns, rows]``, a UUID as the extension
type 1. Such bodies are still read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard

from federation.errors import CorruptionError
from federation.model.change import Change, Operation
from federation.model.coded import Coded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "SCHEMA_VERSION",
    "chain_hash",
    "decode_changes",
    "digest_of",
    "encode_changes",
    "plain_body",
    "unpacked_column",
]

#: version of the logical tables that a body was written for
SCHEMA_VERSION = 2
#: below this size compression costs more than it saves
COMPRESS_ABOVE_BYTES = 2048
#: a body may hold no more than this: what claims to is damaged, or meant to exhaust the reader's memory
BODY_BYTES_MAX = 1 << 31
#: pieces of a large body that tell whether it is to be compressed, and the part of its size that it must fall to
_SAMPLES, _SAMPLE_BYTES, _SHRINKS_TO = 16, 4096, 0.8
_CONSTANT, _FIXED_WIDTH, _LIST = 0, 1, 2
_UUID_EXTENSION = 1
_HASH_BYTES = 16


def _decode_hook(code: int, data: memoryview) -> Any:
    if code != _UUID_EXTENSION:
        raise CorruptionError(
            f"unknown extension type {code} in a change log entry", hint="update this software"
        )
    return bytes(data)


_ENCODER = msgspec.msgpack.Encoder()
_ROWS_DECODER = msgspec.msgpack.Decoder(
    list[tuple[str, str, tuple[str, ...], list[tuple[Any, ...]]]], ext_hook=_decode_hook
)
_DECODER = msgspec.msgpack.Decoder(list[tuple[str, str, tuple[str, ...], int, list[list[Any]]]])


def _packed(values: Sequence[Any]) -> list[Any]:
    """One column, in the smallest of its forms."""
    if isinstance(values, Coded):
        return [_CONSTANT, values[0]] if len(values.values) == 1 else [_LIST, values.to_list()]
    first = values[0]
    # 1, 1.0 and True are equal, and not the same; neither are 0.0 and -0.0
    if (
        values.count(first) == len(values)
        and len(set(map(repr, values) if first == 0 else map(type, values))) == 1
    ):
        return [_CONSTANT, first]
    if type(first) is bytes and set(map(type, values)) == {bytes}:
        widths = set(map(len, values))
        if len(widths) == 1 and 0 not in widths:
            return [_FIXED_WIDTH, len(first), b"".join(values)]
    return [_LIST, values]


def unpacked_column(column: list[Any], count: int) -> Sequence[Any]:
    """The values of a column from its packed form; `ValueError` where it is none."""
    match column:
        case [0, value]:
            return (value,) * count
        case [1, int(width), bytes(joined)] if width > 0 and len(joined) == width * count:
            return [joined[place : place + width] for place in range(0, len(joined), width)]
        case [2, list(values)] if len(values) == count:
            return values
    raise ValueError("a column is not of the length or form that it says")


def encode_changes(changes: Iterable[Change]) -> bytes:
    """The body of a log entry."""
    packed = _ENCODER.encode(
        [
            (c.table, c.operation.value, c.columns, c.row_count, [_packed(column) for column in c.values])
            for c in changes
            if c.row_count
        ]
    )
    if len(packed) < COMPRESS_ABOVE_BYTES or not _shrinks(packed):
        return b"\2" + packed
    return b"\3" + zstandard.ZstdCompressor(level=1).compress(packed)


def _shrinks(packed: bytes) -> bool:
    """Whether compressing pays, by samples where there is much: regions, and random ids, stay as large as they are."""
    step = len(packed) // _SAMPLES
    if step <= _SAMPLE_BYTES:
        return True
    sample = b"".join(packed[place : place + _SAMPLE_BYTES] for place in range(0, step * _SAMPLES, step))
    return len(zstandard.ZstdCompressor(level=1).compress(sample)) < _SHRINKS_TO * len(sample)


def plain_body(body: bytes, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """What a body's encoder packed; `CorruptionError`, `ValueError` or `zstandard.ZstdError` where it is none."""
    if body[:1] in (b"\0", b"\2"):
        return body[1:]
    if body[:1] not in (b"\1", b"\3"):
        raise CorruptionError(f"log entry starts with {body[:1]!r}", hint="the entry was damaged on its way")
    size = zstandard.frame_content_size(body[1:])
    if not 0 <= size <= BODY_BYTES_MAX:
        raise ValueError(f"it claims to hold {size} bytes")
    return decompressor.decompress(body[1:])


def decode_changes(body: bytes) -> tuple[Change, ...]:
    """The changes in a body; `CorruptionError` when the bytes are not one."""
    try:
        packed = plain_body(body, zstandard.ZstdDecompressor())
        if body[0] < 2:
            return tuple(
                Change.from_rows(table, Operation(operation), columns, rows)
                for table, operation, columns, rows in _ROWS_DECODER.decode(packed)
            )
        return tuple(_change(*item) for item in _DECODER.decode(packed))
    except (msgspec.DecodeError, zstandard.ZstdError, ValueError, MemoryError) as error:
        raise CorruptionError(f"log entry can't be decoded: {error}", hint="the entry was damaged") from error


def _change(
    table: str, operation: str, columns: tuple[str, ...], count: int, values: list[list[Any]]
) -> Change:
    if len(values) != len(columns):
        raise ValueError(f"{len(values)} columns for {len(columns)} names")
    return Change(
        table, Operation(operation), columns, tuple(unpacked_column(column, count) for column in values)
    )


def digest_of(body: bytes) -> bytes:
    """16-byte BLAKE2b of a body."""
    return hashlib.blake2b(body, digest_size=_HASH_BYTES).digest()


def chain_hash(previous: bytes, digest: bytes) -> bytes:
    """16-byte BLAKE2b over the predecessor's chain hash and this entry's digest."""
    return hashlib.blake2b(previous + digest, digest_size=_HASH_BYTES).digest()
