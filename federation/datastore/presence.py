"""What a target has already, asked once for many files where that is faster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.datastore.checksum import CHUNK_BYTES, Digester
from federation.datastore.io_errors import as_federation_error
from federation.datastore.store import Stored
from federation.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from federation.datastore.backend import FileInfo
    from federation.datastore.landing import Landing
    from federation.datastore.outcomes import Item
    from federation.datastore.store import Datastore

__all__ = ["Presence"]


class Presence:
    """Files at ``target`` before the transfer; ``landing`` is the target's when it is on this computer."""

    def __init__(self, target: Datastore, landing: Landing | None, items: Sequence[Item]) -> None:
        self._target, self._landing = target, landing
        # local files are asked for one by one, since that costs a microsecond or two
        self._found: Mapping[str, FileInfo] | None = None
        if landing is None:
            self._found = target.survey([item.target_path for item in items])

    def info(self, path: str) -> FileInfo | None:
        """What is at a path; None when nothing is."""
        if self._found is not None:
            return self._found.get(path)
        if self._landing is None:
            return self._target.info(path)
        try:
            return self._landing.info(path)
        except OSError as error:
            raise as_federation_error(error, "read", f"{self._target.url}/{path}") from error

    def same(self, item: Item, on_chunk: Callable[[], None]) -> tuple[Stored, str | None] | None:
        """(what is there, its version) if it is the item's file by checksum; read for that, unless it is known.

        ``on_chunk`` is called now and then and may raise.
        """
        if item.checksum is None:
            return None
        info = self.info(item.target_path)
        if info is None or item.size_bytes not in (None, info.size_bytes):
            return None
        if self._found is not None and info.checksum is None:
            info = self._target.info(item.target_path)  # a listing doesn't tell checksums
            if info is None:
                return None
        if info.checksum is not None and info.checksum.partition(":")[0] == item.checksum.partition(":")[0]:
            if info.checksum != item.checksum.lower():
                return None
            return Stored(info.size_bytes, info.checksum), info.version
        digester = Digester(item.checksum)
        try:
            with self._target.source(item.target_path).open() as chunks:
                for chunk in chunks:
                    for start in range(0, len(chunk), CHUNK_BYTES):
                        on_chunk()
                        digester.update(memoryview(chunk)[start : start + CHUNK_BYTES])
            digester.check(item.target_path)
        except CorruptionError:
            return None  # other bytes than wanted: they get replaced
        return Stored(digester.size_bytes, digester.checksum), info.version
