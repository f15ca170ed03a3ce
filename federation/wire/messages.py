"""What clients and servers exchange, as values; nothing above this package sees the generated messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from federation.model.log_filter import LogFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self
    from uuid import UUID

    import pyarrow as pa

    from federation.errors import FederationError
    from federation.model.change import LogEntry
    from federation.model.key_filter import KeyFilter
    from federation.model.logical import LogicalType
    from federation.model.position import Position, SchemaId

__all__ = [
    "Acknowledgement",
    "BootstrapFrom",
    "BootstrapPart",
    "BroughtFile",
    "BucketDigest",
    "Column",
    "DigestAnswer",
    "DigestOf",
    "ExecuteCall",
    "FileSlice",
    "FollowBatch",
    "FollowFrom",
    "FollowerStanding",
    "LogFilter",
    "RowDigest",
    "RowStream",
    "SchemaStatus",
    "SiteStatus",
    "TableDigest",
]


class Column(Protocol):
    """A named, typed column of an answer; a planner's output column is one."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> LogicalType | None: ...


class RowStream(Protocol):
    """Rows of one fragment as they arrive; `cancel`, from any thread, or leaving the context stops the site's work."""

    @property
    def positions(self) -> tuple[Position, ...]: ...
    @property
    def schema(self) -> pa.Schema: ...
    @property
    def byte_count(self) -> int: ...
    @property
    def site_seconds(self) -> float: ...
    def cancel(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[pa.RecordBatch]: ...


@attrs.frozen
class ExecuteCall:
    """One fragment for a site. ``row_count_max`` 0 leaves the site's own limit; ``is_active`` turns false when
    nobody waits any more; ``timeout_s`` is what is left of the caller's time, None without a limit.
    """

    sql: str
    columns: tuple[tuple[str, LogicalType], ...]
    keys: Mapping[str, pa.Table] = attrs.field(factory=dict)
    user: str = ""
    query_id: str = ""
    row_count_max: int = 0
    timeout_s: float | None = None
    is_active: Callable[[], bool] = attrs.field(default=lambda: True, eq=False)
    #: states of schemas that must be read, or the call be refused
    at: tuple[Position, ...] = ()
    #: of the statement's rows those are wanted that pass all of them
    filters: tuple[KeyFilter, ...] = ()


@attrs.frozen
class FollowerStanding:
    """What a follower of an owned schema lacks, by its last word ``heard_s`` ago.

    ``lag_bytes`` is an estimate; ``oldest_s`` the age of the first entry that it lacks. None: not known, or nothing.
    """

    name: str
    lsn: int
    lag_entries: int
    lag_bytes: int | None
    oldest_s: float | None
    heard_s: float


@attrs.frozen
class SchemaStatus:
    """How one schema stands at one site; ``staleness_s`` is None when it never was known to equal the owner's.

    ``lag_bytes`` estimates what the ``lag_entries`` that are missing take on the way, None where that is not known;
    ``path`` are the sites that entries last came through, the owner first; ``since_s`` for how long ``state`` is so.
    Of a schema that is owned or relayed ``first_lsn`` is the first entry that is still kept; of an owned one
    ``followers`` tell what each of them lacks.
    """

    schema: SchemaId
    owned: bool
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float | None
    state: str = "idle"
    detail: str = ""
    dataset_count: int = 0
    files_waiting: int = 0
    lag_entries: int = 0
    lag_bytes: int | None = None
    path: tuple[str, ...] = ()
    filter: LogFilter = attrs.field(factory=LogFilter)
    since_s: float = 0.0
    first_lsn: int = 0
    followers: tuple[FollowerStanding, ...] = ()


@attrs.frozen
class SiteStatus:
    """A site by its own account."""

    site: str
    software_version: str
    registry_kind: str
    universe: str
    schemas: tuple[SchemaStatus, ...]
    server_tai_ns: int


@attrs.frozen
class FileSlice:
    """The bytes of a dataset's file from an offset on; ``size_bytes`` and ``checksum`` are of the whole file."""

    dataset_id: UUID
    size_bytes: int
    checksum: str
    data: Iterator[bytes] = attrs.field(eq=False, repr=False)


@attrs.frozen
class BroughtFile:
    """What became of a file that was to be brought to a site: ``error`` says why it is not there."""

    dataset_id: UUID
    size_bytes: int = 0
    was_here: bool = False
    error: FederationError | None = None


@attrs.frozen
class FollowFrom:
    """Who follows which schema, and from where: ``epoch`` is empty where the follower has nothing yet.

    ``chain`` is empty where a reader that keeps no rows does not know it. One that ``takes_copy`` may be told that a
    copy is faster than the entries it asks for.
    """

    schema: SchemaId
    epoch: str
    lsn: int
    chain: bytes
    follower: str
    universe_fingerprint: str
    filter: LogFilter = attrs.field(factory=LogFilter)
    takes_copy: bool = False


@attrs.frozen
class FollowBatch:
    """Entries after ``prev_lsn``, where the chain hash is ``prev_chain``; none in a heartbeat.

    ``head_lsn`` is the end of the owner's log as known to the server, at ``head_tai_ns``; ``path`` the sites that the
    entries came through, the owner first and the server last.
    """

    epoch: str
    prev_lsn: int
    entries: Sequence[LogEntry]
    head_lsn: int
    server_tai_ns: int
    prev_chain: bytes = b""
    path: tuple[str, ...] = ()
    head_tai_ns: int = 0


@attrs.frozen
class Acknowledgement:
    """What a follower has durably applied."""

    schema: SchemaId
    follower: str
    epoch: str
    lsn: int


@attrs.frozen
class BootstrapFrom:
    """Who wants a copy of which schema.

    ``copy_id`` and ``after_part`` go on with a copy of which so many parts have arrived. With ``have`` (by table, the
    16-byte digests of ``bucket_count`` hash buckets of keys, one after the other) only what differs is sent, with
    ``only`` (by table) the rows of those buckets.
    """

    schema: SchemaId
    follower: str
    universe_fingerprint: str
    filter: LogFilter = attrs.field(factory=LogFilter)
    copy_id: str = ""
    after_part: int = 0
    bucket_count: int = 0
    have: Mapping[str, bytes] = attrs.field(factory=dict)
    only: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)


@attrs.frozen
class BootstrapPart:
    """Some rows of a schema as of one position: ``body`` is encoded changes, all of them puts.

    ``part`` numbers the parts of copy ``copy_id`` from 1. ``stale`` are the buckets whose rows those sent replace, by
    table, in the first part of an answer to `BootstrapFrom.have`; ``size_bytes`` is what the schema takes in the
    source's database, roughly.
    """

    epoch: str
    lsn: int
    chain: bytes
    schema_version: int
    body: bytes
    last: bool
    copy_id: str = ""
    part: int = 0
    body_digest: bytes = b""
    stale: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)
    size_bytes: int = 0


@attrs.frozen
class DigestOf:
    """What to digest: every table and ``bucket_count`` hash buckets of the keys of each; with ``table``, those of one;
    with ``buckets`` too, the single rows of those. With ``filter``, only of what a follower with it has.
    """

    schema: SchemaId
    table: str = ""
    bucket_count: int = 0
    buckets: tuple[int, ...] = ()
    filter: LogFilter = attrs.field(factory=LogFilter)


@attrs.frozen
class TableDigest:
    """All rows of one table."""

    table: str
    row_count: int
    digest: bytes


@attrs.frozen
class BucketDigest:
    """The rows whose keys fall into one hash bucket."""

    bucket: int
    row_count: int
    digest: bytes


@attrs.frozen
class RowDigest:
    """One row; ``key`` is its key values as JSON."""

    key: str
    digest: bytes


@attrs.frozen
class DigestAnswer:
    """Digests as of one position; ``by_bucket`` has 16 bytes a bucket for each table with rows."""

    epoch: str
    lsn: int
    tables: tuple[TableDigest, ...] = ()
    buckets: tuple[BucketDigest, ...] = ()
    rows: tuple[RowDigest, ...] = ()
    by_bucket: Mapping[str, bytes] = attrs.field(factory=dict)
