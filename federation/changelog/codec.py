"""Changes of one transaction as bytes: msgpack, compressed with zstd where that pays.

The first byte tells: ``0`` plain, ``1`` zstd. The rest is a msgpack array of ``[table, operation, columns, rows]``;
a UUID is the extension type 1 with 16 bytes, everything else is msgpack's own.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import zstandard

from federation.errors import CorruptionError
from federation.model.change import Change, Operation

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SCHEMA_VERSION", "chain_hash", "decode_changes", "digest_of", "encode_changes"]

#: version of the logical tables that a body was written for
SCHEMA_VERSION = 1
#: below this size compression costs more than it saves
COMPRESS_ABOVE_BYTES = 2048
_UUID_EXTENSION = 1
_HASH_BYTES = 16


def _decode_hook(code: int, data: memoryview) -> Any:
    if code != _UUID_EXTENSION:
        raise CorruptionError(
            f"unknown extension type {code} in a change log entry", hint="update this software"
        )
    return uuid.UUID(bytes=bytes(data))


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(
    list[tuple[str, str, tuple[str, ...], list[tuple[Any, ...]]]], ext_hook=_decode_hook
)


def _packable(value: Any) -> Any:
    # msgspec would write a UUID as text; bytes keep it small and typed
    return msgspec.msgpack.Ext(_UUID_EXTENSION, value.bytes) if isinstance(value, uuid.UUID) else value


def encode_changes(changes: Iterable[Change]) -> bytes:
    """The body of a log entry."""
    packed = _ENCODER.encode(
        [
            (c.table, c.operation.value, c.columns, [tuple(map(_packable, row)) for row in c.rows])
            for c in changes
        ]
    )
    if len(packed) < COMPRESS_ABOVE_BYTES:
        return b"\0" + packed
    return b"\1" + zstandard.ZstdCompressor(level=1).compress(packed)


def decode_changes(body: bytes) -> tuple[Change, ...]:
    """The changes in a body; `CorruptionError` when the bytes are not one."""
    try:
        if body[:1] == b"\0":
            packed = body[1:]
        elif body[:1] == b"\1":
            packed = zstandard.ZstdDecompressor().decompress(body[1:])
        else:
            raise CorruptionError(
                f"log entry starts with {body[:1]!r}", hint="the entry was damaged on its way"
            )
        return tuple(
            Change(table, Operation(operation), columns, tuple(rows))
            for table, operation, columns, rows in _DECODER.decode(packed)
        )
    except (msgspec.DecodeError, zstandard.ZstdError, ValueError) as error:
        raise CorruptionError(f"log entry can't be decoded: {error}", hint="the entry was damaged") from error


def digest_of(body: bytes) -> bytes:
    """16-byte BLAKE2b of a body."""
    return hashlib.blake2b(body, digest_size=_HASH_BYTES).digest()


def chain_hash(previous: bytes, digest: bytes) -> bytes:
    """16-byte BLAKE2b over the predecessor's chain hash and this entry's digest."""
    return hashlib.blake2b(previous + digest, digest_size=_HASH_BYTES).digest()
