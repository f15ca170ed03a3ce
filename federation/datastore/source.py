"""Where the bytes of a transfer come from."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from federation.datastore.fsspec_files import FsspecFiles
from federation.datastore.http_read import read_http
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.datastore.local_files import read_local
from federation.datastore.location import file_system, local_path, without_credentials
from federation.datastore.opening import open_backend
from federation.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

__all__ = ["ForeignSource", "Source", "UrlSource", "is_readable_elsewhere", "named_chunks"]

#: protocols whose URLs mean the same wherever they are read, and open nothing of the reader's own
_EVERYWHERE = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss")


class Source(Protocol):
    """Something whose bytes can be read from the start, again and again."""

    @property
    def name(self) -> str:
        """What messages call it: a URL without secrets."""

    def open(self) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes in chunks.

        Opening and iterating raise `NotFoundError` when there is nothing, `UnavailableError` for what may pass.
        """


@contextmanager
def named_chunks(reading: AbstractContextManager[Iterator[bytes]], name: str) -> Iterator[Iterator[bytes]]:
    """The chunks of ``reading``; errors of its storage, and only those, are told as errors of reading ``name``."""
    with ExitStack() as stack:
        try:
            chunks = stack.enter_context(reading)
        except store_errors() as error:
            raise as_federation_error(error, "read", name) from error
        yield _translated(chunks, name)


def _translated(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    try:
        yield from chunks
    except store_errors() as error:
        raise as_federation_error(error, "read", name) from error


class UrlSource:
    """The file at a URL of any fsspec file system, or at a local path."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return f"UrlSource({self.name!r})"

    @property
    def name(self) -> str:
        return without_credentials(self.url)

    @property
    def is_local(self) -> bool:
        """Whether `local_path` is a path."""
        return self.local_path is not None

    @property
    def local_path(self) -> str | None:
        """Where the file is on this computer, else None."""
        if "\0" in self.url:
            return None
        if self.url.startswith("file:///"):
            return self.url.removeprefix("file://")
        return None if "://" in self.url else os.path.abspath(self.url)  # noqa: PTH100 - cheaper than a Path

    def open(self) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes in chunks of some megabytes at most; errors as `Source.open` says, naming the URL."""
        return named_chunks(self._reading(), self.name)

    def _reading(self) -> AbstractContextManager[Iterator[bytes]]:
        local = self.local_path
        if local is not None:
            return read_local(local)
        if self.url.startswith(("http://", "https://")):
            return read_http(self.url)
        if self.url.startswith("s3://"):
            root, _, name = self.url.rpartition("/")
            return open_backend(root).read(name)
        system, path = file_system(self.url)
        there = local_path(system, path)
        if there is not None:
            return read_local(there)
        root, _, name = path.rpartition("/")
        return FsspecFiles(system, root).read(name)


def is_readable_elsewhere(url: str) -> bool:
    """Whether a URL that another site wrote down may be opened here: remote, and not by way of another protocol."""
    return "::" not in url and urlsplit(url).scheme in _EVERYWHERE


class ForeignSource(UrlSource):
    """The file at a URL that another site recorded: nothing of this computer or its own network link is opened for it.

    Files, pipes of protocols (``::``) and addresses of the loopback or link-local kind, where cloud hosts keep their
    credentials, are refused with `UserError`, after redirections too.
    """

    @property
    def local_path(self) -> str | None:
        return None

    def _reading(self) -> AbstractContextManager[Iterator[bytes]]:
        if not is_readable_elsewhere(self.url):
            raise UserError(
                f"{self.name} is no URL that may be read for another site",
                hint="make the site that recorded it a peer, which then serves the file",
            )
        if self.url.startswith(("http://", "https://")):
            return read_http(self.url, own_hosts=False)
        return super()._reading()
