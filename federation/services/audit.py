"""The record of what a site refused: one JSON line each, in a file of bounded size under the site's root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federation.clock import tai_now
from federation.model.timespan import format_tai
from federation.services.rotating_lines import FILE_BYTES_MAX, RotatingLines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["AUDIT_FILE", "AuditLog"]

AUDIT_FILE: Final = "audit.jsonl"
_TEXT_MAX: Final = 500


class AuditLog:
    """Appends refusals to ``path``; at ``bytes_max`` it is renamed to ``.1``, in place of the one before."""

    def __init__(
        self, path: Path, clock: Callable[[], int] = tai_now, bytes_max: int = FILE_BYTES_MAX
    ) -> None:
        self.path, self._clock = path, clock
        self._lines = RotatingLines(path, "refusals", bytes_max)

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
        self._lines.append(fields)
