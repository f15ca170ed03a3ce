"""A small file that says how far a log has been shown to others: kept outside the database, so that a restore shows.

It has two slots of 4096 bytes, each a record with its digest. Changes go into one slot only, until `sync` has made it
durable; then into the other. So the slot that was synced last stays whole whatever happens to the other, and the newer
whole one counts. A change that is not synced survives the process, but not the machine.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Self

import msgspec

from federation.datastore.durable import write_file
from federation.datastore.io_errors import as_federation_error
from federation.errors import CorruptionError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HighWater", "HighWaterFile"]

_SLOT_BYTES = 4096
_DIGEST_BYTES = 16
#: epochs that are remembered; an older one would have to come back from a backup of long ago
_EPOCHS_MAX = 100


class HighWater(msgspec.Struct, frozen=True, kw_only=True):
    """The last position that may have been shown; ``epochs`` are all that the log was seen to have, its own last.

    ``identity`` tells a database from its copies.
    """

    epochs: tuple[str, ...]
    lsn: int
    chain: bytes
    identity: str
    number: int = 0

    @property
    def epoch(self) -> str:
        return self.epochs[-1]


class HighWaterFile:
    """The file at one path; thread-safe. ``mark`` is None until `replace` has made it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark: HighWater | None = None
        self._descriptor: int | None = None
        self._slot, self._is_dirty = 0, False
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file as it is; `CorruptionError` when neither slot holds what was written."""
        file = cls(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return file
        except OSError as error:
            raise as_federation_error(error, "read", str(path)) from error
        slots = (content[:_SLOT_BYTES], content[_SLOT_BYTES:])
        found = [(mark, slot) for slot, data in enumerate(slots) if (mark := _decoded(data)) is not None]
        if not found:
            raise CorruptionError(
                f"{path} is damaged: what followers have seen is not known",
                hint="run: federation site restore",
            )
        file.mark, slot = max(found, key=lambda one: one[0].number)
        file._slot = 1 - slot
        return file

    def replace(self, mark: HighWater) -> None:
        """Begin the file anew, durably."""
        with self._lock:
            self._close()
            number = 1 if self.mark is None else self.mark.number + 1
            mark = msgspec.structs.replace(mark, epochs=mark.epochs[-_EPOCHS_MAX:], number=number)
            write_file(self.path, _encoded(mark) + b"\0" * _SLOT_BYTES)
            self.mark, self._slot, self._is_dirty = mark, 1, False

    def advance(self, lsn: int, chain: bytes) -> None:
        """Move the mark, before what it marks is shown; a mark that is there already or beyond is left."""
        with self._lock:
            assert self.mark is not None
            if lsn <= self.mark.lsn:
                return
            moved = msgspec.structs.replace(self.mark, lsn=lsn, chain=chain, number=self.mark.number + 1)
            try:
                if self._descriptor is None:
                    self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
                os.pwrite(self._descriptor, _encoded(moved), self._slot * _SLOT_BYTES)
            except OSError as error:
                raise as_federation_error(error, "write", str(self.path)) from error
            self.mark, self._is_dirty = moved, True

    def sync(self) -> None:
        """Make the mark durable, if it has moved since it last was."""
        with self._lock:
            if self._descriptor is None or not self._is_dirty:
                return
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                raise as_federation_error(error, "write", str(self.path)) from error
            self._slot, self._is_dirty = 1 - self._slot, False

    def close(self) -> None:
        """Make the mark durable and close the file."""
        self.sync()
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(HighWater)


def _encoded(mark: HighWater) -> bytes:
    body = _ENCODER.encode(mark)
    data = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() + len(body).to_bytes(4, "little") + body
    assert len(data) <= _SLOT_BYTES
    return data.ljust(_SLOT_BYTES, b"\0")


def _decoded(data: bytes) -> HighWater | None:
    length = int.from_bytes(data[_DIGEST_BYTES : _DIGEST_BYTES + 4], "little")
    body = data[_DIGEST_BYTES + 4 : _DIGEST_BYTES + 4 + length]
    if (
        len(body) != length
        or hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != data[:_DIGEST_BYTES]
    ):
        return None
    try:
        return _DECODER.decode(body)
    except msgspec.DecodeError:
        return None
