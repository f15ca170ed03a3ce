"""Files of a transfer on their way into a local datastore: under temporary names, then durable and named in batches.

One ``syncfs`` makes a whole batch durable, which for many small files costs a fraction of an ``fsync`` for each. The
journal's id is part of the temporary names, and one process holds the journal, so no lock is needed on them.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from federation.datastore.backend import FileInfo
from federation.datastore.checksum import CHUNK_BYTES, Digester, digest_file
from federation.datastore.durable import fsync_directory, make_directories, temporary_name
from federation.datastore.io_errors import as_federation_error
from federation.datastore.kernel import begin_writing_out, kernel_copy, sync_file_system
from federation.datastore.local_files import local_info
from federation.datastore.location import check_contained
from federation.errors import CorruptionError, FederationError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from federation.datastore.local_files import LocalReading

__all__ = ["Landed", "Landing"]

#: from so many files on, and up to this mean size, one syncfs costs less than an fsync for each; beyond it the syncfs
#: waits for what others write to the same disk
_SYNC_TOGETHER: Final = 8
_SYNC_TOGETHER_BYTES: Final = 1 << 20
_WRITABLE: Final = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_NO_LINK: Final = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP}
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen
class Landed:
    """A file that is complete but not yet durable; without ``temporary`` it has its final name already."""

    path: str
    target: str
    temporary: str | None
    size_bytes: int
    checksum: str


class Landing:
    """Where the files of one transfer arrive: below ``root``; ``owner`` is the journal's id. Shared by threads."""

    def __init__(self, root: Path, owner: str, *, together: bool) -> None:
        self._root, self._owner, self._together = root, owner, together
        self._directories: dict[str, str] = {}  # those that are made
        self._looked_at: dict[str, str] = {}
        self._lock = threading.Lock()
        self._buffers = threading.local()

    def info(self, path: str) -> FileInfo | None:
        """What is at a path now; nothing is made for the answer."""
        directory, _, name = path.rpartition("/")
        known = self._directories.get(directory) or self._looked_at.get(directory)
        if known is None:
            place = self._root / path
            check_contained(self._root, place, follow=False)
            known = self._looked_at[directory] = str(place.parent)
        try:
            status = os.stat(f"{known}/{name}")  # noqa: PTH116 - a text costs less than a Path
        except (FileNotFoundError, NotADirectoryError):
            return None
        return local_info(status) if stat.S_ISREG(status.st_mode) else None

    def write(self, path: str, chunks: Iterable[bytes], digester: Digester, size_bytes: int | None) -> Landed:
        """A stream from anywhere."""
        target, temporary = self._names(path)
        descriptor = self._open(temporary)
        try:
            begun = 0
            for chunk in chunks:
                digester.update(chunk)
                _write_all(descriptor, chunk, target)
                begun = begin_writing_out(descriptor, begun, digester.size_bytes)
            digester.check(target, size_bytes)
        except BaseException:
            _remove(temporary)
            raise
        finally:
            os.close(descriptor)
        return Landed(path, target, temporary, digester.size_bytes, digester.checksum)

    def copy(
        self,
        source: LocalReading,
        path: str,
        digester: Digester,
        size_bytes: int | None,
        on_bytes: Callable[[int], None],
    ) -> Landed:
        """A local file, read and hashed on the way."""
        target, temporary = self._names(path)
        buffer = self._buffer()
        with source:
            writing = self._open(temporary)
            try:
                begun = 0
                # up to its size only: whether it grew meanwhile is seen at the end
                while digester.size_bytes < source.size_bytes and (count := source.into(buffer)):
                    chunk = buffer[:count]
                    digester.update(chunk)
                    _write_all(writing, chunk, target)
                    begun = begin_writing_out(writing, begun, digester.size_bytes)
                    on_bytes(count)
                source.check(digester.size_bytes, size_bytes)
                digester.check(source.path)
            except BaseException:
                _remove(temporary)
                raise
            finally:
                os.close(writing)
        return Landed(path, target, temporary, digester.size_bytes, digester.checksum)

    def clone(
        self,
        source: LocalReading,
        path: str,
        size_bytes: int | None,
        checksum: str | None,
        on_bytes: Callable[[int], None],
    ) -> Landed | None:
        """A local file, copied by the kernel without being read here: blocks shared where the file system can.

        A sha256 that is known is taken over, else it is computed from the copy. None where this kernel or these
        file systems can't.
        """
        target, temporary = self._names(path)
        with source:
            writing = self._open(temporary)
            try:
                if not kernel_copy(source, writing, target, on_bytes):
                    _remove(temporary)
                    return None
                source.check(os.fstat(writing).st_size, size_bytes)
                checksum = _known_or_read(temporary, checksum)
            except BaseException:
                _remove(temporary)
                raise
            finally:
                os.close(writing)
        return Landed(path, target, temporary, source.size_bytes, checksum)

    def link(self, source: str, path: str, size_bytes: int | None, checksum: str | None) -> Landed:
        """A local file under a second name; both can be written no longer. `UserError` where there can be no link."""
        target, temporary = self._names(path)
        try:
            status = os.stat(source)  # noqa: PTH116 - a text costs less than a Path
            _check_size(source, status.st_size, size_bytes)
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{source} is no file", hint="link files only")
            checksum = _known_or_read(source, checksum)
        except OSError as error:
            raise as_federation_error(error, "read", source) from error
        try:
            if status.st_mode & _WRITABLE:
                os.chmod(source, stat.S_IMODE(status.st_mode) & ~_WRITABLE)  # noqa: PTH101
        except OSError as error:
            raise as_federation_error(error, "take away the right to write", source) from error
        try:
            try:
                os.link(source, target)
            except FileExistsError:
                _remove(temporary)
                os.link(source, temporary)
                return Landed(path, target, temporary, status.st_size, checksum)
        except OSError as error:
            if error.errno in _NO_LINK:
                raise UserError(
                    f"{source} can't be linked to {target}: {error.strerror}",
                    hint="copy it: links end at the file system",
                ) from error
            raise as_federation_error(error, "link", target) from error
        return Landed(path, target, None, status.st_size, checksum)

    def publish(self, landed: Sequence[Landed]) -> list[FileInfo | FederationError]:
        """Make files durable and give them their names; for each what it is then, or why it isn't."""
        found: list[FileInfo | FederationError] = []
        linked = all(one.temporary is None for one in landed)
        together = len(landed) >= _SYNC_TOGETHER and (
            linked or sum(one.size_bytes for one in landed) <= len(landed) * _SYNC_TOGETHER_BYTES
        )
        # links have been durable long before: what must become so is in the directories alone
        synced = together and (linked or self._sync_all())
        for one in landed:
            try:
                if one.temporary is not None:
                    if not synced:
                        _sync_file(one.temporary)
                    os.replace(one.temporary, one.target)  # noqa: PTH105
                found.append(local_info(os.lstat(one.target)))
            except OSError as error:
                if one.temporary is not None:
                    _remove(one.temporary)
                found.append(as_federation_error(error, "write", one.target))
        if not (synced and self._sync_all()):
            for directory in {os.path.dirname(one.target) for one in landed}:  # noqa: PTH120
                try:
                    fsync_directory(Path(directory))
                except OSError as error:
                    raise as_federation_error(error, "write", directory) from error
        return found

    def discard(self, landed: Sequence[Landed]) -> None:
        """Remove files that shall not be published."""
        for one in landed:
            if one.temporary is not None:
                _remove(one.temporary)

    def _names(self, path: str) -> tuple[str, str]:
        directory, _, name = path.rpartition("/")
        place = self._directories.get(directory) or self._make(directory, name)
        return f"{place}/{name}", f"{place}/{temporary_name(name, self._owner)}"

    def _make(self, directory: str, name: str) -> str:
        place = self._root / directory if directory else self._root
        try:
            with self._lock:
                if directory:
                    check_contained(self._root, place / "file", follow=False)
                if self._together:
                    place.mkdir(parents=True, exist_ok=True)  # durable with the files
                else:
                    make_directories(place)
        except OSError as error:
            raise as_federation_error(error, "write", f"{place}/{name}") from error
        self._directories[directory] = str(place)
        return str(place)

    def _open(self, temporary: str) -> int:
        try:
            return os.open(temporary, _WRITE_FLAGS, 0o666)
        except OSError as error:
            raise as_federation_error(error, "write", temporary) from error

    def _buffer(self) -> memoryview:
        if not hasattr(self._buffers, "view"):
            self._buffers.view = memoryview(bytearray(CHUNK_BYTES))
        view: memoryview = self._buffers.view
        return view

    def _sync_all(self) -> bool:
        """Whether all that was written to the file system of the root is durable now."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return sync_file_system(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, chunk: bytes | memoryview, target: str) -> None:
    try:
        written = os.write(descriptor, chunk)
        while written < len(chunk):
            written += os.write(descriptor, memoryview(chunk)[written:])
    except OSError as error:
        raise as_federation_error(error, "write", target) from error


def _known_or_read(path: str, checksum: str | None) -> str:
    """``checksum`` if it is a sha256, else that of the file, which must have ``checksum`` too."""
    if checksum is not None and checksum.startswith("sha256:"):
        return checksum.lower()
    digester = digest_file(Path(path), Digester(checksum))
    digester.check(path)
    return digester.checksum


def _check_size(source: str, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise CorruptionError(
            f"{source}: {found} bytes where {expected} were expected",
            hint="the file was cut or changed; restore it or copy it from another site",
        )


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108
