"""Processes of sites that tests may kill at any point, and what the test's own process does with the same sites."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs
import site_actor
from replicated_rows import SUMMIT

from federation.config import SiteConfig
from federation.registry.registry import Registry
from federation.replication.follower import Follower
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient

ACTOR = Path(site_actor.__file__)

#: forks each process from one that has imported everything, which takes longer than most of what they do
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["__main__", "federation.services.site_server", "federation.replication.verify", "psycopg"]
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait until another process has made ``condition`` true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.05)


class SiteProcess:
    """A process that does one thing to a site, and ends by ``kill -9`` at the killpoint ``kill``.

    ``settings`` gives constants of modules other values there: ``{"module:NAME": value}``.
    """

    def __init__(
        self,
        action: str,
        site_file: Path,
        arguments: tuple[object, ...],
        kill: str,
        settings: Mapping[str, object],
    ) -> None:
        self._ready, ready = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(
            target=site_actor.act,
            args=(
                {**os.environ, "FEDERATION_KILL": kill},
                dict(settings),
                ready,
                action,
                str(site_file),
                *map(str, arguments),
            ),
            daemon=True,
        )
        self._process.start()
        ready.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As of `subprocess`: None while it runs, minus the signal's number when it was killed."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def await_ready(self) -> None:
        """Wait until it serves, or has ended instead."""
        with contextlib.suppress(EOFError):
            self._ready.recv()

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, timeout_s: float = 60.0) -> int:
        """The return code, once it has ended."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, f"it still runs after {timeout_s} s"
        return self._process.exitcode

    def end(self) -> None:
        """End it if it still runs, and let go of what it used."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()
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
