"""A datastore's files in a directory of this computer."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Self

from federation.datastore.backend import FileInfo
from federation.datastore.checksum import CHUNK_BYTES
from federation.datastore.durable import fsync_directory, partial_file
from federation.datastore.io_errors import as_federation_error, free_bytes
from federation.datastore.location import check_contained
from federation.errors import CorruptionError, FederationError, NotFoundError, UnavailableError, UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from federation.datastore.checksum import Digester

__all__ = ["LocalFiles", "LocalReading", "local_info", "read_local"]


def local_info(status: os.stat_result) -> FileInfo:
    """Size and version of a file: its version changes with its inode or the time of its last change."""
    version = f"{status.st_mtime_ns}-{status.st_ino}"
    return FileInfo(status.st_size, version, modified_s=status.st_mtime)


@contextmanager
def read_local(path: str | Path) -> Iterator[Iterator[bytes]]:
    """The bytes of a local file; `UnavailableError` when it is changed or cut while it is read."""
    if stat.S_ISFIFO(os.stat(path).st_mode):  # noqa: PTH116 - a text costs less than a Path
        raise UserError(f"{path} is a pipe, not a file", hint="write it to a file first")
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        yield _chunks(file, path)


def _chunks(file: IO[bytes], path: str | Path) -> Iterator[bytes]:
    before = os.fstat(file.fileno())
    count = 0
    while chunk := file.read(CHUNK_BYTES):
        count += len(chunk)
        yield chunk
    check_unchanged(before, os.fstat(file.fileno()), count, path)


def check_unchanged(before: os.stat_result, after: os.stat_result, count: int, path: str | Path) -> None:
    """Raise `UnavailableError` unless ``count`` bytes are what the file had before and has after it was read."""
    if count != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise UnavailableError(
            f"{path} was changed while it was read: {count} bytes came, {after.st_size} are there",
            hint="let its writer finish, then try again",
        )


class LocalReading:
    """A local file being read; ``error`` is what went wrong with it, if anything did. Closed by its ``with``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.error: FederationError | None = None
        self.descriptor = -1
        self.size_bytes = 0

    def __enter__(self) -> Self:
        try:
            # without waiting for a writer, should it be a pipe
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise self._failed(as_federation_error(error, "read", self.path)) from error
        self._before = os.fstat(self.descriptor)
        self.size_bytes = self._before.st_size
        if not stat.S_ISREG(self._before.st_mode):
            os.close(self.descriptor)
            raise self._failed(UserError(f"{self.path} is no file", hint="name a file"))
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.descriptor)

    def into(self, buffer: memoryview) -> int:
        """Read the next bytes; how many came."""
        try:
            return os.readv(self.descriptor, [buffer])
        except OSError as error:
            raise self._failed(as_federation_error(error, "read", self.path)) from error

    def check(self, count: int, expected: int | None) -> None:
        """Raise unless the ``count`` bytes that came are all, are as many as ``expected``, and were not changed."""
        try:
            check_unchanged(self._before, os.fstat(self.descriptor), count, self.path)
        except FederationError as error:
            self.error = error
            raise
        if expected is not None and count != expected:
            raise self._failed(
                CorruptionError(
                    f"{self.path}: {count} bytes where {expected} were expected",
                    hint="the file was cut or changed; restore it or copy it from another site",
                )
            )

    def _failed(self, error: FederationError) -> FederationError:
        self.error = error
        return error


class LocalFiles:
    """Files below ``root``; symbolic links may not lead out of it."""

    def __init__(self, root: Path, url: str) -> None:
        self.local_root: Path | None = root
        self._root = root
        self.url = url

    def put(
        self, path: str, chunks: Iterable[bytes], digester: Digester, size_bytes: int | None, owner: str
    ) -> str | None:
        target = check_contained(self._root, self._root / path, follow=False)
        with partial_file(target, owner=owner) as file:
            for chunk in chunks:
                file.write(chunk)
                digester.update(chunk)
            digester.check(f"{self.url}/{path}", size_bytes)
            file.publish()
        return local_info(target.stat()).version

    @contextmanager
    def read(self, path: str) -> Iterator[Iterator[bytes]]:
        with read_local(check_contained(self._root, self._root / path, follow=True)) as chunks:
            yield chunks

    def open(self, path: str) -> IO[bytes]:
        return check_contained(self._root, self._root / path, follow=True).open("rb")

    def info(self, path: str) -> FileInfo | None:
        target = check_contained(self._root, self._root / path, follow=True)
        try:
            status = target.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return local_info(status) if target.is_file() else None

    def survey(self, paths: Collection[str]) -> Mapping[str, FileInfo] | None:  # noqa: ARG002 - see Backend
        return None

    def remove(self, path: str) -> None:
        target = check_contained(self._root, self._root / path, follow=False)
        target.unlink()
        fsync_directory(target.parent)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, FileInfo]]:
        waiting = [prefix]
        while waiting:
            place = waiting.pop()
            try:
                entries = os.scandir(self._root / place)
            except FileNotFoundError:
                continue  # removed since it was listed, or never made
            with entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{place}{entry.name}/")
                        continue
                    try:
                        yield f"{place}{entry.name}", local_info(entry.stat())
                    except FileNotFoundError:
                        # a link that leads nowhere is no file, and one that has just gone isn't either
                        continue

    def free_bytes(self) -> int | None:
        return free_bytes(self._root)

    def check_readable(self) -> None:
        if not self._root.exists():
            raise NotFoundError(f"datastore {self.url} does not exist", hint="create it or correct the URL")
        with os.scandir(self._root):
            pass
