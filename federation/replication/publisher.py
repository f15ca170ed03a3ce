"""The source's side of replication: entries of a log as they commit, and copies of a schema to begin with."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.changelog import (
    SCHEMA_VERSION,
    LogState,
    chain_hash,
    encode_changes,
    entry_chain,
    log_state,
    read_entries,
)
from federation.errors import ConflictError, EpochError, LogGapError, NotFoundError
from federation.killpoints import killpoint
from federation.model.change import Change, Operation
from federation.registry.transaction import stored_values
from federation.replication.digests import digest_schema
from federation.replication.snapshots import stamp_all, stamped_snapshot
from federation.storage import SqliteDatabase
from federation.wire.messages import BootstrapPart, FollowBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.model.change import LogEntry
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import BootstrapFrom, DigestAnswer, DigestOf, FollowFrom

__all__ = ["Publisher"]

BATCH_BYTES = 4 << 20
HEARTBEAT_S = 1.0
#: how often a log is looked at while entries come, and when none came for a while
POLL_S = 0.005
IDLE_POLL_S = 0.05
_PART_ROWS = 2000
_PART_BYTES = 8 << 20
_LENGTH = struct.Struct("<Q")


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
            epoch = _check_position(connection, held, start)
        lsn, sent_at, looked_at, quiet_since = start.lsn, -HEARTBEAT_S, -HEARTBEAT_S, time.monotonic()
        mark: object = None
        while is_active() and not self._stopping.is_set():
            seen = self._file_mark(held)
            now = time.monotonic()
            is_due = now - sent_at >= HEARTBEAT_S
            if is_due or seen is None or seen != mark or now - looked_at >= IDLE_POLL_S:
                stamp_all(self._registry, held)
                head, entries = self._read(held, epoch, lsn)
                mark, looked_at = seen, now
                if entries or is_due:
                    killpoint("publisher.before_send")
                    yield FollowBatch(epoch, lsn, entries, head, self._registry.clock())
                    sent_at = time.monotonic()
                    if entries:
                        lsn, quiet_since = entries[-1].lsn, sent_at
                        continue
            is_quiet = now - quiet_since > HEARTBEAT_S
            # SQLite: looking at the file costs nothing, so it goes on often
            self._stopping.wait(IDLE_POLL_S if is_quiet and seen is None else POLL_S)

    def _file_mark(self, held: HeldSchema) -> object:
        """What changes when a SQLite schema is written to; None on PostgreSQL."""
        database = self._registry.database
        if not isinstance(database, SqliteDatabase):
            return None
        path, mark = database.path(held.physical), []
        for file in (path, path.with_name(path.name + "-wal")):
            with contextlib.suppress(FileNotFoundError):
                found = file.stat()
                mark += [found.st_mtime_ns, found.st_size]
        return mark

    def _read(self, held: HeldSchema, epoch: str, after_lsn: int) -> tuple[int, list[LogEntry]]:
        with self._registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
            if state.epoch != epoch or state.lsn < after_lsn:
                raise EpochError(f"the log of {held.schema} was replaced by another", hint="follow it anew")
            entries = (
                read_entries(connection, held.physical, after_lsn, BATCH_BYTES)
                if state.lsn > after_lsn
                else []
            )
        if state.lsn > after_lsn and (not entries or entries[0].lsn != after_lsn + 1):
            raise LogGapError(
                f"entry {after_lsn + 1} of {held.schema} is no longer kept", hint="copy the schema anew"
            )
        return state.lsn, entries

    def bootstrap(self, start: BootstrapFrom) -> Iterator[BootstrapPart]:
        """Every row of a schema in one snapshot, with its position.

        The copy is written to a temporary file first: a slow reader must not hold up the database.
        """
        held = self._check(start.schema, start.universe_fingerprint)
        with tempfile.TemporaryFile(prefix="federation-copy-") as file:
            with stamped_snapshot(self._registry, held) as (connection, state):
                for body in self._bodies(connection, held):
                    file.write(_LENGTH.pack(len(body)))
                    file.write(body)
            file.seek(0)
            while header := file.read(_LENGTH.size):
                body = file.read(_LENGTH.unpack(header)[0])
                yield BootstrapPart(state.epoch, state.lsn, state.chain, SCHEMA_VERSION, body, last=False)
        yield BootstrapPart(
            state.epoch, state.lsn, state.chain, SCHEMA_VERSION, encode_changes(()), last=True
        )

    def _bodies(self, connection: sa.Connection, held: HeldSchema) -> Iterator[bytes]:
        tables = self._registry.tables_in(connection, held.physical)
        physical = self._registry.physical_tables(held.physical, tuple(tables.values()))
        for name, table in tables.items():  # dataset_type comes first, and its rows make tables
            result = connection.execution_options(yield_per=_PART_ROWS).execute(sa.select(physical[name]))
            for rows in result.partitions(_PART_ROWS):
                columns = zip(*rows, strict=True)
                values = tuple(
                    stored_values(column.type, found)
                    for column, found in zip(table.stored, columns, strict=True)
                )
                yield from _bodies_of(Change(name, Operation.PUT, table.stored_names, values))

    def digest(self, wanted: DigestOf) -> DigestAnswer:
        """Digests of a schema that this registry holds, at one position."""
        return digest_schema(self._registry, self._registry.get(wanted.schema), wanted)

    def _check(self, schema: SchemaId, fingerprint: str) -> HeldSchema:
        held = self._registry.find(schema)
        if held is None or not held.owned:
            owned = ", ".join(str(h.schema) for h in self._registry.held() if h.owned)
            raise NotFoundError(
                f"site {self._registry.site} does not own schema {schema}", hint=f"it owns: {owned}"
            )
        if fingerprint != self._registry.universe.fingerprint:
            raise ConflictError(
                f"site {self._registry.site} has dimension universe {self._registry.universe.fingerprint}, "
                f"its follower {fingerprint or 'none'}",
                hint="make both registries with the same universe file",
            )
        return held


def _bodies_of(change: Change) -> Iterator[bytes]:
    body, count = encode_changes((change,)), change.row_count
    if len(body) <= _PART_BYTES or count == 1:
        yield body
        return
    for begin, end in ((0, count // 2), (count // 2, count)):
        yield from _bodies_of(change.part(begin, end))


def _check_position(connection: sa.Connection, held: HeldSchema, start: FollowFrom) -> str:
    """The log's epoch, if the follower's position is one of its history."""
    state = log_state(connection, held.physical)
    place = f"position {start.epoch or 'none'}:{start.lsn} of {start.follower}"
    copy = "copy the schema anew"
    if start.epoch and start.epoch != state.epoch:
        raise EpochError(f"{held.schema} has epoch {state.epoch}: {place} is of another log", hint=copy)
    if start.lsn > state.lsn:
        raise EpochError(f"the log of {held.schema} ends at {state.lsn}: {place} is past it", hint=copy)
    if _chain_at(connection, held, start, state) != start.chain:
        raise EpochError(f"{held.schema} has another history before {place}", hint=copy)
    return state.epoch


def _chain_at(connection: sa.Connection, held: HeldSchema, start: FollowFrom, state: LogState) -> bytes:
    """The chain hash at the follower's lsn; `LogGapError` when the log no longer reaches back to it."""
    if start.lsn == state.lsn:
        return state.chain
    first: Any = next(iter(read_entries(connection, held.physical, start.lsn, 1)), None)
    if first is None or first.lsn != start.lsn + 1:
        kept = "nothing" if first is None else f"entries from {first.lsn} on"
        raise LogGapError(
            f"the log of {held.schema} keeps {kept}, {start.follower} is at {start.lsn}",
            hint="copy the schema anew",
        )
    found = entry_chain(connection, held.physical, start.lsn)
    if found is not None:
        return found
    # the entry itself is gone, its successor tells what its hash was
    return start.chain if chain_hash(start.chain, first.digest) == first.chain else b""
