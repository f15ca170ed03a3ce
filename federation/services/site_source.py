"""Where the figures of a site come from: its registry, its followers, its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.replication.standing import log_standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.replication.files import FilePuller
    from federation.replication.follower_status import FollowerStatus
    from federation.replication.standing import LogStanding
    from federation.services.following import Following
    from federation.services.telemetry import Telemetry

__all__ = ["ServedSite"]


class ServedSite:
    """A served site as `federation.services.metrics` reads it."""

    def __init__(
        self, registry: Registry, following: Following, files: FilePuller, telemetry: Telemetry
    ) -> None:
        self._registry, self._following = registry, following
        self._files, self._telemetry = files, telemetry

    @property
    def site(self) -> str:
        return self._registry.site

    @property
    def registry_kind(self) -> str:
        return self._registry.database.kind

    def is_database_up(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._telemetry.is_database_up

    def log_standings(self) -> Mapping[SchemaId, LogStanding]:
        """How the log of each owned schema stands."""
        return {
            held.schema: log_standing(self._registry, held) for held in self._registry.held() if held.owned
        }

    def replica_lsns(self) -> Mapping[SchemaId, int]:
        """Up to where each replica is applied."""
        return {
            held.schema: self._registry.position(held.schema).lsn
            for held in self._registry.held()
            if not held.owned
        }

    def replicas(self) -> Mapping[SchemaId, FollowerStatus]:
        """How each followed replica stands."""
        return self._following.status()

    def files_waiting(self) -> Mapping[SchemaId, int]:
        """Files that policies want here, by replica."""
        return {schema: self._files.waiting(schema) for schema in self._following.status()}
