"""A datastore's files in a file system of fsspec."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, cast

from federation.datastore.backend import FileInfo
from federation.datastore.checksum import CHUNK_BYTES
from federation.datastore.durable import temporary_name
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.datastore.location import without_credentials
from federation.errors import NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from federation.datastore.checksum import Digester

__all__ = ["FsspecFiles"]

#: what file systems call the thing that changes with a file
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "created")


class FsspecFiles:
    """Files below ``root`` of an fsspec file system."""

    def __init__(self, system: Any, root: str) -> None:
        self.local_root: Path | None = None
        self._system, self._root = system, root
        self.url = without_credentials(system.unstrip_protocol(root)).rstrip("/")

    def put(
        self, path: str, chunks: Iterable[bytes], digester: Digester, size_bytes: int | None, owner: str
    ) -> str | None:
        # closing an fsspec file publishes it, even on the way out of an exception: hence a temporary name here too
        directory, _, name = path.rpartition("/")
        hidden = temporary_name(name, owner)
        shown, target = f"{self.url}/{path}", self._path(path)
        temporary = self._path(f"{directory}/{hidden}" if directory else hidden)
        try:
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            file = self._system.open(temporary, "wb")
        except store_errors() as error:
            raise as_federation_error(error, "write", shown) from error
        published = False
        try:
            for chunk in chunks:
                try:
                    file.write(chunk)
                except store_errors() as error:
                    raise as_federation_error(error, "write", shown) from error
                digester.update(chunk)
            digester.check(shown, size_bytes)
            try:
                file.close()
                self._system.mv(temporary, target)
                published = True
            except store_errors() as error:
                raise as_federation_error(error, "write", shown) from error
        finally:
            if not published:
                with suppress(*store_errors()):
                    file.close()
                with suppress(*store_errors()):
                    self._system.rm_file(temporary)
        found = self.info(path)
        return None if found is None else found.version

    @contextmanager
    def read(self, path: str) -> Iterator[Iterator[bytes]]:
        # blocks in order, each once: read-ahead caches of fsspec would only copy them
        with self._system.open(self._path(path), "rb", cache_type="none") as file:
            size = getattr(file, "size", None)
            yield self._chunks(file, size if isinstance(size, int) else None, path)

    def _chunks(self, file: IO[bytes], size_bytes: int | None, path: str) -> Iterator[bytes]:
        count = 0
        while chunk := file.read(CHUNK_BYTES):
            count += len(chunk)
            yield chunk
        if size_bytes is not None and count != size_bytes:
            raise UnavailableError(
                f"{self.url}/{path} ended after {count} of {size_bytes} bytes", hint="try again"
            )

    def open(self, path: str) -> IO[bytes]:
        return cast("IO[bytes]", self._system.open(self._path(path), "rb"))

    def info(self, path: str) -> FileInfo | None:
        # listings may be cached; what another process wrote must be seen
        self._system.invalidate_cache(self._path(path).rpartition("/")[0])
        try:
            found = self._system.info(self._path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _info(found) if found["type"] == "file" else None

    def survey(self, paths: Collection[str]) -> Mapping[str, FileInfo] | None:  # noqa: ARG002 - see Backend
        return None

    def remove(self, path: str) -> None:
        self._system.rm_file(self._path(path))

    def walk(self, prefix: str = "") -> Iterator[tuple[str, FileInfo]]:
        start = self._path(prefix).rstrip("/")
        self._system.invalidate_cache(start)
        try:
            found = self._system.walk(start, detail=True, on_error="raise")
            for place, _directories, files in found:
                below = str(place).strip("/").removeprefix(self._root.strip("/")).lstrip("/")
                for name, told in files.items():
                    yield (f"{below}/{name}" if below else name), _info(told)
        except FileNotFoundError:
            return

    def free_bytes(self) -> int | None:
        return None

    def check_readable(self) -> None:
        if not self._system.exists(self._root):
            raise NotFoundError(f"datastore {self.url} does not exist", hint="create it or correct the URL")
        self._system.ls(self._root, detail=False)

    def _path(self, relative: str) -> str:
        return f"{self._root.rstrip('/')}/{relative}"


def _info(told: Mapping[str, Any]) -> FileInfo:
    version = next((str(told[name]) for name in _VERSIONS if told.get(name)), None)
    modified = next((told[name] for name in _TIMES if told.get(name)), None)
    seconds = modified.timestamp() if isinstance(modified, datetime) else modified
    return FileInfo(
        int(told["size"]), version, modified_s=float(seconds) if isinstance(seconds, int | float) else None
    )
