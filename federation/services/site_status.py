"""A site by its own account: its schemas and replicas, where each stands, and what is missing."""

from __future__ import annotations

import threading
import time
from importlib import metadata
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog import log_state
from federation.model.system_tables import system_tables
from federation.replication.standing import log_standing
from federation.wire.messages import SchemaStatus, SiteStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.replication.files import FilePuller
    from federation.replication.follower_status import FollowerStatus
    from federation.services.following import Following

__all__ = ["StatusSource"]

_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
#: followers ask each second, and counting reads a whole table: it may take one in so many parts of the time
COUNT_SHARE = 20


class StatusSource:
    """Tells of ``registry``, its followers and the files that they bring; thread-safe.

    ``log_problem`` tells why the log of an owned schema is not published or kept as it should be, else nothing.
    """

    def __init__(
        self,
        registry: Registry,
        following: Following,
        files: FilePuller,
        log_problem: Callable[[SchemaId], str] = lambda _schema: "",
    ) -> None:
        self._registry, self._following, self._files = registry, following, files
        self._log_problem = log_problem
        self._counted: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def status(self) -> SiteStatus:
        """The site now; ``dataset_count`` of a very large schema may be some seconds old."""
        registry, followed = self._registry, self._following.status()
        return SiteStatus(
            registry.site,
            metadata.version("federation"),
            _KINDS[registry.database.kind],
            f"{registry.universe.namespace} version {registry.universe.version}",
            tuple(self._schema(held, followed.get(held.schema)) for held in registry.held()),
            registry.clock(),
        )

    def _schema(self, held: HeldSchema, follower: FollowerStatus | None) -> SchemaStatus:
        with self._registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
            dataset_count = self._dataset_count(connection, held)
        if held.owned:
            problem = self._log_problem(held.schema)
            log = log_standing(self._registry, held)
            return SchemaStatus(
                *(held.schema, True, state.epoch, state.lsn, state.lsn, 0.0, "owner", problem, dataset_count),
                first_lsn=log.first_lsn,
                followers=log.followers,
            )
        detail = (follower.error if follower else "") or self._problem(held.schema)
        if follower is None:
            return SchemaStatus(
                held.schema,
                False,
                state.epoch,
                state.lsn,
                state.lsn,
                None,
                "not followed",
                detail,
                dataset_count,
            )
        head_lsn = max(state.lsn, follower.head_lsn)
        return SchemaStatus(
            held.schema,
            False,
            state.epoch,
            state.lsn,
            head_lsn,
            follower.staleness_s,
            follower.state,
            detail,
            dataset_count,
            self._files.waiting(held.schema),
            head_lsn - state.lsn,
            follower.lag_bytes if head_lsn > state.lsn else 0,
            follower.path,
            follower.filter,
            follower.since_s,
            log_standing(self._registry, held).first_lsn if self._following.upstream(held.schema) else 0,
        )

    def _problem(self, schema: SchemaId) -> str:
        return self._following.problems.get(schema.site, "")

    def _dataset_count(self, connection: sa.Connection, held: HeldSchema) -> int:
        begun = time.monotonic()
        with self._lock:
            until, count = self._counted.get(held.physical, (begun, 0))
        if begun < until:
            return count
        dataset = self._registry.physical_tables(held.physical, system_tables())["dataset"]
        count = connection.execute(sa.select(sa.func.count()).select_from(dataset)).scalar() or 0
        now = time.monotonic()
        with self._lock:
            self._counted[held.physical] = (now + COUNT_SHARE * (now - begun), count)
        return count
