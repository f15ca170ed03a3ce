"""The replicas of a site: which schemas of which peers are followed, by which path, and how each one stands."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from federation.errors import FederationError
from federation.replication.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from federation.config import PeerConfig
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.replication.follower_status import FollowerStatus
    from federation.replication.relays import Upstream
    from federation.wire.client import SiteClient

__all__ = ["Following"]

DISCOVER_S = 1.0
#: how often followers are looked after, whose streams may have gone silent
CHECK_S = 0.5


class Following:
    """Followers for the schemas that ``peers`` own and the site file names; new ones are found each second.

    Where a peer does not answer, its relays tell which of its schemas there are.
    """

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
        self._threads.append(threading.Thread(target=self._look_after, name="check-followers", daemon=True))
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

    def once(self) -> dict[SchemaId, FollowerStatus]:
        """Bring every replica up to what its source has now, in this thread; how each stands then.

        `UnavailableError` when a peer does not answer, nor any of its relays.
        """
        return {
            schema: self._run_once(schema)
            for peer in self._peers
            for schema in self._known_schemas(peer)
            if peer.follows(schema.name)
        }

    def _run_once(self, schema: SchemaId) -> FollowerStatus:
        follower = self._follower(schema)
        try:
            return follower.run_once()
        finally:
            follower.stop()

    def _known_schemas(self, peer: PeerConfig) -> list[SchemaId]:
        try:
            return self._schemas_of(peer, peer.name)
        except FederationError:
            for relay in peer.via:
                with contextlib.suppress(FederationError):  # the owner's own error says it
                    return self._schemas_of(peer, relay)
            raise

    def stop(self) -> None:
        """End all followers."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for follower in self._all():
            follower.ask_to_stop()
        for follower in self._all():
            follower.stop()

    def status(self) -> dict[SchemaId, FollowerStatus]:
        """How each followed replica stands."""
        return {follower.schema: follower.status() for follower in self._all()}

    def upstream(self, schema: SchemaId) -> Upstream | None:
        """What this site's own followers need to know of a schema that it relays; None of one that it does not."""
        with self._lock:
            follower = self._followers.get(schema)
        return None if follower is None else follower.upstream()

    def _all(self) -> list[Follower]:
        with self._lock:
            return list(self._followers.values())

    def _follow(self, schema: SchemaId) -> None:
        with self._lock:
            if schema in self._followers or self._stopping.is_set():
                return
            follower = self._follower(schema)
            self._followers[schema] = follower
        follower.start()

    def _follower(self, schema: SchemaId) -> Follower:
        peer = next(peer for peer in self._peers if peer.name == schema.site)
        return Follower(
            self._registry,
            self._clients[schema.site],
            schema,
            self._registry.site,
            relays=[self._clients[name] for name in peer.via],
            keeps_log=peer.relay,
            filter=peer.filter,
            on_applied=self._on_applied,
        )

    def _discover(self, peer: PeerConfig) -> None:
        while not self._stopping.wait(DISCOVER_S if self._followers or peer.name in self.problems else 0):
            try:
                found = self._schemas_of(peer, peer.name)
                self._follow_all(peer, found)
                missing = {name for name in peer.follow if name != "*"} - {schema.name for schema in found}
                self.problems[peer.name] = (
                    f"{peer.name} has no schema {', '.join(sorted(missing))} that may be followed from here"
                    if missing
                    else ""
                )
                for follower in self._all():
                    if follower.schema.site == peer.name:
                        follower.owner_answers()
            except FederationError as error:
                self.problems[peer.name] = str(error)
                for relay in peer.via:
                    with contextlib.suppress(FederationError):  # the owner's own error says it
                        self._follow_all(peer, self._schemas_of(peer, relay))

    def _schemas_of(self, peer: PeerConfig, source: str) -> list[SchemaId]:
        """The schemas that a peer owns, by its own account or by that of a relay."""
        return [
            held.schema for held in self._clients[source].status().schemas if held.schema.site == peer.name
        ]

    def _follow_all(self, peer: PeerConfig, schemas: Sequence[SchemaId]) -> None:
        for schema in schemas:
            if peer.follows(schema.name):
                self._follow(schema)

    def _look_after(self) -> None:
        while not self._stopping.wait(CHECK_S):
            for follower in self._all():
                follower.check()
