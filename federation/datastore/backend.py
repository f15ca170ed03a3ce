"""What a kind of storage must do to hold a datastore's files."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from federation.datastore.checksum import Digester

__all__ = ["Backend", "FileInfo"]


@attrs.frozen
class FileInfo:
    """What a storage tells of a file without reading it.

    ``version`` is another text after every change, or None where the storage has no such thing; ``checksum`` is
    ``sha256:hex`` where it was stored with the file; ``modified_s`` is the time of its last change, in seconds since
    1970, by the storage's clock.
    """

    size_bytes: int
    version: str | None = None
    checksum: str | None = None
    modified_s: float | None = None


class Backend(Protocol):
    """Files below one root, by relative path, which the caller has checked.

    Methods raise the errors of the storage's client library (`store_errors`) or those of federation.errors.
    """

    #: the URL of the root, without secrets and without ``/`` at its end
    url: str
    #: the root on this computer's file systems, else None
    local_root: Path | None

    def put(
        self, path: str, chunks: Iterable[bytes], digester: Digester, size_bytes: int | None, owner: str
    ) -> str | None:
        """Write a stream whole and durably, replacing what was there; its version, where that is known at once.

        Nothing remains of a write that fails. Each chunk goes through ``digester``, and `Digester.check` decides
        before anybody sees the file.
        """

    def read(self, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes in order, in chunks."""

    def open(self, path: str) -> IO[bytes]:
        """The file for reading at any place."""

    def info(self, path: str) -> FileInfo | None:
        """What is known of a file now; None when there is none."""

    def survey(self, paths: Collection[str]) -> Mapping[str, FileInfo] | None:
        """`info` of those of the paths that are there, at once; None where asking one by one is not slower."""

    def remove(self, path: str) -> None:
        """Delete a file, durably."""

    def walk(self, prefix: str = "") -> Iterator[tuple[str, FileInfo]]:
        """Every file below a directory (``""`` or ending in ``/``), in no particular order; hidden ones too."""

    def free_bytes(self) -> int | None:
        """Bytes that may still be written; None where that is not known."""

    def check_readable(self) -> None:
        """Raise the error that explains why the root cannot be used, if it cannot."""
