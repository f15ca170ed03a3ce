"""A site as its peers see it: one gRPC channel, with values in and out and errors as the site raised them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs
import grpc

from federation.errors import ConfigError, CorruptionError
from federation.request_context import current_request, new_request_id
from federation.wire.arrow import arrow_schema, column_pairs, encode_schema
from federation.wire.catalog import decode_catalog
from federation.wire.catalog_parts import decode_statistics, statistics_of, with_state, with_statistics
from federation.wire.channel import MESSAGE_BYTES_MAX, SiteChannel
from federation.wire.convert import (
    batch_in,
    bootstrap_out,
    brought_in,
    digest_in,
    filter_out,
    part_in,
    position_out,
    status_in,
)
from federation.wire.errors import from_rpc
from federation.wire.interceptors import request_metadata
from federation.wire.keys import encode_keys, filters_out
from federation.wire.pace import Pace
from federation.wire.streams import ExecuteStream, FetchStream, ResponseStream
from federation.wire.v1 import auth_pb2, log_pb2, query_pb2, site_pb2
from federation.wire.walks import answer_in, call_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    import pyarrow as pa

    from federation.config.security import TlsConfig
    from federation.model.catalog import SiteCatalog
    from federation.model.key_filter import KeyFilter
    from federation.model.position import Position
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
    from federation.wire.walks import WalkAnswer, WalkCall

__all__ = ["MESSAGE_BYTES_MAX", "SiteClient"]

T = TypeVar("T")

#: time for a file to be sent and kept
STORE_S = 3600.0


class SiteClient:
    """Calls to one site, for use by several threads; ``timeout_s`` bounds calls that are given no time.

    With ``tls`` both ends prove who they are: the site must have the certificate of its name. Files that change are
    used from the next call on. ``token`` gives the token of a person, on whose behalf the calls are; ``user`` says so
    of calls that have no user of their own, and is believed of sites.
    """

    def __init__(
        self,
        site: str,
        address: str,
        timeout_s: float = 10.0,
        *,
        tls: TlsConfig | None = None,
        token: Callable[[], str] | None = None,
        user: str = "",
    ) -> None:
        self.site, self.address, self.timeout_s, self.user = site, str(address), timeout_s, user
        if token is not None and tls is None:
            raise ConfigError(
                f"a token is not sent to site {site} over a connection that is not protected",
                hint="add [tls] to the site file, or leave out the token",
            )
        self._token = token
        self._channel = SiteChannel(site, self.address, tls)
        self._pace = Pace()
        #: the last catalog by user, of which a site sends only what has changed
        self._catalogs: dict[str, SiteCatalog] = {}

    @property
    def is_near(self) -> bool:
        """Whether the site has answered so quickly that waiting for it costs less than the work of another call."""
        return self._pace.is_near

    @property
    def _query(self) -> Any:
        return self._channel.stubs().query

    @property
    def _log(self) -> Any:
        return self._channel.stubs().log

    @property
    def _site(self) -> Any:
        return self._channel.stubs().site

    def get_catalog(self, known_version: str = "", user: str = "") -> SiteCatalog | None:
        """What the site holds, as the user may see it; None when that is still ``known_version``."""
        held = self._catalogs.get(user)
        request = self._catalog_request(known_version, user, held)
        return self._catalog(self._unary(self._query.GetCatalog, request), user, held)

    def _catalog_request(self, known_version: str, user: str, held: SiteCatalog | None) -> Any:
        return query_pb2.GetCatalogRequest(
            known_version=known_version,
            user=user or self.user,
            known_layout=(held.layout if held else "") or "-",
            known_statistics=held.statistics if held else "",
        )

    def _catalog(self, response: Any, user: str, held: SiteCatalog | None) -> SiteCatalog | None:
        """The catalog that a site answers to who has ``held``; None when it is the known one."""
        if not response.catalog and not response.state:
            return None
        layout = decode_catalog(response.catalog) if response.catalog else held
        if layout is None:
            raise CorruptionError(
                f"site {self.site} left the tables out of its catalog", hint="bring both sites to one version"
            )
        if not response.state:
            return layout
        statistics = decode_statistics(response.statistics) if response.statistics else None
        if statistics is None and held is not None:
            layout = with_statistics(layout, statistics_of(held), held.statistics)
        elif statistics is not None:
            layout = with_statistics(layout, statistics, response.statistics_version)
        catalog = with_state(layout, response.state, response.version, response.layout)
        self._catalogs[user] = catalog
        return catalog

    def status(self) -> SiteStatus:
        """The site by its own account."""
        return status_in(self._unary(self._site.Status, site_pb2.StatusRequest(user=self.user)))

    def execute(
        self,
        sql: str,
        columns: Sequence[Column],
        keys: Mapping[str, pa.Table] | None = None,
        *,
        user: str = "",
        query_id: str = "",
        row_count_max: int = 0,
        timeout_s: float | None = None,
        at: Sequence[Position] = (),
        filters: Sequence[KeyFilter] = (),
        with_catalog: bool = False,
    ) -> ExecuteStream:
        """Run one fragment; use the result as a context and iterate over its batches.

        With ``with_catalog`` the site's catalog, as the user may see it, comes with its first word: that takes a third
        of the time of a call of its own. Nothing comes of a site that was never asked for it.
        """
        held = self._catalogs.get(user) if with_catalog else None
        schema = arrow_schema(column_pairs(columns, sql))
        request = query_pb2.ExecuteRequest(
            sql=sql,
            schema=encode_schema(schema),
            keys=[
                query_pb2.KeyTable(name=name, arrow=encode_keys(name, values))
                for name, values in (keys or {}).items()
            ],
            user=user or self.user,
            query_id=query_id,
            row_count_max=row_count_max,
            at=[position_out(position) for position in at],
            compression=self._pace.compression,
            catalog=None if held is None else self._catalog_request(held.version, user, held),
            filters=filters_out(filters),
        )
        # statement and columns are as long as some rows; keys are compressed already, and filters cannot be
        is_packed = self._pace.compression == "zstd" and not request.keys and not filters
        codec = grpc.Compression.Gzip if is_packed else None
        messages = self._stream(self._query.Execute, request, _same, timeout_s, sql, codec)
        stream = ExecuteStream(messages, schema, lambda response: self._catalog(response, user, held) or held)
        stream.byte_count = sum(map(len, [key.arrow for key in request.keys] + [one.bits for one in filters]))
        return stream

    def walk(self, call: WalkCall) -> WalkAnswer:
        """What the site knows to be upstream or downstream of datasets."""
        asked = attrs.evolve(call, user=call.user or self.user)
        with self._stream(self._channel.stubs().lineage.Walk, call_out(asked), _same) as messages:
            return answer_in(messages, self.site, with_types=bool(call.stop_at))

    def fetch(self, dataset_id: UUID, offset: int = 0) -> FetchStream:
        """The bytes of a dataset's file from ``offset`` on."""
        request = site_pb2.FetchRequest(dataset_id=dataset_id.bytes, offset=offset, user=self.user)
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
            takes_copy=start.takes_copy,
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

    def revoked_tokens(self) -> tuple[str, ...]:
        """Ids of tokens for people that the site has revoked before they expired."""
        return tuple(self._unary(self._channel.stubs().auth.Revoked, auth_pb2.RevokedRequest()).token_ids)

    def close(self) -> None:
        """Close the channel; open streams end."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _metadata(self, request_id: str) -> tuple[tuple[str, str], ...]:
        said = tuple(request_metadata(request_id))
        return said if self._token is None else (*said, ("authorization", f"Bearer {self._token()}"))

    def _unary(self, method: Any, request: Any, timeout_s: float | None = None) -> Any:
        request_id = current_request() or new_request_id()
        try:
            with self._pace.timed():
                return method(
                    request, timeout=timeout_s or self.timeout_s, metadata=self._metadata(request_id)
                )
        except grpc.RpcError as error:
            raise from_rpc(error, self.site, self.address, request_id=request_id) from error

    def _stream(
        self,
        method: Any,
        request: Any,
        convert: Callable[[Any], T],
        timeout_s: float | None = None,
        sql: str = "",
        compression: Any = None,
    ) -> ResponseStream[T]:
        request_id = current_request() or new_request_id()
        metadata = self._metadata(request_id)
        call = method(request, timeout=timeout_s, metadata=metadata, compression=compression)
        return ResponseStream(call, convert, self.site, self.address, sql, request_id)


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
