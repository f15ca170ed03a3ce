"""Processes of sites that tests may kill at any point, and what the test's own process does with the same sites."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs
import site_actor
from forked import ForkedProcess, pipe
from replicated_rows import SUMMIT

from federation.config import SiteConfig
from federation.registry.registry import Registry
from federation.replication.follower import Follower
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient

ACTOR = Path(site_actor.__file__)


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait until another process has made ``condition`` true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.05)


class SiteProcess(ForkedProcess):
    """A process that does one thing to a site; ``kill`` and ``settings`` as of any."""

    def __init__(
        self,
        action: str,
        site_file: Path,
        arguments: tuple[object, ...],
        kill: str,
        settings: Mapping[str, object],
    ) -> None:
        self._ready, ready = pipe(duplex=False)
        words = (action, str(site_file), *map(str, arguments))
        super().__init__(site_actor.act, ready, *words, kill=kill, settings=settings)
        ready.close()

    def await_ready(self) -> None:
        """Wait until it serves, or has ended instead."""
        with contextlib.suppress(EOFError):
            self._ready.recv()

    def end(self) -> None:
        super().end()
        self._ready.close()


@attrs.define
class Sites:
    """Site files of summit and base, and the processes that were started for them."""

    summit: SiteConfig
    base: SiteConfig
    processes: list[SiteProcess] = attrs.field(factory=list)
    _here: ExitStack = attrs.field(factory=ExitStack)

    def serve_here(self, config: SiteConfig) -> None:
        """Serve a site in this process until the test ends."""
        server = SiteServer(config)
        self._here.callback(server.stop)
        server.start()

    def follow_here(self) -> None:
        """Bring base up to summit, in this process."""
        with (
            Registry.open(self.base) as registry,
            SiteClient("summit", str(self.base.peers[0].address)) as client,
        ):
            Follower(registry, client, SUMMIT, "base").run_once()

    def start(
        self,
        action: str,
        config: SiteConfig,
        *arguments: object,
        kill: str = "",
        settings: Mapping[str, object] | None = None,
    ) -> SiteProcess:
        """Start a process; a serving one is ready when this returns."""
        process = SiteProcess(action, config.path, arguments, kill, settings or {})
        self.processes.append(process)
        if action == "serve":
            process.await_ready()
        return process

    def run(self, action: str, config: SiteConfig, *arguments: object, kill: str = "") -> None:
        """Run a process to its end; with ``kill``, it must have been killed there."""
        process = self.start(action, config, *arguments, kill=kill)
        assert process.wait(120) == (-signal.SIGKILL if kill else 0)

    def end(self) -> None:
        """End whatever still runs."""
        self._here.close()
        for process in self.processes:
            process.end()
        self.processes.clear()
