"""The verb that mends replicas which differ from their owners."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from federation.config import find_site
from federation.registry.registry import Registry
from federation.replication.verify import chosen_replicas, repair
from federation.session import connect

if TYPE_CHECKING:
    from federation.replication.verify import RepairReport

__all__ = ["repair_replica"]


def repair_replica(
    site: str, *, sites: str | Path = "sites", schema: str | None = None
) -> tuple[RepairReport, ...]:
    """Compare the replicas of a site, or that of ``schema`` (``site/name``), with their owners; mend what differs.

    Rows that are alike are not written, and followers may go on meanwhile. `NotFoundError` where there is no such
    replica, `UnavailableError` when an owner does not answer, `LimitError` when a replica is too far behind.
    """
    directory = Path(sites)
    config = find_site(site, directory)
    with Registry.open(config) as registry, connect(config.path, directory) as session:
        return tuple(
            repair(registry, session.client(replica.site), replica)
            for replica in chosen_replicas(registry, schema)
        )
