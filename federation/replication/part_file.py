"""A copy's parts in a file, numbered and checksummed: appended as they come, read while it grows, taken up again.

A frame is a 4-byte length (little-endian), the 16-byte digest of the body, and the body. Frame 0 says what the file is
of (JSON), frame n is part n. What a kill left behind a whole frame is cut off when the file is opened again.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

from federation.changelog import digest_of
from federation.errors import CorruptionError, LimitError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PartFile"]

_HEAD = struct.Struct("<I16s")
#: how much may be lost when the machine itself stops
_SYNC_BYTES = 16 << 20


class PartFile:
    """Appended by one thread, read by any; a context that closes it."""

    def __init__(self, path: Path, *, header: dict[str, Any] | None = None) -> None:
        """A new file with ``header``; without, one that is there, as far as it is whole.

        `CorruptionError` when not even its header is, `LimitError` when the disk is full.
        """
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if header is not None else 0)
        self._file = os.open(path, flags, 0o600)
        self._places: list[tuple[int, int]] = []  # (offset, length) of each frame's body
        self._end = self._synced = 0
        self._lock = threading.Lock()
        try:
            if header is not None:
                self.header = header
                self.append(json.dumps(header).encode())
            else:
                self._index()
                self.header = json.loads(self.read(0))
        except BaseException:
            self.close()
            raise

    @property
    def part_count(self) -> int:
        """How many whole parts there are."""
        return len(self._places) - 1

    @property
    def size_bytes(self) -> int:
        return self._end

    def append(self, body: bytes) -> None:
        """Add a part; `LimitError` when the disk is full."""
        data = _HEAD.pack(len(body), digest_of(body)) + body
        with self._lock:
            try:
                written = 0
                while written < len(data):
                    written += os.pwrite(self._file, data[written:], self._end + written)
                self._places.append((self._end + _HEAD.size, len(body)))
                self._end += len(data)
                if self._end - self._synced > _SYNC_BYTES:
                    os.fdatasync(self._file)
                    self._synced = self._end
            except OSError as error:
                raise self._space(error) from error

    def read(self, number: int) -> bytes:
        """Part ``number`` (0: the header); `CorruptionError` when it is not what was appended."""
        offset, length = self._places[number]
        data = os.pread(self._file, length + _HEAD.size, offset - _HEAD.size)
        body = data[_HEAD.size :]
        if len(body) != length or _HEAD.unpack(data[: _HEAD.size]) != (length, digest_of(body)):
            raise CorruptionError(
                f"{self.path}: part {number} is damaged", hint="the copy is begun again; check the disk"
            )
        return body

    def digest(self, number: int) -> bytes:
        """The digest of part ``number``, as it was when it was appended."""
        offset, _ = self._places[number]
        return bytes(_HEAD.unpack(os.pread(self._file, _HEAD.size, offset - _HEAD.size))[1])

    def sync(self) -> None:
        """Make durable what was appended."""
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._space(error) from error
        self._synced = self._end

    def rename(self, path: Path) -> None:
        """Give the file another name, durably."""
        self.path = self.path.rename(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _index(self) -> None:
        """Find the whole frames and cut off the rest."""
        size = os.fstat(self._file).st_size
        while True:
            head = os.pread(self._file, _HEAD.size, self._end)
            if len(head) < _HEAD.size:
                break
            length, digest = _HEAD.unpack(head)
            if self._end + _HEAD.size + length > size:
                break
            if digest_of(os.pread(self._file, length, self._end + _HEAD.size)) != digest:
                break
            self._places.append((self._end + _HEAD.size, length))
            self._end += _HEAD.size + length
        if not self._places:
            raise CorruptionError(f"{self.path} holds no part", hint="the copy is begun again")
        os.ftruncate(self._file, self._end)
        self._synced = self._end

    def _space(self, error: OSError) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return LimitError(
                f"{self.path}: no space left after {self._end} bytes of a copy", hint="free some space"
            )
        return error
