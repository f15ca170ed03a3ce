"""Where the bytes of a transfer come from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from federation.datastore.checksum import CHUNK_BYTES
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.datastore.location import file_system, local_path, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

__all__ = ["Source", "UrlSource"]


class Source(Protocol):
    """Something whose bytes can be read from the start, again and again."""

    @property
    def name(self) -> str:
        """What messages call it: a URL without secrets."""

    def open(self) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes in chunks.

        Opening and iterating raise `NotFoundError` when there is nothing, `UnavailableError` for what may pass.
        """


class UrlSource:
    """The file at a URL of any fsspec file system, or at a local path."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self._options = dict(options or {})

    def __repr__(self) -> str:
        return f"UrlSource({self.name!r})"

    @property
    def name(self) -> str:
        return without_credentials(self.url)

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        """The bytes in chunks of a megabyte; errors as `Source.open` says, naming the URL."""
        system, path = file_system(self.url, self._options)
        local = local_path(system, path)
        try:
            # blocks in order, each once: read-ahead caches of fsspec would only copy them
            file: IO[bytes] = (
                local.open("rb", buffering=0) if local else system.open(path, "rb", cache_type="none")
            )
        except store_errors() as error:
            raise as_federation_error(error, "read", self.name) from error
        with file:
            yield self._chunks(file)

    def _chunks(self, file: IO[bytes]) -> Iterator[bytes]:
        while True:
            try:
                chunk = file.read(CHUNK_BYTES)
            except store_errors() as error:
                raise as_federation_error(error, "read", self.name) from error
            if not chunk:
                return
            yield chunk
