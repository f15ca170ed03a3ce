"""JSON lines in a file of bounded size, and the one before it; readable by the site's own user only."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["RotatingLines", "read_lines"]

#: one file of this size, and the one before it, are kept
FILE_BYTES_MAX: Final = 8 << 20


class RotatingLines:
    """Appends to ``path``; at ``bytes_max`` it is renamed to ``.1``, in place of the one before. Safe between threads.

    ``what`` are the lines, for the message when they can't be written: a full disk stops nothing.
    """

    def __init__(self, path: Path, what: str, bytes_max: int = FILE_BYTES_MAX) -> None:
        self.path, self._what, self._bytes_max = path, what, bytes_max
        self._lock = threading.Lock()
        self._has_failed = False

    def append(self, values: Mapping[str, Any]) -> None:
        """Add one line."""
        line = (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with self._lock:
            try:
                self._append(line)
                self._has_failed = False
            except OSError as error:
                if not self._has_failed:
                    sys.stderr.write(f"{self._what} are not recorded: {self.path}: {error.strerror}\n")
                self._has_failed = True

    def _append(self, line: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size + len(line) > self._bytes_max:
            self.path.replace(_older(self.path))
        is_new = not self.path.exists()
        with self.path.open("ab") as file:
            if is_new:
                self.path.chmod(0o600)
            file.write(line)


def _older(path: Path) -> Path:
    """Where the lines before those of ``path`` are."""
    return path.with_name(path.name + ".1")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """All lines, oldest first; a line that a crash left half written is passed over."""
    for file in (_older(path), path):
        if not file.exists():
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    values = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if isinstance(values, dict):
                    yield values
