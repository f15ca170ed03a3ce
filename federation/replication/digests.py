"""Digests of rows, buckets and tables that are the same on every database.

A row's digest is the BLAKE2b of its stored values; those of several rows are added modulo 2**128, so that their order
does not matter.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from federation.errors import NotFoundError
from federation.replication.snapshots import stamped_snapshot
from federation.wire.messages import BucketDigest, DigestAnswer, RowDigest, TableDigest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.messages import DigestOf

__all__ = ["bucket_of", "digest_schema", "key_text", "row_digest"]

_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)
_READ_ROWS = 5000
_ENCODER = msgspec.msgpack.Encoder()


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return value.bytes
    # SQLite keeps no sign of a zero
    return 0.0 if isinstance(value, float) and value == 0.0 else value


def row_digest(values: Sequence[Any]) -> bytes:
    """16 bytes for the stored values of one row."""
    return hashlib.blake2b(_ENCODER.encode([*map(_plain, values)]), digest_size=_BYTES).digest()


def bucket_of(key: Sequence[Any], bucket_count: int) -> int:
    """The hash bucket that a key falls into."""
    return int.from_bytes(row_digest(key)[:8], "big") % bucket_count


def key_text(key: Sequence[Any]) -> str:
    """A key as JSON.

    >>> key_text(("LSSTCam", 7))
    '["LSSTCam", 7]'
    """
    return json.dumps(
        list(key), default=lambda value: value.hex() if isinstance(value, bytes) else str(value)
    )


class _Sum:
    """How many rows, and the sum of their digests."""

    def __init__(self) -> None:
        self.row_count, self._total = 0, 0

    def add(self, digest: bytes) -> None:
        self.row_count += 1
        self._total += int.from_bytes(digest, "big")

    @property
    def digest(self) -> bytes:
        return (self._total % _MODULUS).to_bytes(_BYTES, "big")


def _rows(connection: sa.Connection, physical: sa.Table) -> Iterator[Sequence[Any]]:
    result = connection.execution_options(yield_per=_READ_ROWS).execute(sa.select(physical))
    for rows in result.partitions(_READ_ROWS):
        yield from rows


def digest_schema(registry: Registry, held: HeldSchema, wanted: DigestOf) -> DigestAnswer:
    """The digests that ``wanted`` names, of a schema held here, with the position they are of."""
    with stamped_snapshot(registry, held) as (connection, state):
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        if not wanted.table:
            digests = []
            for name in tables:
                total = _Sum()
                for row in _rows(connection, physical[name]):
                    total.add(row_digest(row))
                digests.append(TableDigest(name, total.row_count, total.digest))
            return DigestAnswer(state.epoch, state.lsn, tables=tuple(digests))
        table = tables.get(wanted.table)
        if table is None:
            raise NotFoundError(
                f"{held.schema} has no table {wanted.table!r}", hint="tables: " + ", ".join(tables)
            )
        if wanted.buckets:
            rows = tuple(_row_digests(connection, table, physical[table.name], wanted))
            return DigestAnswer(state.epoch, state.lsn, rows=rows)
        buckets = _bucket_digests(connection, table, physical[table.name], wanted.bucket_count or 1)
        return DigestAnswer(state.epoch, state.lsn, buckets=buckets)


def _key_places(table: TableDef) -> list[int]:
    return [table.stored_names.index(name) for name in table.key]


def _bucket_digests(
    connection: sa.Connection, table: TableDef, physical: sa.Table, bucket_count: int
) -> tuple[BucketDigest, ...]:
    places, totals = _key_places(table), [_Sum() for _ in range(bucket_count)]
    for row in _rows(connection, physical):
        totals[bucket_of([row[place] for place in places], bucket_count)].add(row_digest(row))
    return tuple(BucketDigest(number, total.row_count, total.digest) for number, total in enumerate(totals))


def _row_digests(
    connection: sa.Connection, table: TableDef, physical: sa.Table, wanted: DigestOf
) -> Iterator[RowDigest]:
    places, buckets = _key_places(table), set(wanted.buckets)
    for row in _rows(connection, physical):
        key = [row[place] for place in places]
        if bucket_of(key, wanted.bucket_count or 1) in buckets:
            yield RowDigest(key_text(key), row_digest(row))
