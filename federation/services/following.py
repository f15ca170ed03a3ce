"""The replicas of a site: which schemas of which peers are followed, and how each one stands."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from federation.errors import FederationError
from federation.model.position import SchemaId
from federation.replication.follower import Follower, FollowerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from federation.config import PeerConfig
    from federation.registry.registry import Registry
    from federation.wire.client import SiteClient

__all__ = ["Following"]

DISCOVER_S = 1.0


class Following:
    """Followers for the schemas that ``peers`` own and the site file names; new ones are found each second."""

    def __init__(
        self,
        registry: Registry,
        peers: Sequence[PeerConfig],
        clients: Mapping[str, SiteClient],
        on_applied: Callable[[], None],
    ) -> None:
        self._registry, self._clients, self._on_applied = registry, clients, on_applied
        self._peers = tuple(peer for peer in peers if peer.follow)
        self._followers: dict[SchemaId, Follower] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._discover, args=(peer,), name=f"discover-{peer.name}", daemon=True)
            for peer in self._peers
        ]
        #: why a peer's schemas are not known, by peer
        self.problems: dict[str, str] = {}

    def start(self) -> None:
        """Go on with the replicas that are here, peers reachable or not, and look for more."""
        for held in self._registry.held():
            peer = next((peer for peer in self._peers if peer.name == held.schema.site), None)
            if peer is not None and peer.follows(held.schema.name):
                self._follow(held.schema)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all followers."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for follower in self._all():
            follower.stop()

    def status(self) -> dict[SchemaId, FollowerStatus]:
        """How each followed replica stands."""
        return {follower.schema: follower.status() for follower in self._all()}

    def _all(self) -> list[Follower]:
        with self._lock:
            return list(self._followers.values())

    def _follow(self, schema: SchemaId) -> None:
        with self._lock:
            if schema in self._followers or self._stopping.is_set():
                return
            follower = Follower(
                self._registry,
                self._clients[schema.site],
                schema,
                self._registry.site,
                on_applied=self._on_applied,
            )
            self._followers[schema] = follower
        follower.start()

    def _discover(self, peer: PeerConfig) -> None:
        while not self._stopping.wait(DISCOVER_S if self._followers or peer.name in self.problems else 0):
            try:
                found = [held.schema for held in self._clients[peer.name].status().schemas if held.owned]
                for schema in found:
                    if schema.site == peer.name and peer.follows(schema.name):
                        self._follow(schema)
                missing = {name for name in peer.follow if name != "*"} - {schema.name for schema in found}
                self.problems[peer.name] = (
                    f"{peer.name} has no schema {', '.join(sorted(missing))}" if missing else ""
                )
            except FederationError as error:
                self.problems[peer.name] = str(error)
            for follower in self._all():
                if follower.schema.site == peer.name:
                    follower.check()
