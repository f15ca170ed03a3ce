"""Keeps a site's statistics as its tables change, in a thread that leaves most of the time to others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.errors import FederationError

if TYPE_CHECKING:
    from federation.registry.statistics import StatisticsSource

__all__ = ["StatisticsKeeper"]

#: least time between two looks, and how much longer than a look the pause after it is
PAUSE_S, PAUSE_TIMES = 1.0, 20.0


class StatisticsKeeper:
    """Looks at what has changed after somebody has asked for the catalog, from `start` to `stop`.

    Statistics serve speed alone: where they can't be read now, the old ones stay, and `problem` says why.
    """

    def __init__(self, source: StatisticsSource, *, pause_s: float = PAUSE_S) -> None:
        self.source = source
        self.problem = ""
        self._pause_s = pause_s
        self._noticed = ""
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)

    def start(self) -> None:
        """Look at all tables now, and from now on at those that change."""
        self._wake.set()
        self._thread.start()

    def stop(self) -> None:
        """Finish the look that is under way, and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def notice(self, version: str) -> None:
        """The catalog has been asked for and is of this version; where that is a new one, tables may have changed."""
        if version != self._noticed:
            self._noticed = version
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            if self._stopping.is_set():
                return
            self._wake.clear()
            start = time.monotonic()
            try:
                self.source.refresh()
                self.problem = ""
            except FederationError as error:
                self.problem = str(error)
            except sa.exc.SQLAlchemyError as error:
                self.problem = str(error).splitlines()[0]
            took = time.monotonic() - start
            if self._stopping.wait(max(self._pause_s, PAUSE_TIMES * took)):
                return
