"""Entries of a log as the bytes of one message: msgpack arrays, compressed together where they are small.

The first byte tells how: ``0`` plain, ``1`` zstd. The rest is an array of ``[lsn, committed TAI ns, row count, schema
version, body, digest, chain, body digest]``. Bodies that are large have been compressed when they were written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import zstandard

from federation.errors import CorruptionError
from federation.garbage import no_cycle_search
from federation.model.change import LogEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pack_entries", "unpack_entries"]

#: below this size compression costs more than it saves; entries of more bytes than this are compressed themselves
COMPRESS_ABOVE_BYTES, COMPRESSED_ENTRY_BYTES = 512, 2048
#: more than any message can hold: what claims to is damaged, or meant to exhaust the reader's memory
PACKED_BYTES_MAX = 1 << 30

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[LogEntry, ...])


def pack_entries(entries: Sequence[LogEntry]) -> bytes:
    """Entries as bytes; none as no bytes."""
    if not entries:
        return b""
    packed = _ENCODER.encode(entries)
    if COMPRESS_ABOVE_BYTES < len(packed) < COMPRESSED_ENTRY_BYTES * len(entries):
        return b"\1" + zstandard.ZstdCompressor(level=1).compress(packed)
    return b"\0" + packed


def unpack_entries(data: bytes) -> tuple[LogEntry, ...]:
    """The entries in a message; `CorruptionError` when the bytes are not such."""
    if not data:
        return ()
    try:
        if data[0] == 0:
            packed = data[1:]
        elif data[0] == 1:
            size = zstandard.frame_content_size(data[1:])
            if not 0 <= size <= PACKED_BYTES_MAX:
                raise ValueError(f"they claim to be {size} bytes")
            packed = zstandard.ZstdDecompressor().decompress(data[1:])
        else:
            raise ValueError(f"they start with {data[:1]!r}")
        with no_cycle_search():
            return _DECODER.decode(packed)
    except (msgspec.DecodeError, zstandard.ZstdError, ValueError, MemoryError) as error:
        raise CorruptionError(
            f"log entries can't be decoded: {error}", hint="they are asked for again"
        ) from error
