"""What followers have acknowledged, collected in memory and recorded together, not by a commit for each."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from federation.changelog.followers import RegisteredFollower, record_followers
from federation.errors import NotFoundError
from federation.registry.schemas import FORMAT_VERSION

if TYPE_CHECKING:
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["Acknowledged"]


class Acknowledged:
    """Acknowledgements that wait to be recorded in ``registry``; thread-safe.

    One that is lost with the process is repeated by its follower; until then the log is kept for longer.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._waiting: dict[str, dict[str, RegisteredFollower]] = {}
        self._lock = threading.Lock()

    def note(self, held: HeldSchema, name: str, epoch: str, lsn: int) -> None:
        """Take note that follower ``name`` has durably applied a schema up to a position."""
        if self._registry.format_version != FORMAT_VERSION:  # read only, and never trimmed
            return
        heard = RegisteredFollower(name, epoch, lsn, self._registry.clock())
        with self._lock:
            self._waiting.setdefault(held.physical, {})[name] = heard

    def record(self) -> None:
        """Write what has come in since the last time; what can't be written is tried again the next time."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        try:
            while waiting:
                physical, found = next(iter(waiting.items()))
                with contextlib.suppress(NotFoundError):  # the schema was dropped
                    self._record(physical, found)
                del waiting[physical]
        finally:
            with self._lock:
                for physical, found in waiting.items():
                    self._waiting[physical] = found | self._waiting.get(physical, {})

    def _record(self, physical: str, found: dict[str, RegisteredFollower]) -> None:
        with self._registry.database.write(physical) as connection:
            record_followers(connection, physical, found.values())
