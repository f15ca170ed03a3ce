"""The source's side of replication: entries of a log as they commit, and copies of a schema to begin with."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from federation.changelog import LogState, log_state
from federation.errors import ConflictError, EpochError, LogGapError, NotFoundError, UnavailableError
from federation.killpoints import killpoint
from federation.replication.acknowledged import Acknowledged
from federation.replication.copy_choice import backlog_of
from federation.replication.digests import digest_schema
from federation.replication.filters import filtered_entry, reading_filter
from federation.replication.log_tail import LogTail
from federation.replication.log_watch import LogWatches
from federation.replication.positions import chain_at, check_position
from federation.replication.relays import check_path
from federation.replication.snapshots import stamp_all
from federation.replication.spool import Spool
from federation.wire.messages import FollowBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from federation.model.change import LogEntry
    from federation.model.log_filter import LogFilter
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.replication.relays import Upstream
    from federation.replication.shown import ShownPositions
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
    """Publishes the schemas that a registry owns, and replicas that it relays, to any number of followers.

    ``shown`` remembers outside the database what was sent; without it a restored database goes unnoticed here.
    ``upstream`` tells of each replica that is passed on how it stands, and None of the others.
    """

    def __init__(
        self,
        registry: Registry,
        shown: ShownPositions | None = None,
        upstream: Callable[[SchemaId], Upstream | None] = lambda _schema: None,
    ) -> None:
        self._registry = registry
        self._upstream = upstream
        self._shown = shown
        #: what followers have told, until it is recorded
        self.acknowledged = Acknowledged(registry)
        self._spool = Spool(registry)
        self._watches = LogWatches(registry)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End every stream."""
        self._stopping.set()
        self._watches.stop()
        self._spool.stop()

    def follow(self, start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]:
        """Entries after a position as they commit, and a heartbeat each second, while ``is_active()``.

        `NotFoundError` for a schema that is not published here, `ConflictError` for another universe, `EpochError`
        when the position is not of this log's history, `LogGapError` when its successors are no longer kept, or so many
        that one who takes copies is better off with one, `UnavailableError` where the follower is on the path that this
        site gets the schema by.
        """
        held = self._check(start.schema, start.universe_fingerprint)
        self._state_of(held, start.follower, 0)
        stamp_all(self._registry, held)
        with self._registry.database.read((held.physical,)) as connection:
            epoch = check_position(connection, held, start)
            chain = start.chain or chain_at(connection, held.physical, start.lsn) or b""
            head_lsn = log_state(connection, held.physical).lsn
        if start.takes_copy:
            self._check_backlog(held, start, head_lsn)
        with LogTail(self._watches, held, epoch, start.lsn, self._stopping) as tail:
            yield from self._batches(held, start, tail, chain, is_active)

    def _check_backlog(self, held: HeldSchema, start: FollowFrom, head_lsn: int) -> None:
        """`LogGapError` where a copy brings the follower here sooner than the entries it lacks."""
        backlog = backlog_of(self._registry, held, start.lsn, head_lsn, has_rows=bool(start.epoch))
        if backlog.is_copied_faster:
            raise LogGapError(
                f"{start.follower} lacks {backlog.entries} entries of {held.schema}, which has about "
                f"{backlog.row_count} rows: a copy is faster",
                hint="copy the schema",
            )

    def _batches(
        self,
        held: HeldSchema,
        start: FollowFrom,
        tail: LogTail,
        chain: bytes,
        is_active: Callable[[], bool],
    ) -> Iterator[FollowBatch]:
        """What a tail gives as it comes; ``chain`` is the chain hash where it starts."""
        timeout_s = 0.0
        while is_active() and not self._stopping.is_set():
            lsn = tail.lsn
            try:
                entries = tail.next(timeout_s)
            except EpochError as error:  # asked again, the follower's position may still be of its history
                raise UnavailableError(error.message, hint="it is asked for again") from error
            timeout_s = HEARTBEAT_S
            if self._stopping.is_set():
                return
            if entries:
                self._show(held, LogState(tail.epoch, entries[-1].lsn, entries[-1].chain))
            killpoint("publisher.before_send")
            path, head_lsn, head_age_s = self._state_of(held, start.follower, tail.head_lsn)
            now = self._registry.clock()
            head_tai_ns = 0 if head_age_s is None else now - int(head_age_s * 1e9)
            sent = self._filtered(held, start.filter, entries)
            yield FollowBatch(tail.epoch, lsn, sent, head_lsn, now, chain, path, head_tai_ns)
            if entries:
                chain = entries[-1].chain

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Take note of what a follower has durably applied."""
        held = self._check(acknowledgement.schema, None)
        self.acknowledged.note(held, acknowledgement.follower, acknowledgement.epoch, acknowledgement.lsn)

    def bootstrap(self, start: BootstrapFrom) -> Iterator[BootstrapPart]:
        """Rows of a schema in one snapshot, with its position: all, or what a follower has otherwise."""
        held = self._check(start.schema, start.universe_fingerprint)
        for part in self._spool.parts(held, start):
            self._show(held, LogState(part.epoch, part.lsn, part.chain))
            if not start.have:  # what comes after the copy must be there once it has arrived
                self.acknowledged.note(held, start.follower, part.epoch, part.lsn)
            yield part

    def digest(self, wanted: DigestOf) -> DigestAnswer:
        """Digests of a schema that this registry holds, at one position."""
        return digest_schema(self._registry, self._registry.get(wanted.schema), wanted)

    def _check(self, schema: SchemaId, fingerprint: str | None) -> HeldSchema:
        held = self._registry.find(schema)
        if held is None or not (held.owned or self._upstream(schema)):
            owned = ", ".join(str(h.schema) for h in self._registry.held() if h.owned)
            raise NotFoundError(
                f"site {self._registry.site} neither owns nor relays schema {schema}",
                hint=f"it owns: {owned}",
            )
        if fingerprint not in (None, self._registry.universe.fingerprint):
            raise ConflictError(
                f"site {self._registry.site} has dimension universe {self._registry.universe.fingerprint}, "
                f"its follower {fingerprint or 'none'}",
                hint="make both registries with the same universe file",
            )
        if self._shown is not None and held.owned:
            self._shown.check(held)
        return held

    def _state_of(
        self, held: HeldSchema, follower: str, own_head_lsn: int
    ) -> tuple[tuple[str, ...], int, float | None]:
        """(path from the owner to here, end of the owner's log as known here, how many seconds ago it was so)."""
        if held.owned:
            return (self._registry.site,), own_head_lsn, 0.0
        upstream = self._upstream(held.schema)
        if upstream is None:
            raise UnavailableError(
                f"site {self._registry.site} no longer relays {held.schema}", hint="it is asked for elsewhere"
            )
        check_path(held.schema, upstream.path, follower)
        return upstream.path, max(own_head_lsn, upstream.head_lsn), upstream.head_age_s

    def _filtered(
        self, held: HeldSchema, wanted: LogFilter, entries: Sequence[LogEntry]
    ) -> Sequence[LogEntry]:
        if not wanted or not entries:
            return entries
        with self._registry.database.read((held.physical,)) as connection:
            rows = reading_filter(self._registry, held, wanted, connection)
            return [filtered_entry(entry, rows) for entry in entries]

    def _show(self, held: HeldSchema, state: LogState) -> None:
        """What is about to be sent must be found in this log for ever, or be missed."""
        if self._shown is not None and held.owned:
            self._shown.show(held, state)
