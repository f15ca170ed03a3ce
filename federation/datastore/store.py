"""A datastore: files below one URL, written whole or not at all, with their checksums."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import attrs

from federation.datastore.checksum import Digester
from federation.datastore.durable import temporary_name
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.datastore.location import check_contained, check_relative, without_credentials
from federation.datastore.opening import open_backend
from federation.datastore.source import UrlSource, named_chunks
from federation.errors import FederationError, NotFoundError, UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from federation.config.stores import StoreOptions
    from federation.datastore.backend import Backend, FileInfo
    from federation.datastore.source import Source

__all__ = ["Datastore", "StoreSource", "Stored"]


@attrs.frozen
class Stored:
    """What a store keeps of a file; ``checksum`` is ``sha256:hex``, ``version`` that of `FileInfo`."""

    size_bytes: int
    checksum: str
    version: str | None = attrs.field(default=None, eq=False)


class Datastore:
    """Files below the root ``url``: a local path, ``s3://bucket/prefix``, or any URL that fsspec knows.

    ``options`` say how an object store is reached. Paths are relative to the root, with ``/``. All methods raise
    `UserError` for a path that would leave the root and `UnavailableError` when a remote store does not answer.
    Instances may be shared by threads.
    """

    def __init__(self, url: str, options: StoreOptions | None = None) -> None:
        self.backend: Backend = open_backend(url, options)
        self.local_root: Path | None = self.backend.local_root
        self.url: str = self.backend.url
        self._inside: set[str] = set()  # directories that were found to be below the root
        self._local_prefix = None if self.local_root is None else f"{self.local_root}/"

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
        try:
            version = self.backend.put(relative_path, source, digester, size_bytes, owner)
        except store_errors() as error:
            raise as_federation_error(error, "write", self._shown(relative_path)) from error
        return Stored(digester.size_bytes, digester.checksum, version)

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
            return self.backend.open(relative)
        except store_errors() as error:
            raise as_federation_error(error, "read", self._shown(relative)) from error

    def local_path(self, relative_path: str) -> str | None:
        """Where a file is on this computer; None for a remote store. `UserError` when a link leads out of the root."""
        if self._local_prefix is None or self.local_root is None:
            return None
        path = self._local_prefix + relative_path
        directory = relative_path.rpartition("/")[0]
        if directory not in self._inside or os.path.islink(path):  # noqa: PTH114 - texts, for thousands of files
            check_contained(self.local_root, self.local_root / relative_path, follow=True)
            self._inside.add(directory)
        return path

    def source(self, path: str) -> StoreSource:
        """The file at a relative path, or at an absolute URL below the root, to be read from its start."""
        return StoreSource(self, self.relative(path))

    def source_of(self, uri: str) -> Source:
        """The file that an artifact's ``uri`` means: below the root, read as this store is; or at any other URL."""
        return self.source(uri) if self.contains(uri) else UrlSource(self.resolve(uri))

    def info(self, path: str) -> FileInfo | None:
        """What is known of a file without reading it; None when there is none."""
        relative = self.relative(path)
        try:
            return self.backend.info(relative)
        except store_errors() as error:
            raise as_federation_error(error, "read", self._shown(relative)) from error

    def survey(self, paths: Collection[str]) -> Mapping[str, FileInfo] | None:
        """`info` of those of the relative paths that are there; None where asking one by one is not slower."""
        try:
            return self.backend.survey(paths)
        except store_errors() as error:
            raise as_federation_error(error, "list", self.url) from error

    def walk(self, prefix: str = "") -> Iterator[tuple[str, FileInfo]]:
        """(relative path, what is known) of every file below the root or a directory, hidden ones too, unordered."""
        below = f"{check_relative(prefix.rstrip('/'), self.url)}/" if prefix else ""
        try:
            yield from self.backend.walk(below)
        except store_errors() as error:
            raise as_federation_error(error, "list", f"{self.url}/{below}".rstrip("/")) from error

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return self.info(path) is not None

    def size(self, path: str) -> int:
        """Size of a file in bytes; `NotFoundError` when there is none."""
        found = self.info(path)
        if found is None:
            raise NotFoundError(
                f"no file {self._shown(self.relative(path))}", hint="check the path; was the file removed?"
            )
        return found.size_bytes

    def remove(self, path: str) -> None:
        """Delete a file, durably; `NotFoundError` when there is none."""
        relative = self.relative(path)
        try:
            self.backend.remove(relative)
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
        if self.info(temporary) is None:
            return False
        with suppress(NotFoundError):
            self.remove(temporary)
        return True

    def free_bytes(self) -> int | None:
        """Bytes that may still be written, or None where that is not known (remote stores)."""
        return self.backend.free_bytes()

    def check_readable(self) -> None:
        """Raise the error that explains why the root cannot be used, if it cannot."""
        try:
            self.backend.check_readable()
        except FederationError:
            raise
        except store_errors() as error:
            raise as_federation_error(error, "read", self.url) from error

    def _shown(self, relative: str) -> str:
        return f"{self.url}/{relative}"


class StoreSource:
    """One file of a datastore, as a `Source` of transfers."""

    def __init__(self, store: Datastore, path: str) -> None:
        self._store, self.path = store, path
        self.is_local = store.local_root is not None

    def __repr__(self) -> str:
        return f"StoreSource({self.name!r})"

    @property
    def name(self) -> str:
        return f"{self._store.url}/{self.path}"

    @property
    def local_path(self) -> str | None:
        """Where the file is on this computer, else None; `UserError` when a link leads out of the store."""
        return self._store.local_path(self.path)

    def open(self) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes in chunks; errors as `Source.open` says."""
        return named_chunks(self._store.backend.read(self.path), self.name)
