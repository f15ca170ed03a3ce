"""One server for each site: a lock that ends with the process that holds it, however it ends."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from federation.errors import ConflictError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ServerLock"]


class ServerLock:
    """Holds ``root/server.lock``, which names the process; `ConflictError` while another process does."""

    def __init__(self, root: Path, site: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(root / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise ConflictError(
                f"site {site} is already served by process {holder}",
                hint=f"use that server, or end it: kill {holder}",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another server begin; the file stays, because removing it would let two hold it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
