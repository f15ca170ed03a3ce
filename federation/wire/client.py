"""A site as its peers see it: one gRPC channel, with values in and out and errors as the site raised them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from federation.wire.arrow import arrow_schema, column_pairs, encode_keys, encode_schema
from federation.wire.catalog import decode_catalog
from federation.wire.convert import (
    batch_in,
    bootstrap_out,
    brought_in,
    digest_in,
    filter_out,
    part_in,
    status_in,
)
from federation.wire.errors import from_rpc
from federation.wire.streams import ExecuteStream, FetchStream, ResponseStream
from federation.wire.v1 import log_pb2, log_pb2_grpc, query_pb2, query_pb2_grpc, site_pb2, site_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    import pyarrow as pa

    from federation.model.catalog import SiteCatalog
    from federation.wire.messages import (
        Acknowledgement,
        BootstrapFrom,
        BootstrapPart,
        BroughtFile,
        Column,
        DigestAnswer,
        DigestOf,
        FileSlice,
        FollowBatch,
        FollowFrom,
        SiteStatus,
    )

__all__ = ["MESSAGE_BYTES_MAX", "SiteClient"]

T = TypeVar("T")

MESSAGE_BYTES_MAX = 64 << 20
#: time for a file to be sent and kept
STORE_S = 3600.0
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # a site that comes back is found within seconds, not after the default of up to two minutes
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # sites are told apart by address only; a proxy of the environment is for the web
    ("grpc.enable_http_proxy", 0),
)


class SiteClient:
    """Calls to one site, for use by several threads; ``timeout_s`` bounds calls that are given no time."""

    def __init__(self, site: str, address: str, timeout_s: float = 10.0) -> None:
        self.site, self.address, self.timeout_s = site, str(address), timeout_s
        self._channel = grpc.insecure_channel(self.address, options=_OPTIONS)
        self._query = query_pb2_grpc.QueryStub(self._channel)
        self._log = log_pb2_grpc.ChangeLogStub(self._channel)
        self._site = site_pb2_grpc.SiteStub(self._channel)

    def get_catalog(self, known_version: str = "") -> SiteCatalog | None:
        """What the site holds; None when that is still ``known_version``."""
        request = query_pb2.GetCatalogRequest(known_version=known_version)
        response = self._unary(self._query.GetCatalog, request)
        return decode_catalog(response.catalog) if response.catalog else None

    def status(self) -> SiteStatus:
        """The site by its own account."""
        return status_in(self._unary(self._site.Status, site_pb2.StatusRequest()))

    def execute(
        self,
        sql: str,
        columns: Sequence[Column],
        keys: Mapping[str, pa.Array] | None = None,
        *,
        user: str = "",
        query_id: str = "",
        row_count_max: int = 0,
        timeout_s: float | None = None,
    ) -> ExecuteStream:
        """Run one fragment; use the result as a context and iterate over its batches."""
        schema = arrow_schema(column_pairs(columns, sql))
        request = query_pb2.ExecuteRequest(
            sql=sql,
            schema=encode_schema(schema),
            keys=[
                query_pb2.KeyTable(name=name, arrow=encode_keys(values))
                for name, values in (keys or {}).items()
            ],
            user=user,
            query_id=query_id,
            row_count_max=row_count_max,
        )
        return ExecuteStream(self._stream(self._query.Execute, request, _same, timeout_s, sql), schema)

    def fetch(self, dataset_id: UUID, offset: int = 0) -> FetchStream:
        """The bytes of a dataset's file from ``offset`` on."""
        request = site_pb2.FetchRequest(dataset_id=dataset_id.bytes, offset=offset)
        return FetchStream(self._stream(self._site.Fetch, request, _same))

    def bring(self, ids: Iterable[UUID]) -> ResponseStream[BroughtFile]:
        """Let the site bring the files of these datasets to itself; tells of each."""
        request = site_pb2.BringRequest(dataset_ids=[one.bytes for one in ids])
        return self._stream(self._site.Bring, request, brought_in)

    def store(self, file: FileSlice, formatter: str | None = None) -> BroughtFile:
        """Send the site a whole file of a dataset that it knows; it is there, verified, when this returns."""
        return brought_in(self._unary(self._site.Store, _file_messages(file, formatter), STORE_S))

    def follow(self, start: FollowFrom) -> ResponseStream[FollowBatch]:
        """Entries after a position and heartbeats, until `ResponseStream.cancel` or an error."""
        request = log_pb2.FollowRequest(
            site=start.schema.site,
            schema=start.schema.name,
            epoch=start.epoch,
            lsn=start.lsn,
            chain=start.chain,
            follower=start.follower,
            universe_fingerprint=start.universe_fingerprint,
            filter=filter_out(start.filter),
        )
        return self._stream(self._log.Follow, request, batch_in)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Say what was durably applied here."""
        request = log_pb2.AcknowledgeRequest(
            site=acknowledgement.schema.site,
            schema=acknowledgement.schema.name,
            follower=acknowledgement.follower,
            epoch=acknowledgement.epoch,
            lsn=acknowledgement.lsn,
        )
        self._unary(self._log.Acknowledge, request)

    def bootstrap(self, start: BootstrapFrom) -> ResponseStream[BootstrapPart]:
        """Rows of one schema as of one position: all, or those that differ from what the follower has."""
        return self._stream(self._log.Bootstrap, bootstrap_out(start), part_in)

    def digest(self, wanted: DigestOf, timeout_s: float | None = None) -> DigestAnswer:
        """Digests of tables, of buckets of keys, or of rows."""
        request = log_pb2.DigestRequest(
            site=wanted.schema.site,
            schema=wanted.schema.name,
            table=wanted.table,
            bucket_count=wanted.bucket_count,
            buckets=wanted.buckets,
            filter=filter_out(wanted.filter),
        )
        return digest_in(self._unary(self._log.Digest, request, timeout_s))

    def close(self) -> None:
        """Close the channel; open streams end."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _unary(self, method: Any, request: Any, timeout_s: float | None = None) -> Any:
        try:
            return method(request, timeout=timeout_s or self.timeout_s)
        except grpc.RpcError as error:
            raise from_rpc(error, self.site, self.address) from error

    def _stream(
        self,
        method: Any,
        request: Any,
        convert: Callable[[Any], T],
        timeout_s: float | None = None,
        sql: str = "",
    ) -> ResponseStream[T]:
        call = method(request, timeout=timeout_s)
        return ResponseStream(call, convert, self.site, self.address, sql)


def _file_messages(file: FileSlice, formatter: str | None) -> Iterator[Any]:
    yield site_pb2.StoreRequest(
        dataset_id=file.dataset_id.bytes,
        size_bytes=file.size_bytes,
        checksum=file.checksum,
        formatter=formatter or "",
    )
    for data in file.data:
        yield site_pb2.StoreRequest(data=data)


def _same(message: Any) -> Any:
    return message
