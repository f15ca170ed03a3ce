"""Two sites on real databases, served and used by processes that tests may kill at any point."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest

from federation.config import Address, FilePolicy, PeerConfig, SiteConfig, render_site
from federation.registry.registry import Registry

CONTRACTS = Path(__file__).parents[1] / "contracts"
sys.path.insert(0, str(CONTRACTS))

ACTOR = Path(__file__).with_name("site_actor.py")


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


@attrs.define
class Sites:
    """Site files of summit and base, and the processes that were started for them."""

    summit: SiteConfig
    base: SiteConfig
    processes: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def start(
        self, action: str, config: SiteConfig, *arguments: object, kill: str = ""
    ) -> subprocess.Popen[str]:
        """Start a process; a serving one is ready when this returns."""
        process = subprocess.Popen(
            [sys.executable, str(ACTOR), action, str(config.path), *map(str, arguments)],
            env={**os.environ, "FEDERATION_KILL": kill},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        if action == "serve":
            assert process.stdout is not None
            assert "serves" in process.stdout.readline()
        return process

    def run(self, action: str, config: SiteConfig, *arguments: object, kill: str = "") -> None:
        """Run a process to its end; with ``kill``, it must have been killed there."""
        process = self.start(action, config, *arguments, kill=kill)
        assert process.wait(120) == (-signal.SIGKILL if kill else 0)

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sites(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sites]:
    """Both sites on one kind of database, made and empty; base follows summit and its files."""
    made: list[str] = []
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    ports = {"summit": free_port(), "base": free_port()}
    configs = {}
    for name in ports:
        if kind == "postgresql":
            made.append(database := f"test_{uuid.uuid4().hex}")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {database}")
            monkeypatch.setenv(f"{name.upper()}_URL", urlsplit(url)._replace(path=f"/{database}").geturl())
        peers = (
            [PeerConfig("summit", Address("127.0.0.1", ports["summit"]), ("*",))] if name == "base" else []
        )
        path = tmp_path / f"{name}.toml"
        path.write_text(
            render_site(
                name, tmp_path / name, f"127.0.0.1:{ports[name]}", "sqlite", peers,
                [FilePolicy(("*",))] if peers else [],
                registry_url_env=f"{name.upper()}_URL" if kind == "postgresql" else "",
            )
        )  # fmt: skip
        configs[name] = SiteConfig.load(path)
        Registry.create(configs[name]).close()
    sites = Sites(configs["summit"], configs["base"])
    try:
        yield sites
    finally:
        sites.end()
        for database in made:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
