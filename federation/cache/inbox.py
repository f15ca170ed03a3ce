"""The files of an inbox that are complete, and when to try one again that could not be taken in.

Completeness is by name: who delivers a file writes it under a name that is not looked at, one that begins with a dot or
ends in ``.part``, ``.partial`` or ``.tmp``, and renames it when it is whole. What is in a subdirectory counts as well.
A sidecar (``NAME.json`` or ``NAME.yaml``) must be there before its file is renamed; it goes with the file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from federation.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Arrival", "Inbox", "sidecars_of"]

_UNFINISHED = (".part", ".partial", ".tmp")
_SIDECARS = (".json", ".yaml")
#: nanoseconds until a file that was refused is tried again: at first, doubled each time, and at most
_RETRY_MIN_NS, _RETRY_MAX_NS = 5_000_000_000, 300_000_000_000


@attrs.frozen
class Arrival:
    """A file that is complete; ``mark`` changes when another comes under its name."""

    path: str
    size_bytes: int
    mark: tuple[int, int, int]


@attrs.frozen
class _Refused:
    """Why a file was not taken in, and when it is tried again."""

    mark: tuple[int, int, int]
    reason: str
    wait_ns: int
    again_ns: int


class Inbox:
    """One directory; not shared between threads. Nothing is removed here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._refused: dict[str, _Refused] = {}

    @property
    def refused(self) -> dict[str, str]:
        """Why files were not taken in, by path."""
        return {path: one.reason for path, one in self._refused.items()}

    def arrived(self, now_ns: int) -> list[Arrival]:
        """The complete files that are due, oldest first. `UnavailableError` when the directory can't be read."""
        try:
            found = list(self._entries(os.fspath(self.directory)))
        except OSError as error:
            raise UnavailableError(
                f"the inbox {self.directory} can't be read: {error.strerror}", hint="check that it is mounted"
            ) from error
        names = {one.path for one in found}
        for path in self._refused.keys() - names:
            del self._refused[path]
        due = [one for one in found if not self._is_sidecar(one.path, names) and self._is_due(one, now_ns)]
        return sorted(due, key=lambda one: (one.mark[1], one.path))

    def refuse(self, arrival: Arrival, reason: str, now_ns: int) -> None:
        """A file could not be taken in: it stays, and is tried again after a while."""
        known = self._refused.get(arrival.path)
        is_same = known is not None and known.mark == arrival.mark
        wait_ns = min(2 * known.wait_ns, _RETRY_MAX_NS) if known is not None and is_same else _RETRY_MIN_NS
        self._refused[arrival.path] = _Refused(arrival.mark, reason, wait_ns, now_ns + wait_ns)

    def take(self, arrival: Arrival) -> None:
        """A file was taken in."""
        self._refused.pop(arrival.path, None)

    def _is_due(self, arrival: Arrival, now_ns: int) -> bool:
        known = self._refused.get(arrival.path)
        return known is None or known.mark != arrival.mark or now_ns >= known.again_ns

    @staticmethod
    def _is_sidecar(path: str, names: set[str]) -> bool:
        return path.endswith(_SIDECARS) and path.rpartition(".")[0] in names

    def _entries(self, directory: str) -> Iterator[Arrival]:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith(_UNFINISHED):
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from self._entries(entry.path)
                    elif entry.is_file():
                        said = entry.stat()
                        yield Arrival(entry.path, said.st_size, (said.st_ino, said.st_mtime_ns, said.st_size))
                except FileNotFoundError:  # renamed or removed at this moment
                    continue


def sidecars_of(path: str) -> list[str]:
    """The sidecars that lie beside a file."""
    return [path + suffix for suffix in _SIDECARS if os.path.isfile(path + suffix)]  # noqa: PTH113
