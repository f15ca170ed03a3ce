"""Three sites as three processes, with a link to the summit that can be cut."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

import attrs

from federation.config import Address, FilePolicy, PeerConfig, SiteConfig, render_site
from federation.demo.link import Link
from federation.errors import UnavailableError
from federation.registry.registry import Registry
from federation.wire.client import SiteClient

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Fleet"]

READY_S = 60.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.define
class Fleet:
    """Site files in ``directory/sites``, their registries, and the processes that serve them.

    base and ncsa reach the summit through ``link`` only.
    """

    directory: Path
    configs: dict[str, SiteConfig] = attrs.field(factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)
    link: Link | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def sites(self) -> Path:
        return self.directory / "sites"

    def create(self) -> None:
        """Write the site files and make the registries."""
        self.sites.mkdir(parents=True, exist_ok=True)
        ports = {name: _free_port() for name in ("summit", "base", "ncsa")}
        self.link = Link("127.0.0.1", ports["summit"])
        summit = PeerConfig("summit", Address("127.0.0.1", self.link.port), ("*",))
        base = PeerConfig("base", Address("127.0.0.1", ports["base"]), ("*",))
        peers: dict[str, tuple[PeerConfig, ...]] = {"summit": (), "base": (summit,), "ncsa": (summit, base)}
        for name, port in ports.items():
            text = render_site(
                name,
                f"../{name}",
                Address("127.0.0.1", port),
                "sqlite" if name == "summit" else "postgresql",
                peers[name],
                (FilePolicy(("*",)),) if name == "ncsa" else (),
            )
            path = self.sites / f"{name}.toml"
            path.write_text(text)
            self.configs[name] = SiteConfig.load(path)

    def start(self, name: str) -> None:
        """Make the site's registry where there is none, and serve it in a process of its own."""
        config = self.configs[name]
        Registry.create(config).close()
        log = (self.directory / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "federation", "site", "serve", str(config.path)], stdout=log, stderr=log
        )
        log.close()

    def wait_ready(self, name: str) -> None:
        """Wait until the site answers; `UnavailableError` with its log when it doesn't."""
        deadline = time.monotonic() + READY_S
        client = self.client(name)
        try:
            while True:
                with contextlib.suppress(UnavailableError):
                    client.status()
                    return
                if self.processes[name].poll() is not None or time.monotonic() > deadline:
                    raise UnavailableError(
                        f"site {name} did not start", hint=f"look into {self.directory / f'{name}.log'}"
                    )
                time.sleep(0.1)  # asking all the time would slow its start
        finally:
            client.close()

    def kill(self, name: str) -> None:
        """End a site's process as a power cut would; `start` brings it back."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def client(self, name: str) -> SiteClient:
        """A client to the site itself, not through the link."""
        return SiteClient(name, str(self.configs[name].listen))

    def stop(self) -> None:
        """End the processes that were started, and the link."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        if self.link is not None:
            self.link.cut()
