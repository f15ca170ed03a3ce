"""What clients and servers exchange, as values; nothing above this package sees the generated messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self
    from uuid import UUID

    import pyarrow as pa

    from federation.model.change import LogEntry
    from federation.model.logical import LogicalType
    from federation.model.position import Position, SchemaId

__all__ = [
    "BootstrapFrom",
    "BootstrapPart",
    "BucketDigest",
    "Column",
    "DigestAnswer",
    "DigestOf",
    "ExecuteCall",
    "FileSlice",
    "FollowBatch",
    "FollowFrom",
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
    """Rows of one fragment as they arrive; leaving the context stops the site's work."""

    @property
    def positions(self) -> tuple[Position, ...]: ...
    @property
    def schema(self) -> pa.Schema: ...
    @property
    def byte_count(self) -> int: ...
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
    keys: Mapping[str, pa.Array] = attrs.field(factory=dict)
    user: str = ""
    query_id: str = ""
    row_count_max: int = 0
    timeout_s: float | None = None
    is_active: Callable[[], bool] = attrs.field(default=lambda: True, eq=False)


@attrs.frozen
class SchemaStatus:
    """How one schema stands at one site; ``staleness_s`` is None when it never was known to equal the owner's."""

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
class FollowFrom:
    """Who follows which schema, and from where: ``epoch`` is empty where the follower has nothing yet."""

    schema: SchemaId
    epoch: str
    lsn: int
    chain: bytes
    follower: str
    universe_fingerprint: str


@attrs.frozen
class FollowBatch:
    """Entries after ``prev_lsn``; none in a heartbeat, which still tells the owner's head."""

    epoch: str
    prev_lsn: int
    entries: Sequence[LogEntry]
    head_lsn: int
    server_tai_ns: int


@attrs.frozen
class BootstrapFrom:
    """Who wants a copy of which schema."""

    schema: SchemaId
    follower: str
    universe_fingerprint: str


@attrs.frozen
class BootstrapPart:
    """Some rows of a schema as of one position: ``body`` is encoded changes, all of them puts."""

    epoch: str
    lsn: int
    chain: bytes
    schema_version: int
    body: bytes
    last: bool


@attrs.frozen
class DigestOf:
    """What to digest: every table; with ``table``, ``bucket_count`` hash buckets of its keys; with ``buckets`` too,
    the single rows of those.
    """

    schema: SchemaId
    table: str = ""
    bucket_count: int = 0
    buckets: tuple[int, ...] = ()


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
    """Digests as of one position."""

    epoch: str
    lsn: int
    tables: tuple[TableDigest, ...] = ()
    buckets: tuple[BucketDigest, ...] = ()
    rows: tuple[RowDigest, ...] = ()
