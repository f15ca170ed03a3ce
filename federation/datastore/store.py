"""A datastore: files below one URL, written whole or not at all, with their checksums."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

import attrs

from federation.datastore.checksum import Digester
from federation.datastore.durable import fsync_directory, partial_file, temporary_name
from federation.datastore.io_errors import as_federation_error, free_bytes, store_errors
from federation.datastore.location import (
    check_contained,
    check_relative,
    file_system,
    local_path,
    without_credentials,
)
from federation.datastore.source import UrlSource
from federation.errors import FederationError, NotFoundError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Datastore", "Stored"]


@attrs.frozen
class Stored:
    """What a store keeps of a file; ``checksum`` is ``sha256:hex``."""

    size_bytes: int
    checksum: str


class Datastore:
    """Files below the root ``url``: a local path or any URL that fsspec knows.

    Paths are relative to the root, with ``/``. All methods raise `UserError` for a path that would leave the root and
    `UnavailableError` when a remote store does not answer. Instances may be shared by threads.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._system, self._root = file_system(url, options)
        self.local_root: Path | None = local_path(self._system, self._root)
        self.url: str = without_credentials(self._system.unstrip_protocol(self._root)).rstrip("/")

    def __repr__(self) -> str:
        return f"Datastore({self.url!r})"

    def put_stream(
        self,
        source: Iterable[bytes],
        relative_path: str,
        *,
        size_bytes: int | None = None,
        checksum: str | None = None,
        owner: str = "",
    ) -> Stored:
        """Write a stream, durable and complete under its name when this returns, replacing what was there.

        Raises `CorruptionError` unless the bytes have the expected ``size_bytes`` and ``checksum``, `LimitError`
        when space runs out, `ConflictError` while another process writes the path; errors of the source pass
        unchanged. Nothing remains of a write that failed. ``owner`` is the id of a journal that will sweep
        temporaries after a crash.
        """
        check_relative(relative_path, self.url)
        digester = Digester(checksum)
        if self.local_root is None:
            self._put_remote(source, relative_path, digester, size_bytes, owner)
        else:
            target = check_contained(self.local_root, self.local_root / relative_path, follow=False)
            with partial_file(target, owner=owner) as file:
                for chunk in source:
                    file.write(chunk)
                    digester.update(chunk)
                digester.check(self._shown(relative_path), size_bytes)
                file.publish()
        return Stored(digester.size_bytes, digester.checksum)

    def _put_remote(
        self,
        source: Iterable[bytes],
        relative_path: str,
        digester: Digester,
        size_bytes: int | None,
        owner: str,
    ) -> None:
        # closing an fsspec file publishes it, even on the way out of an exception: hence the temporary name here too
        shown, target = self._shown(relative_path), self._path(relative_path)
        temporary = self._path(self.temporary_path(relative_path, owner))
        try:
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            file = self._system.open(temporary, "wb")
        except store_errors() as error:
            raise as_federation_error(error, "write", shown) from error
        published = False
        try:
            for chunk in source:
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

    def put_file(
        self,
        source: str | Path,
        relative_path: str,
        *,
        size_bytes: int | None = None,
        checksum: str | None = None,
    ) -> Stored:
        """Copy the file at a local path or URL; like `put_stream`, and `NotFoundError` when it is missing."""
        with UrlSource(str(source)).open() as chunks:
            return self.put_stream(chunks, relative_path, size_bytes=size_bytes, checksum=checksum)

    def open(self, path: str) -> IO[bytes]:
        """The file at a relative path, or at an absolute URL below the root, for reading."""
        relative = self.relative(path)
        try:
            if self.local_root is not None:
                return check_contained(self.local_root, self.local_root / relative, follow=True).open("rb")
            return cast("IO[bytes]", self._system.open(self._path(relative), "rb"))
        except store_errors() as error:
            raise as_federation_error(error, "read", self._shown(relative)) from error

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return self._size(self.relative(path)) is not None

    def size(self, path: str) -> int:
        """Size of a file in bytes; `NotFoundError` when there is none."""
        relative = self.relative(path)
        found = self._size(relative)
        if found is None:
            raise NotFoundError(
                f"no file {self._shown(relative)}", hint="check the path; was the file removed?"
            )
        return found

    def _size(self, relative: str) -> int | None:
        try:
            if self.local_root is not None:
                path = check_contained(self.local_root, self.local_root / relative, follow=True)
                return path.stat().st_size if path.is_file() else None
            # listings may be cached; what another process wrote must be seen
            self._system.invalidate_cache(self._path(relative).rpartition("/")[0])
            info = self._system.info(self._path(relative))
            return int(info["size"]) if info["type"] == "file" else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except store_errors() as error:
            raise as_federation_error(error, "read", self._shown(relative)) from error

    def remove(self, path: str) -> None:
        """Delete a file, durably; `NotFoundError` when there is none."""
        relative = self.relative(path)
        try:
            if self.local_root is not None:
                target = check_contained(self.local_root, self.local_root / relative, follow=False)
                target.unlink()
                fsync_directory(target.parent)
            else:
                self._system.rm_file(self._path(relative))
        except store_errors() as error:
            raise as_federation_error(error, "remove", self._shown(relative)) from error

    def resolve(self, uri: str) -> str:
        """The absolute URL of an artifact: ``uri`` itself when it is one, else the path below the root.

        An absolute URL may point anywhere; `contains` tells whether it is this store's own.
        """
        if "://" in uri:
            if "\0" in uri:
                raise UserError(f"URL {uri!r} has a NUL character", hint="correct the artifact's uri")
            return uri
        return self._shown(check_relative(uri, self.url))

    def contains(self, uri: str) -> bool:
        """Whether ``uri``, absolute or relative, names a place below the root."""
        try:
            self.relative(uri)
        except UserError:
            return False
        return True

    def relative(self, uri: str) -> str:
        """The path below the root that a relative path or an absolute URL means; `UserError` for any other."""
        prefix = f"{self.url}/"
        if "://" not in uri:
            return check_relative(uri, self.url)
        if not uri.startswith(prefix):
            raise UserError(
                f"{without_credentials(uri)} is not below {self.url}", hint="ask the store that holds it"
            )
        return check_relative(uri.removeprefix(prefix), self.url)

    def temporary_path(self, relative_path: str, owner: str) -> str:
        """The path under which `put_stream` of this ``owner`` writes ``relative_path`` until it is complete."""
        directory, _, name = check_relative(relative_path, self.url).rpartition("/")
        hidden = temporary_name(name, owner)
        return f"{directory}/{hidden}" if directory else hidden

    def sweep(self, relative_path: str, owner: str) -> bool:
        """Remove what a killed `put_stream` of this ``owner`` left of ``relative_path``; whether there was any."""
        temporary = self.temporary_path(relative_path, owner)
        if self._size(temporary) is None:
            return False
        with suppress(NotFoundError):
            self.remove(temporary)
        return True

    def free_bytes(self) -> int | None:
        """Bytes that may still be written, or None where that is not known (remote stores)."""
        return None if self.local_root is None else free_bytes(self.local_root)

    def modified_ns(self, relative_path: str) -> int | None:
        """When a local file was last changed, as its file system says; None for remote stores and missing files."""
        if self.local_root is None:
            return None
        try:
            return (self.local_root / check_relative(relative_path, self.url)).stat().st_mtime_ns
        except OSError:
            return None

    def check_readable(self) -> None:
        """Raise the error that explains why the root cannot be used, if it cannot."""
        try:
            if not self._system.exists(self._root):
                raise NotFoundError(
                    f"datastore {self.url} does not exist", hint="create it or correct the URL"
                )
            self._system.ls(self._root, detail=False)
        except FederationError:
            raise
        except store_errors() as error:
            raise as_federation_error(error, "read", self.url) from error

    def _path(self, relative: str) -> str:
        return f"{self._root.rstrip('/')}/{relative}"

    def _shown(self, relative: str) -> str:
        return f"{self.url}/{relative}"
