"""Sites that publish and follow through real servers, in one process, on either kind of database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs
import sqlalchemy as sa
from replicated_rows import SUMMIT

from federation.changelog.log import log_tables
from federation.registry.registry import Registry
from federation.replication.follower import Follower
from federation.replication.publisher import Publisher
from federation.wire.client import SiteClient
from federation.wire.messages import BootstrapFrom
from federation.wire.server import SiteServer, build_server


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until other threads have made ``condition`` true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.02)


class CountingPublisher(Publisher):
    """A publisher that counts the copies it was asked for."""

    copies = 0

    def bootstrap(self, start: BootstrapFrom):  # type: ignore[no-untyped-def]
        self.copies += 1
        return super().bootstrap(start)


@attrs.define
class Site:
    """One site's registry with whatever follows and serves in it; `end` stops all of that."""

    registry: Registry
    publisher: CountingPublisher = attrs.field(init=False)
    followers: list[Follower] = attrs.field(factory=list)
    servers: list[SiteServer] = attrs.field(factory=list)
    clients: list[SiteClient] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.publisher = CountingPublisher(self.registry, upstream=self._upstream)

    @property
    def name(self) -> str:
        return self.registry.site

    def _upstream(self, _schema: object) -> object:
        return self.followers[-1].upstream() if self.followers else None

    def serve(self, address: str = "127.0.0.1:0") -> str:
        """One more server of the same site; returns where it listens."""
        server = build_server(self.publisher, address, workers=4)  # type: ignore[arg-type]
        server.start()
        self.servers.append(server)
        return server.address

    def client(self, site: str, address: str) -> SiteClient:
        self.clients.append(SiteClient(site, address))
        return self.clients[-1]

    def follower(self, owner: str, *relays: tuple[str, str], **options: object) -> Follower:
        """A follower of the summit at ``owner``, or through relays (name, address)."""
        through = [self.client(*relay) for relay in relays]
        follower = Follower(
            self.registry, self.client("summit", owner), SUMMIT, self.name, relays=through, **options
        )  # type: ignore[arg-type]
        self.followers.append(follower)
        return follower

    def lsn(self) -> int:
        return self.registry.position(SUMMIT).lsn

    def kept(self) -> list[tuple[object, ...]]:
        """Entries of the summit's log as they are kept here."""
        held = self.registry.get(SUMMIT)
        log = log_tables(held.physical).log
        columns = (log.c.lsn, log.c.committed_tai_ns, log.c.row_count, log.c.body, log.c.digest, log.c.chain)
        with self.registry.database.read((held.physical,)) as connection:
            return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(log.c.lsn))]

    def end(self) -> None:
        for follower in self.followers:
            follower.stop()
        self.publisher.stop()
        for server in self.servers:
            server.stop(0)
        for client in self.clients:
            client.close()
