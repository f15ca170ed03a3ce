"""JSON lines in a file of bounded size, and the one before it; readable by the site's own user only."""

from __future__ import annotations

import json
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
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
        self._file: int | None = None
        self._size = 0
        self._finalizer: Callable[[], object] = lambda: None

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
        # opened once: that costs more than writing a line does. Somebody may have moved the file away meanwhile
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self._close()
        if self._file is None:
            self._open()
        if self._size and self._size + len(line) > self._bytes_max:
            self._close()
            self.path.replace(_older(self.path))
            self._open()
        assert self._file is not None
        self._size += os.write(self._file, line)

    def _open(self) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file, self._size = file, os.fstat(file).st_size
        self._finalizer = weakref.finalize(self, os.close, file)

    def _close(self) -> None:
        self._file = None
        self._finalizer()

    def close(self) -> None:
        """Give the file back; the next line opens it again."""
        with self._lock:
            if self._file is not None:
                self._close()


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
