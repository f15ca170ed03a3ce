"""Durable writes on a local file system: a temporary name in the target's directory, fsync, rename, fsync.

A reader sees the old file or the new one, whole. The temporary has a name that follows from the target's, so that a
later run finds what a killed one left behind; a lock on it keeps two writers apart.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from federation.datastore.io_errors import as_federation_error
from federation.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = [
    "PartialFile",
    "fsync_directory",
    "is_temporary",
    "make_directories",
    "partial_file",
    "temporary_name",
    "write_file",
]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.part", re.DOTALL)


def temporary_name(name: str, owner: str = "") -> str:
    """The hidden name under which ``name`` is written; ``owner`` is the id of the journal that will sweep it."""
    token = hashlib.blake2b(f"{owner}/{name}".encode(), digest_size=6).hexdigest()
    stem = name.encode()[:200].decode(errors="ignore")  # file systems end names at 255 bytes
    return f".{stem}.{token}.part"


def is_temporary(name: str) -> bool:
    """Whether a name is one that `temporary_name` gives."""
    return _TEMPORARY.fullmatch(name) is not None


def fsync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> None:
    """Create a directory and its missing parents, durably."""
    missing = []
    place = path
    while not place.is_dir():
        missing.append(place)
        place = place.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        fsync_directory(directory.parent)


class PartialFile:
    """A file being written under its temporary name."""

    def __init__(self, target: Path, temporary: Path, descriptor: int) -> None:
        self.target = target
        self.temporary = temporary
        self._descriptor = descriptor

    def write(self, chunk: bytes) -> None:
        """Append all of ``chunk``."""
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise as_federation_error(error, "write", str(self.target)) from error

    def publish(self) -> None:
        """Make the bytes durable and give them their final name."""
        try:
            os.fsync(self._descriptor)
            self.temporary.replace(self.target)
            fsync_directory(self.target.parent)
        except OSError as error:
            raise as_federation_error(error, "write", str(self.target)) from error


@contextmanager
def partial_file(target: Path, *, owner: str = "") -> Iterator[PartialFile]:
    """A file to write and `PartialFile.publish`; on leaving without that, nothing of it remains.

    Raises `ConflictError` while another process writes the same target, `LimitError` when space runs out, `UserError`
    for a target that may not be written.
    """
    temporary = target.with_name(temporary_name(target.name, owner))
    try:
        make_directories(target.parent)
        descriptor = _open_locked(temporary)
    except OSError as error:
        raise as_federation_error(error, "write", str(target)) from error
    try:
        yield PartialFile(target, temporary, descriptor)
    finally:
        # after publish() the temporary name is gone; before it, the lock says that the file is ours to remove
        with suppress(FileNotFoundError):
            if os.path.samestat(temporary.stat(), os.fstat(descriptor)):
                temporary.unlink()
        os.close(descriptor)


def _open_locked(temporary: Path) -> int:
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(temporary.lstat(), os.fstat(descriptor)):
                os.ftruncate(descriptor, 0)  # what a killed writer left
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConflictError(
                f"{temporary} is being written by another process", hint="wait for it to end, then try again"
            ) from error
        except FileNotFoundError:
            pass
        os.close(descriptor)  # another writer published or removed this one between open and lock


def write_file(target: Path, content: bytes | Iterable[bytes], *, owner: str = "") -> None:
    """Put ``content``, or its parts as they come, at ``target``, durably, in one step for readers."""
    with partial_file(target, owner=owner) as file:
        for part in (content,) if isinstance(content, bytes) else content:
            file.write(part)
        file.publish()
