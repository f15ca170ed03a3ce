"""What a caller hears while a snapshot is made."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from federation.datastore import TransferEventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.datastore import TransferEvent

__all__ = ["FileProgress", "Phase", "SnapshotProgress"]


class Phase(enum.StrEnum):
    """CLOSURE counts datasets found, ROWS rows written, FILES bytes copied."""

    CLOSURE = "closure"
    ROWS = "rows"
    FILES = "files"


@attrs.frozen
class SnapshotProgress:
    """``done`` of ``total`` in one phase; ``total`` is 0 where it is not known. ``detail`` is for people."""

    phase: Phase
    done: int
    total: int
    detail: str = ""


class FileProgress:
    """Turns the events of a transfer into bytes done of all."""

    def __init__(self, tell: Callable[[SnapshotProgress], None], total_bytes: int) -> None:
        self._tell = tell
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def __call__(self, event: TransferEvent) -> None:
        if event.kind is not TransferEventKind.DONE:  # its bytes have been counted as they came
            self._done_bytes += event.size_bytes
        self._tell(SnapshotProgress(Phase.FILES, self._done_bytes, self._total_bytes, event.detail))
