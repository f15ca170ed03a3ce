"""The record of what a site refused: one JSON line each, in a file of bounded size under the site's root."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Final

from federation.clock import tai_now
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["AUDIT_FILE", "AuditLog"]

AUDIT_FILE: Final = "audit.jsonl"
#: one file of this size, and the one before it, are kept
FILE_BYTES_MAX: Final = 8 << 20
_TEXT_MAX: Final = 500


class AuditLog:
    """Appends refusals to ``path``; at ``bytes_max`` it is renamed to ``.1``, in place of the one before."""

    def __init__(
        self, path: Path, clock: Callable[[], int] = tai_now, bytes_max: int = FILE_BYTES_MAX
    ) -> None:
        self.path, self._clock, self._bytes_max = path, clock, bytes_max
        self._lock = threading.Lock()
        self._has_failed = False

    @property
    def older(self) -> Path:
        """Where the lines before those of ``path`` are."""
        return self.path.with_name(self.path.name + ".1")

    def record(self, *, who: str, address: str, method: str, what: str, why: str) -> None:
        """Add one line: time (TAI), who asked, from where, for what, and why not. A full disk stops no call."""
        fields = {
            "time_tai": format_tai(self._clock()),
            "who": who[:_TEXT_MAX],
            "address": address[:_TEXT_MAX],
            "method": method[:_TEXT_MAX],
            "what": what[:_TEXT_MAX],
            "why": why[:_TEXT_MAX],
        }
        line = (json.dumps(fields, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with self._lock:
            try:
                self._append(line)
                self._has_failed = False
            except OSError as error:
                if not self._has_failed:
                    sys.stderr.write(f"refusals are not recorded: {self.path}: {error.strerror}\n")
                self._has_failed = True

    def _append(self, line: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size + len(line) > self._bytes_max:
            self.path.replace(self.older)
        is_new = not self.path.exists()
        with self.path.open("ab") as file:
            if is_new:
                self.path.chmod(0o600)
            file.write(line)
