"""The source's side of replication: entries of a log as they commit, and copies of a schema to begin with."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from federation.errors import ConflictError, NotFoundError
from federation.killpoints import killpoint
from federation.replication.copy_source import copy_parts
from federation.replication.digests import digest_schema
from federation.replication.log_tail import LogTail
from federation.replication.positions import check_position
from federation.replication.snapshots import stamp_all
from federation.wire.messages import FollowBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import (
        Acknowledgement,
        BootstrapFrom,
        BootstrapPart,
        DigestAnswer,
        DigestOf,
        FollowFrom,
    )

__all__ = ["Publisher"]

HEARTBEAT_S = 1.0


class Publisher:
    """Publishes the schemas that a registry owns; one instance serves any number of followers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End every stream."""
        self._stopping.set()

    def follow(self, start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]:
        """Entries after a position as they commit, and a heartbeat each second, while ``is_active()``.

        `NotFoundError` for a schema that is not owned here, `ConflictError` for another universe, `EpochError` when
        the position is not of this log's history, `LogGapError` when its successors are no longer kept.
        """
        held = self._check(start.schema, start.universe_fingerprint)
        stamp_all(self._registry, held)
        with self._registry.database.read((held.physical,)) as connection:
            epoch = check_position(connection, held, start)
        tail, chain, timeout_s = (
            LogTail(self._registry, held, epoch, start.lsn, self._stopping),
            start.chain,
            0.0,
        )
        while is_active() and not self._stopping.is_set():
            lsn = tail.lsn
            entries = tail.next(timeout_s)
            timeout_s = HEARTBEAT_S
            if self._stopping.is_set():
                return
            killpoint("publisher.before_send")
            now = self._registry.clock()
            yield FollowBatch(epoch, lsn, entries, tail.head_lsn, now, chain, (self._registry.site,), now)
            if entries:
                chain = entries[-1].chain

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Take note of what a follower has durably applied."""
        self._check(acknowledgement.schema, None)

    def bootstrap(self, start: BootstrapFrom) -> Iterator[BootstrapPart]:
        """Every row of a schema in one snapshot, with its position."""
        return copy_parts(self._registry, self._check(start.schema, start.universe_fingerprint))

    def digest(self, wanted: DigestOf) -> DigestAnswer:
        """Digests of a schema that this registry holds, at one position."""
        return digest_schema(self._registry, self._registry.get(wanted.schema), wanted)

    def _check(self, schema: SchemaId, fingerprint: str | None) -> HeldSchema:
        held = self._registry.find(schema)
        if held is None or not held.owned:
            owned = ", ".join(str(h.schema) for h in self._registry.held() if h.owned)
            raise NotFoundError(
                f"site {self._registry.site} does not own schema {schema}", hint=f"it owns: {owned}"
            )
        if fingerprint not in (None, self._registry.universe.fingerprint):
            raise ConflictError(
                f"site {self._registry.site} has dimension universe {self._registry.universe.fingerprint}, "
                f"its follower {fingerprint or 'none'}",
                hint="make both registries with the same universe file",
            )
        return held
