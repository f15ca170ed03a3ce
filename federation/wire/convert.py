"""Generated messages to and from the values of `federation.wire.messages`."""

from __future__ import annotations

import uuid
from typing import Any

from federation.errors import BY_CODE, FederationError
from federation.model.position import Position, SchemaId
from federation.wire.entries import pack_entries, unpack_entries
from federation.wire.messages import (
    BootstrapFrom,
    BootstrapPart,
    BroughtFile,
    BucketDigest,
    DigestAnswer,
    FollowBatch,
    FollowerStanding,
    LogFilter,
    RowDigest,
    SchemaStatus,
    SiteStatus,
    TableDigest,
)
from federation.wire.v1 import log_pb2, query_pb2, site_pb2

__all__ = [
    "batch_in",
    "batch_out",
    "bootstrap_in",
    "bootstrap_out",
    "brought_in",
    "brought_out",
    "digest_in",
    "digest_out",
    "filter_in",
    "filter_out",
    "part_in",
    "part_out",
    "position_in",
    "position_out",
    "status_in",
    "status_out",
]


def position_out(position: Position) -> Any:
    """A position as its message."""
    return query_pb2.SchemaPosition(
        site=position.site, schema=position.schema, epoch=position.epoch, lsn=position.lsn
    )


def position_in(message: Any) -> Position:
    """A position from its message."""
    return Position(message.site, message.schema, message.epoch, message.lsn)


def status_out(status: SiteStatus) -> Any:
    """A site's status as its message."""
    schemas = [
        site_pb2.SchemaStatus(
            site=held.schema.site,
            schema=held.schema.name,
            owned=held.owned,
            epoch=held.epoch,
            lsn=held.lsn,
            head_lsn=held.head_lsn,
            staleness_s=-1.0 if held.staleness_s is None else held.staleness_s,
            state=held.state,
            detail=held.detail,
            dataset_count=held.dataset_count,
            files_waiting=held.files_waiting,
            lag_entries=held.lag_entries,
            lag_bytes=-1 if held.lag_bytes is None else held.lag_bytes,
            path=held.path,
            filter=filter_out(held.filter),
            since_s=held.since_s,
            first_lsn=held.first_lsn,
            followers=[_follower_out(one) for one in held.followers],
        )
        for held in status.schemas
    ]
    return site_pb2.StatusResponse(
        site=status.site,
        software_version=status.software_version,
        registry_kind=status.registry_kind,
        universe=status.universe,
        schemas=schemas,
        server_tai_ns=status.server_tai_ns,
    )


def _follower_out(one: FollowerStanding) -> Any:
    return site_pb2.FollowerStanding(
        name=one.name,
        lsn=one.lsn,
        lag_entries=one.lag_entries,
        lag_bytes=-1 if one.lag_bytes is None else one.lag_bytes,
        oldest_s=-1.0 if one.oldest_s is None else one.oldest_s,
        heard_s=one.heard_s,
    )


def _follower_in(message: Any) -> FollowerStanding:
    return FollowerStanding(
        message.name,
        message.lsn,
        message.lag_entries,
        None if message.lag_bytes < 0 else message.lag_bytes,
        None if message.oldest_s < 0 else message.oldest_s,
        message.heard_s,
    )


def status_in(message: Any) -> SiteStatus:
    """A site's status from its message."""
    schemas = tuple(
        SchemaStatus(
            SchemaId(held.site, held.schema),
            held.owned,
            held.epoch,
            held.lsn,
            held.head_lsn,
            None if held.staleness_s < 0 else held.staleness_s,
            held.state,
            held.detail,
            held.dataset_count,
            held.files_waiting,
            held.lag_entries,
            None if held.lag_bytes < 0 else held.lag_bytes,
            tuple(held.path),
            filter_in(held.filter),
            held.since_s,
            held.first_lsn,
            tuple(_follower_in(one) for one in held.followers),
        )
        for held in message.schemas
    )
    return SiteStatus(
        message.site,
        message.software_version,
        message.registry_kind,
        message.universe,
        schemas,
        message.server_tai_ns,
    )


def batch_out(batch: FollowBatch) -> Any:
    """Entries of a log as their message."""
    return log_pb2.FollowResponse(
        epoch=batch.epoch,
        prev_lsn=batch.prev_lsn,
        entries=pack_entries(batch.entries),
        head_lsn=batch.head_lsn,
        server_tai_ns=batch.server_tai_ns,
        prev_chain=batch.prev_chain,
        path=batch.path,
        head_tai_ns=batch.head_tai_ns,
    )


def batch_in(message: Any) -> FollowBatch:
    """Entries of a log from their message."""
    return FollowBatch(
        message.epoch,
        message.prev_lsn,
        unpack_entries(message.entries),
        message.head_lsn,
        message.server_tai_ns,
        message.prev_chain,
        tuple(message.path),
        message.head_tai_ns,
    )


def filter_out(filter_: LogFilter) -> Any:
    """What is followed as its message."""
    return log_pb2.Filter(
        tables=filter_.tables, dataset_types=filter_.dataset_types, collections=filter_.collections
    )


def filter_in(message: Any) -> LogFilter:
    """What is followed from its message."""
    return LogFilter(tuple(message.tables), tuple(message.dataset_types), tuple(message.collections))


def bootstrap_out(start: BootstrapFrom) -> Any:
    """Who wants a copy of what as its message."""
    return log_pb2.BootstrapRequest(
        site=start.schema.site,
        schema=start.schema.name,
        follower=start.follower,
        universe_fingerprint=start.universe_fingerprint,
        filter=filter_out(start.filter),
        copy_id=start.copy_id,
        after_part=start.after_part,
        bucket_count=start.bucket_count,
        have=[log_pb2.TableBuckets(table=table, digests=digests) for table, digests in start.have.items()],
        only=[log_pb2.StaleBuckets(table=table, buckets=buckets) for table, buckets in start.only.items()],
    )


def bootstrap_in(message: Any) -> BootstrapFrom:
    """Who wants a copy of what from its message."""
    return BootstrapFrom(
        SchemaId(message.site, message.schema),
        message.follower,
        message.universe_fingerprint,
        filter_in(message.filter),
        message.copy_id,
        message.after_part,
        message.bucket_count,
        {one.table: one.digests for one in message.have},
        {one.table: tuple(one.buckets) for one in message.only},
    )


def brought_out(file: BroughtFile) -> Any:
    """What became of a file as its message."""
    return site_pb2.BroughtFile(
        dataset_id=file.dataset_id.bytes,
        size_bytes=file.size_bytes,
        was_here=file.was_here,
        error_code=file.error.code if file.error else "",
        error_message=file.error.message if file.error else "",
        error_hint=file.error.hint if file.error else "",
    )


def brought_in(message: Any) -> BroughtFile:
    """What became of a file from its message."""
    error = None
    if message.error_code:
        kind = BY_CODE.get(message.error_code, FederationError)
        error = kind(message.error_message, hint=message.error_hint)
    return BroughtFile(uuid.UUID(bytes=message.dataset_id), message.size_bytes, message.was_here, error)


def part_out(part: BootstrapPart) -> Any:
    """Part of a copy as its message."""
    return log_pb2.BootstrapResponse(
        epoch=part.epoch,
        lsn=part.lsn,
        chain=part.chain,
        schema_version=part.schema_version,
        body=part.body,
        last=part.last,
        copy_id=part.copy_id,
        part=part.part,
        body_digest=part.body_digest,
        stale=[log_pb2.StaleBuckets(table=table, buckets=buckets) for table, buckets in part.stale.items()],
        size_bytes=part.size_bytes,
    )


def part_in(message: Any) -> BootstrapPart:
    """Part of a copy from its message."""
    return BootstrapPart(
        message.epoch,
        message.lsn,
        message.chain,
        message.schema_version,
        message.body,
        message.last,
        message.copy_id,
        message.part,
        message.body_digest,
        {one.table: tuple(one.buckets) for one in message.stale},
        message.size_bytes,
    )


def digest_out(answer: DigestAnswer) -> Any:
    """Digests as their message."""
    return log_pb2.DigestResponse(
        epoch=answer.epoch,
        lsn=answer.lsn,
        tables=[
            log_pb2.TableDigest(table=t.table, row_count=t.row_count, digest=t.digest) for t in answer.tables
        ],
        buckets=[
            log_pb2.BucketDigest(bucket=b.bucket, row_count=b.row_count, digest=b.digest)
            for b in answer.buckets
        ],
        rows=[log_pb2.RowDigest(key=r.key, digest=r.digest) for r in answer.rows],
        by_bucket=[
            log_pb2.TableBuckets(table=table, digests=digests) for table, digests in answer.by_bucket.items()
        ],
    )


def digest_in(message: Any) -> DigestAnswer:
    """Digests from their message."""
    return DigestAnswer(
        message.epoch,
        message.lsn,
        tuple(TableDigest(t.table, t.row_count, t.digest) for t in message.tables),
        tuple(BucketDigest(b.bucket, b.row_count, b.digest) for b in message.buckets),
        tuple(RowDigest(r.key, r.digest) for r in message.rows),
        {one.table: one.digests for one in message.by_bucket},
    )
