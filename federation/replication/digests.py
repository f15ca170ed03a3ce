"""Digests of rows, buckets and tables that are the same on every database.

A row's digest is the BLAKE2b of its stored values in MessagePack, 16 bytes; those of several rows are added modulo
2**128, so that their order does not matter. A row's bucket comes from its key alone, by a mixing function for which
whole columns can be computed at once (SplitMix64's, https://prng.di.unimi.it/splitmix64.c).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from federation.errors import NotFoundError
from federation.model.log_filter import LogFilter
from federation.model.logical import LogicalType
from federation.replication.replica_tables import stored_form
from federation.replication.scan import scan_schema
from federation.replication.snapshots import stamped_snapshot
from federation.wire.messages import BucketDigest, DigestAnswer, RowDigest, TableDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import numpy.typing as npt
    import sqlalchemy as sa

    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import DigestOf

    Columns = Sequence[Sequence[Any]]
    Buckets = npt.NDArray[np.int64]

__all__ = [
    "BUCKET_COUNT_MAX",
    "DIGEST_BYTES",
    "Sums",
    "bucket_numbers",
    "digest_schema",
    "digest_tables",
    "key_columns",
    "key_digests",
    "key_text",
    "row_digests",
]

DIGEST_BYTES = 16
#: what a request may ask for: more would only cost memory
BUCKET_COUNT_MAX = 1 << 16
_EVERYTHING = LogFilter()
_ENCODER = msgspec.msgpack.Encoder()


def row_digests(table: TableDef, columns: Columns) -> bytes:
    """16 bytes for each row, one after the other; ``columns`` are the values of ``table.stored``."""
    made = [
        # SQLite keeps no sign of a zero
        [0.0 if value == 0.0 else value for value in values] if kept.type is LogicalType.FLOAT64 else values
        for kept, values in zip(table.stored, columns, strict=True)
    ]
    return _digests(made)


def key_digests(columns: Columns) -> bytes:
    """16 bytes for each key, one after the other; ``columns`` are those of `key_columns`."""
    return _digests(columns)


def _digests(columns: Columns) -> bytes:
    encode, blake2b = _ENCODER.encode, hashlib.blake2b
    return b"".join(
        [blake2b(encode(row), digest_size=DIGEST_BYTES).digest() for row in zip(*columns, strict=True)]
    )


def key_columns(table: TableDef, columns: Columns) -> list[Sequence[Any]]:
    """Of the values of ``table.stored`` those of the key, in its order."""
    return [columns[table.stored_names.index(name)] for name in table.key]


def bucket_numbers(table: TableDef, columns: Columns, bucket_count: int) -> Buckets:
    """The hash bucket of each row; ``columns`` are those of `key_columns`."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for name, values in zip(table.key, columns, strict=True):
        mixed = _mix(mixed ^ _numbers(table.column(name).type, values))
    return (mixed % np.uint64(bucket_count)).astype(np.int64)


def _numbers(type_: LogicalType, values: Sequence[Any]) -> npt.NDArray[np.uint64]:
    if type_ is LogicalType.UUID:
        return np.frombuffer(b"".join(values), ">u8")[1::2].astype(np.uint64)
    if type_ is LogicalType.STRING:
        return np.fromiter((zlib.crc32(value.encode()) for value in values), np.uint64, len(values))
    if type_ is LogicalType.BYTES:
        return np.fromiter(map(zlib.crc32, values), np.uint64, len(values))
    if type_ is LogicalType.FLOAT64:
        return (np.asarray(values, np.float64) + 0.0).view(np.uint64)
    return np.asarray(values, np.int64).view(np.uint64)


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def key_text(key: Sequence[Any]) -> str:
    """A key as JSON.

    >>> key_text(("LSSTCam", 7))
    '["LSSTCam", 7]'
    """
    return json.dumps(
        list(key), default=lambda value: value.hex() if isinstance(value, bytes) else str(value)
    )


class Sums:
    """How many rows each of ``bucket_count`` buckets of one table has, and the sums of their digests.

    The form of the table counts too: rows of a table that was declared anew with other columns are not alike.
    """

    def __init__(self, table: TableDef, bucket_count: int) -> None:
        self.table, self.bucket_count = table, bucket_count
        form = repr(stored_form(table)).encode()
        self._form = int.from_bytes(hashlib.blake2b(form, digest_size=DIGEST_BYTES).digest(), "big")
        self.row_counts = np.zeros(bucket_count, np.int64)
        # four 32-bit limbs a bucket, in 64 bits: no carry is lost below 2**32 rows
        self._limbs = np.zeros((bucket_count, DIGEST_BYTES // 4), np.uint64)

    @property
    def row_count(self) -> int:
        return int(self.row_counts.sum())

    def add(self, columns: Columns) -> None:
        """Count in some rows; ``columns`` are the values of ``table.stored``."""
        table, count = self.table, self.bucket_count
        limbs = np.frombuffer(row_digests(table, columns), ">u4").reshape(-1, DIGEST_BYTES // 4)
        if count == 1:
            self.row_counts[0] += len(limbs)
            self._limbs[0] += limbs.sum(axis=0, dtype=np.uint64)
            return
        buckets = bucket_numbers(table, key_columns(table, columns), count)
        self.row_counts += np.bincount(buckets, minlength=count)
        for place in range(DIGEST_BYTES // 4):
            # a float is exact up to 2**53, which 2**21 limbs do not reach
            added = np.bincount(buckets, limbs[:, place].astype(np.float64), count)
            self._limbs[:, place] += added.astype(np.uint64)

    def digests(self) -> bytes:
        """The digest of each bucket, one after the other."""
        empty = bytes(DIGEST_BYTES)
        return b"".join(
            self._folded(limbs) if count else empty
            for limbs, count in zip(self._limbs, self.row_counts.tolist(), strict=True)
        )

    def total(self) -> bytes:
        """The digest of all rows."""
        return (
            self._folded(self._limbs.sum(axis=0, dtype=np.uint64)) if self.row_count else bytes(DIGEST_BYTES)
        )

    def _folded(self, limbs: npt.NDArray[np.uint64]) -> bytes:
        total = 0
        for limb in limbs.tolist():
            total = (total << 32) + limb
        return ((total + self._form) % (1 << 8 * DIGEST_BYTES)).to_bytes(DIGEST_BYTES, "big")


def digest_tables(
    registry: Registry,
    connection: sa.Connection,
    held: HeldSchema,
    bucket_count: int,
    names: Collection[str] | None = None,
    wanted: LogFilter = _EVERYTHING,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Sums]:
    """By table the sums of its buckets, as an open connection sees them; ``names`` chooses tables, ``wanted`` rows.

    ``check`` is called now and then and may raise.
    """
    tables = registry.tables_in(connection, held.physical)
    found = {name: Sums(tables[name], bucket_count) for name in tables if names is None or name in names}
    for table, columns in scan_schema(registry, connection, held, names, wanted, check):
        found[table.name].add(columns)
    return found


def digest_schema(registry: Registry, held: HeldSchema, wanted: DigestOf) -> DigestAnswer:
    """The digests that ``wanted`` names, of a schema held here, with the position they are of.

    Every table is read once; without ``wanted.table`` its digest and those of its buckets come together.
    """
    bucket_count = max(1, min(wanted.bucket_count, BUCKET_COUNT_MAX))
    with stamped_snapshot(registry, held) as (connection, state):
        if not wanted.table:
            every = digest_tables(registry, connection, held, bucket_count, wanted=wanted.filter)
            return DigestAnswer(
                state.epoch,
                state.lsn,
                tables=tuple(TableDigest(name, sums.row_count, sums.total()) for name, sums in every.items()),
                by_bucket={name: sums.digests() for name, sums in every.items() if sums.row_count}
                if wanted.bucket_count
                else {},
            )
        tables = registry.tables_in(connection, held.physical)
        table = tables.get(wanted.table)
        if table is None:
            raise NotFoundError(
                f"{held.schema} has no table {wanted.table!r}", hint="tables: " + ", ".join(tables)
            )
        if wanted.buckets:
            chosen = np.asarray(wanted.buckets, np.int64)
            rows: list[RowDigest] = []
            for _, columns in scan_schema(registry, connection, held, [table.name], wanted.filter):
                rows += _row_digests(table, columns, bucket_count, chosen)
            return DigestAnswer(state.epoch, state.lsn, rows=tuple(rows))
        sums = digest_tables(registry, connection, held, bucket_count, [table.name], wanted.filter)[
            table.name
        ]
        digests = sums.digests()
        buckets = tuple(
            BucketDigest(number, int(count), digests[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)])
            for number, count in enumerate(sums.row_counts)
        )
        return DigestAnswer(state.epoch, state.lsn, buckets=buckets)


def _row_digests(
    table: TableDef, columns: Columns, bucket_count: int, buckets: Buckets
) -> Iterator[RowDigest]:
    keys = key_columns(table, columns)
    places = np.flatnonzero(np.isin(bucket_numbers(table, keys, bucket_count), buckets)).tolist()
    digests = row_digests(table, [[column[place] for place in places] for column in columns])
    for number, place in enumerate(places):
        yield RowDigest(
            key_text([column[place] for column in keys]),
            digests[DIGEST_BYTES * number : DIGEST_BYTES * (number + 1)],
        )
