"""Links that are cut, silent or slow, databases that restart: a follower notices, says so, and goes on by itself."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest
from free_ports import free_port
from publishing_sites import Site, eventually
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.clock import tai_now
from federation.replication.follower import Follower

pytestmark = pytest.mark.slow


@attrs.define
class Link:
    """A proxy process; ``address`` is where it listens."""

    address: str
    process: subprocess.Popen[str]

    @classmethod
    def to(cls, target: str) -> Link:
        port = free_port()
        script = Path(__file__).with_name("link_proxy.py")
        process = subprocess.Popen(
            [sys.executable, str(script), str(port), target.rpartition(":")[2]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        link = cls(f"127.0.0.1:{port}", process)
        link._await("ready")
        return link

    def _await(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def command(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self._await("done")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@attrs.define
class Pair:
    """The summit, base, and the link between them; base follows."""

    summit: Site
    base: Site
    link: Link
    follower: Follower

    def goes_on(self, number: int) -> None:
        """What is written now arrives, and everything is equal."""
        write(self.summit.registry, number, 1)
        eventually(lambda: self.base.lsn() == number, f"entry {number} arrives")
        assert rows(self.base.registry, SUMMIT) == rows(self.summit.registry, SUMMIT)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    url = request.getfixturevalue("fresh_postgres_database") if kind == "postgresql" else ""
    with (
        open_registry(database_of(kind, tmp_path / "summit", url), "summit") as source,
        open_registry(database_of("sqlite", tmp_path / "base"), "base") as here,
    ):
        summit, base = Site(source), Site(here)
        link = Link.to(summit.serve())
        follower = base.follower(link.address)
        follower.start()
        try:
            yield Pair(summit, base, link, follower)
        finally:
            link.end()
            base.end()
            summit.end()


def _is_away(follower: Follower) -> bool:
    follower.check()  # as the site's process does twice a second
    return follower.status().state in ("waiting", "connecting")


def test_a_cut_link_is_noticed_and_taken_up_again(pair: Pair) -> None:
    pair.goes_on(1)
    pair.link.command("cut")
    eventually(lambda: _is_away(pair.follower), "base notices")
    write(pair.summit.registry, 2, 3)
    eventually(lambda: "does not answer" in pair.follower.status().error, "base says why")
    status = pair.follower.status()
    assert (status.lsn, status.lag_entries) == (1, 0), "what is not known can't be told"
    pair.link.command("pass")
    pair.goes_on(5)
    assert pair.follower.status().error == ""


def test_a_half_open_link_is_noticed_and_left(pair: Pair) -> None:
    pair.goes_on(1)
    pair.link.command("silence")
    eventually(lambda: _is_away(pair.follower), "base notices that heartbeats do not come")
    before = pair.follower.status().staleness_s
    write(pair.summit.registry, 2, 1)
    eventually(lambda: (pair.follower.status().staleness_s or 0.0) > (before or 0.0), "it says how old it is")
    pair.link.command("pass")

    def is_back() -> bool:
        pair.follower.check()
        return pair.base.lsn() == 2

    eventually(is_back, "base connects anew")
    pair.goes_on(3)


def test_a_slow_link_brings_everything(pair: Pair) -> None:
    pair.link.command("delay 0.05")
    write(pair.summit.registry, 1, 20)
    eventually(lambda: pair.base.lsn() == 20, "all entries arrive")
    pair.goes_on(21)


def test_a_link_that_is_cut_again_and_again_loses_and_doubles_nothing(pair: Pair) -> None:
    number = 0
    for _ in range(5):
        write(pair.summit.registry, number + 1, 4)
        number += 4
        pair.link.command("cut")
        pair.link.command("pass")
    eventually(lambda: pair.base.lsn() == number, "all entries arrive")
    pair.goes_on(number + 1)


def _database(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_a_database_that_restarts_at_the_source_is_reported_and_waited_for(
    pair: Pair, fresh_postgres_database: str, postgres_url: str
) -> None:
    pair.goes_on(1)
    name = _database(fresh_postgres_database)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        eventually(lambda: "PostgreSQL registry" in pair.follower.status().error, "base is told why")
        assert pair.follower.status().state in ("waiting", "connecting")
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    eventually(lambda: not pair.follower.status().error, "it is taken up again")
    eventually(lambda: _can_write(pair, 2), "the summit can write again")
    eventually(lambda: pair.base.lsn() == 2, "entry 2 arrives")


def _can_write(pair: Pair, number: int) -> bool:
    from federation.errors import UnavailableError

    try:
        write(pair.summit.registry, number, 1)
    except UnavailableError:  # a connection of the pool that the restart has ended
        return False
    return True


def test_a_database_that_restarts_at_the_follower_is_reported_and_waited_for(
    fresh_postgres_database: str, postgres_url: str, tmp_path: Path
) -> None:
    name = _database(fresh_postgres_database)
    with (
        open_registry(database_of("sqlite", tmp_path / "summit"), "summit") as source,
        open_registry(database_of("postgresql", tmp_path, fresh_postgres_database), "base") as here,
    ):
        summit, base = Site(source), Site(here)
        follower = base.follower(summit.serve())
        follower.start()
        write(source, 1, 1)
        eventually(lambda: base.lsn() == 1, "base follows")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            write(source, 2, 1)
            eventually(lambda: "PostgreSQL registry" in follower.status().error, "it says what is wrong")
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        eventually(lambda: follower.status().lsn == 2, "it goes on by itself")
        assert rows(here, SUMMIT) == rows(source, SUMMIT)
        base.end()
        summit.end()


def test_a_clock_that_is_set_back_stops_nothing(pair: Pair) -> None:
    pair.goes_on(1)
    pair.summit.registry.clock = lambda: tai_now() - 3600 * 10**9
    pair.goes_on(2)
    begun = time.monotonic()
    eventually(lambda: pair.follower.status().state == "following", "it follows")
    staleness_s = pair.follower.status().staleness_s
    assert staleness_s is not None
    assert 0.0 <= staleness_s <= time.monotonic() - begun + 60.0
