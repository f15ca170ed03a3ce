"""Proof that a replica equals its source, and what is wrong where it does not, while both go on.

The replica is read in one snapshot, at its position; the source digests its rows in another, at a later one. The log's
entries between the two, laid over the replica's rows, must give the source's: no luck, no pause and no second look
needed. Buckets whose digests differ are then fetched, and their rows compared one by one.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from federation.changelog import LogState, decode_changes, log_state
from federation.changelog.log import locked_state
from federation.changelog.replica_source import replica_source
from federation.errors import EpochError, LogGapError, NotFoundError, UserError
from federation.killpoints import killpoint
from federation.model.log_filter import LogFilter
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.replication.copies import BUCKET_COUNT, copy_replica
from federation.replication.copy_apply import Mended, mend_rows
from federation.replication.digests import DIGEST_BYTES, Sums, key_columns, key_text
from federation.replication.overlay import Overlay, read_log
from federation.replication.row_match import RowMatch, in_buckets
from federation.replication.scan import arrow_beside, scan_columns
from federation.replication.staged_copy import StagedCopy
from federation.replication.verify_report import Difference, RepairReport, TableCheck, VerifyReport
from federation.wire.messages import BootstrapFrom, DigestOf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import sqlalchemy as sa

    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.storage.postgres_arrow import ArrowConnection
    from federation.wire.client import SiteClient

    Columns = Sequence[Sequence[Any]]

__all__ = [
    "Difference",
    "RepairReport",
    "TableCheck",
    "VerifyReport",
    "chosen_replicas",
    "repair",
    "verify",
]

#: rows that are named; more are counted only
NAMED_MAX = 100_000
_TIMEOUT_S = 3600.0


def chosen_replicas(registry: Registry, name: str | None) -> tuple[SchemaId, ...]:
    """The replicas in a registry, or the one called ``name`` (``site/name``); `NotFoundError` when it has none such."""
    replicas = tuple(held.schema for held in registry.held() if not held.owned)
    if name is None:
        return replicas
    owner, _, schema = name.partition("/")
    wanted = SchemaId(owner, schema or owner)
    if wanted not in replicas:
        raise NotFoundError(
            f"site {registry.site} has no replica of {name}",
            hint="it has: " + (", ".join(map(str, replicas)) or "none"),
        )
    return (wanted,)


def verify(registry: Registry, client: SiteClient, schema: SchemaId) -> VerifyReport:
    """Compare the replica of ``schema`` in ``registry`` with its source behind ``client``.

    Raises `NotFoundError` when there is no replica here, `UnavailableError` when the source does not answer,
    `LimitError` when the replica is too far behind, `EpochError` or `LogGapError` when the source's log does not
    continue it.
    """
    return _Comparison(registry, client, schema).run()


def repair(registry: Registry, client: SiteClient, schema: SchemaId) -> RepairReport:
    """Make the rows of a replica that differ from its source's right, and touch no other.

    The replica keeps its position: rows that the log has yet to bring are left to it. Where the source's log does not
    continue the replica, what differs is copied, and the position becomes that of the copy. Raises what `verify` does
    but for that.
    """
    registry.check_writable()
    comparison = _Comparison(registry, client, schema)
    try:
        found = comparison.run()
    except (EpochError, LogGapError):
        report = copy_replica(registry, comparison.held, client, registry.site, comparison.filter)
        return RepairReport(schema, None, report.mended or {}, True, report.state.lsn)
    if found.is_equal:
        return RepairReport(schema, found, {}, False, found.replica_lsn)
    mended, lsn = comparison.mend()
    return RepairReport(schema, found, mended, False, lsn)


class _Comparison:
    """One replica and its source; ``overlay`` grows with the source's positions that are met."""

    def __init__(self, registry: Registry, client: SiteClient, schema: SchemaId) -> None:
        self._registry, self._client, self._schema = registry, client, schema
        self.held = held = registry.get(schema)
        if held.owned:
            raise UserError(f"{schema} is owned by {registry.site} itself", hint="name a replica")
        with registry.database.read((held.physical,)) as connection:
            self.filter = LogFilter()
            if registry.format_version >= 2:
                self.filter = replica_source(connection, held.physical).filter
        self._stale: dict[str, tuple[int, ...]] = {}
        self._overlay: Overlay | None = None

    def run(self) -> VerifyReport:
        """Compare everything."""
        registry, held = self._registry, self.held
        with (
            registry.database.read((held.physical,)) as connection,
            arrow_beside(registry.database, connection) as arrow,
        ):
            here = log_state(connection, held.physical)
            tables = registry.tables_in(connection, held.physical)
            overlay = self._overlay = Overlay(registry, self._schema, tables, here)
            asked = DigestOf(self._schema, bucket_count=BUCKET_COUNT, filter=self.filter)
            source = self._client.digest(asked, timeout_s=_TIMEOUT_S)
            if source.lsn < here.lsn:
                raise EpochError(
                    f"the log of {self._schema} ends at {source.lsn}, the replica is at {here.lsn}",
                    hint="run: federation replica verify --repair",
                )
            self._advance(source.lsn)
            rows = _Rows(registry, held, connection, tables, overlay, arrow)
            checks = []
            theirs = {found.table: found.row_count for found in source.tables}
            for name in [*theirs, *(name for name in overlay.tables if name not in theirs)]:
                check, stale = self._check(rows, name, theirs.get(name, 0), source.by_bucket.get(name))
                checks.append(check)
                if stale:
                    self._stale[name] = stale
            differences, count = self._named(rows) if self._stale else ((), 0)
        return VerifyReport(
            self._schema,
            source.epoch,
            source.lsn,
            tuple(checks),
            tuple(differences),
            here.lsn,
            count,
        )

    def _advance(self, lsn: int) -> None:
        overlay = self._overlay
        assert overlay is not None
        start = overlay.position
        for entry in read_log(self._client, self._registry, self._schema, start, lsn, self.filter):
            overlay.add(entry)

    def _check(
        self, rows: _Rows, name: str, row_count: int, digests: bytes | None
    ) -> tuple[TableCheck, tuple[int, ...]]:
        """One table, and the buckets in which it differs."""
        assert self._overlay is not None
        table = self._overlay.tables.get(name)
        mine, replica_row_count = bytes(DIGEST_BYTES * BUCKET_COUNT), 0
        if table is not None:  # else its declaration is missing, or the registry is of an older format
            sums = Sums(table, BUCKET_COUNT)
            for columns in rows.of(table):
                sums.add(columns)
            mine, replica_row_count = sums.digests(), sums.row_count
        digests = digests or bytes(len(mine))
        stale = tuple(
            bucket
            for bucket in range(BUCKET_COUNT)
            if mine[DIGEST_BYTES * bucket : DIGEST_BYTES * (bucket + 1)]
            != digests[DIGEST_BYTES * bucket : DIGEST_BYTES * (bucket + 1)]
        )
        return TableCheck(name, row_count, replica_row_count, not stale), stale

    def _fetched(self, position: LogState) -> StagedCopy:
        """The source's rows of the buckets that differ, as of now."""
        asked = BootstrapFrom(
            self._schema,
            self._registry.site,
            self._registry.universe.fingerprint,
            self.filter,
            bucket_count=BUCKET_COUNT,
            only=self._stale,
        )
        return StagedCopy(self._registry, self.held, self._client, asked, position, purpose="verify")

    def _named(self, rows: _Rows) -> tuple[list[Difference], int]:
        """The rows that differ, in order, up to `NAMED_MAX`, and how many there are."""
        assert self._overlay is not None
        found: list[Difference] = []
        count = 0
        with self._fetched(self._overlay.position) as staged:
            staged.receive()
            self._advance(staged.state().lsn)
            for name, buckets in sorted(self._stale.items()):
                table = self._overlay.tables.get(name)
                if table is None:  # with its declaration, which is named
                    continue
                match = RowMatch(table, in_buckets(table, rows.of(table), BUCKET_COUNT, buckets))
                for columns in _staged_rows(staged, table):
                    for kind, places in zip(("missing", "changed"), match.compare(columns), strict=True):
                        count += len(places)
                        found += _differences(table, columns, places, kind, NAMED_MAX - len(found))
                if match.extra_count:
                    count += match.extra_count
                    for columns in in_buckets(table, rows.of(table), BUCKET_COUNT, buckets):
                        places = match.extras(columns)
                        found += _differences(table, columns, places, "extra", NAMED_MAX - len(found))
            staged.discard()
        return sorted(found, key=lambda one: (one.table, one.key, one.kind)), count

    def mend(self) -> tuple[Mapping[str, Mended], int]:
        """Write the source's rows of the buckets that differ where they differ, at the replica's own position."""
        registry, held, overlay = self._registry, self.held, self._overlay
        assert overlay is not None
        with self._fetched(overlay.position) as staged:
            staged.receive()
            with registry.database.write(held.physical) as connection:
                here = locked_state(connection, held.physical)
                # the log from the replica's snapshot to whichever of the two is further now: rows that it
                # touches are, or will be, written by the follower
                self._advance(max(here.lsn, staged.state().lsn))
                stale = {
                    name: buckets for name, buckets in self._stale.items() if name not in overlay.emptied
                }
                mended = mend_rows(
                    registry,
                    held,
                    connection,
                    staged.bodies,
                    stale,
                    BUCKET_COUNT,
                    leave=overlay.untouched,
                )
                killpoint("repair.before_commit")
            killpoint("repair.after_commit")
            staged.discard()
        return mended, here.lsn


class _Rows:
    """The rows of a replica in one snapshot, with the entries applied that follow it."""

    def __init__(
        self,
        registry: Registry,
        held: HeldSchema,
        connection: sa.Connection,
        tables: dict[str, TableDef],
        overlay: Overlay,
        arrow: ArrowConnection | None,
    ) -> None:
        self._connection, self._tables, self._overlay, self._arrow = connection, tables, overlay, arrow
        self._physical = registry.physical_tables(held.physical, tuple(tables.values()))

    def of(self, table: TableDef) -> Iterator[Columns]:
        """Chunks of rows, none of them empty."""
        there = self._tables.get(table.name)
        chunks: Iterator[Columns] = iter(())
        if there is not None and table.name not in self._overlay.emptied:
            chunks = scan_columns(self._connection, self._physical[table.name], there, self._arrow)
        return self._overlay.over(table, chunks)


def _staged_rows(staged: StagedCopy, table: TableDef) -> Iterator[Columns]:
    for body in staged.bodies():
        for change in decode_changes(body):
            if change.table == table.name:
                yield change.values


def _differences(
    table: TableDef, columns: Columns, places: Sequence[int], kind: str, room: int
) -> list[Difference]:
    keys = key_columns(table, columns)
    return [
        Difference(
            table.name, key_text([_shown(table, number, key[place]) for number, key in enumerate(keys)]), kind
        )
        for place in places[: max(room, 0)]
    ]


def _shown(table: TableDef, number: int, value: Any) -> Any:
    """A value of a key as people write it."""
    is_uuid = table.column(table.key[number]).type is LogicalType.UUID
    return uuid.UUID(bytes=value) if is_uuid else value
