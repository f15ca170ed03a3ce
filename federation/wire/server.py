"""A site as a gRPC server: the generated services over one `SiteService`, and the standard health service."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from federation.errors import FederationError, UnavailableError, UserError
from federation.model.position import SchemaId
from federation.wire.arrow import IpcEncoder, decode_schema, logical_columns
from federation.wire.catalog import encode_catalog
from federation.wire.catalog_parts import encode_state, encode_statistics
from federation.wire.client import MESSAGE_BYTES_MAX
from federation.wire.convert import (
    batch_out,
    bootstrap_in,
    brought_out,
    digest_out,
    filter_in,
    part_out,
    position_in,
    position_out,
    status_out,
)
from federation.wire.errors import abort
from federation.wire.fragment_end import TimedBatches, end_metadata
from federation.wire.gate import GateInterceptor
from federation.wire.interceptors import CallInterceptor
from federation.wire.keys import decode_keys, filters_in
from federation.wire.messages import Acknowledgement, DigestOf, ExecuteCall, FileSlice, FollowFrom
from federation.wire.stream_slots import STREAMS_MAX, StreamSlots
from federation.wire.tls import TlsFiles, server_credentials
from federation.wire.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
    site_pb2,
    site_pb2_grpc,
)
from federation.wire.walk_service import WalkService, add_walks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from federation.config.security import TlsConfig
    from federation.model.catalog import SiteCatalog
    from federation.model.position import Position
    from federation.wire.gate import Gate
    from federation.wire.interceptors import CallObserver
    from federation.wire.messages import (
        BootstrapFrom,
        BootstrapPart,
        BroughtFile,
        DigestAnswer,
        FollowBatch,
        SiteStatus,
    )

__all__ = ["SiteServer", "SiteService", "build_server"]

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # clients ask each 4 s whether the link is still there
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
)


_SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in ((query_pb2, "Query"), (log_pb2, "ChangeLog"), (site_pb2, "Site"))
)
#: what the health service knows of: the server as a whole, and each service
HEALTH_NAMES = ("", *_SERVICES)
REFLECTED = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)


class SiteService(WalkService, Protocol):
    """What a site answers. Every method may raise a `FederationError`, which arrives at the caller as it is.

    Iterators that are generators are closed when the caller goes away.
    """

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        """(site, version, the catalog as the user may see it unless it is the known one)."""

    def execute(
        self, call: ExecuteCall
    ) -> tuple[tuple[Position, ...], pa.Schema, Iterator[pa.RecordBatch]]: ...

    def status(self, user: str) -> SiteStatus: ...

    def fetch(self, dataset_id: uuid.UUID, offset: int, user: str) -> FileSlice: ...

    def revoked_tokens(self) -> Iterable[str]: ...

    def bring(self, ids: Sequence[uuid.UUID]) -> Iterator[BroughtFile]: ...

    def store(self, file: FileSlice, formatter: str | None) -> BroughtFile: ...

    def follow(self, start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]: ...

    def acknowledge(self, acknowledgement: Acknowledgement) -> None: ...

    def bootstrap(self, start: BootstrapFrom) -> Iterator[BootstrapPart]: ...

    def digest(self, wanted: DigestOf) -> DigestAnswer: ...


class SiteServer:
    """A bound server; ``address`` is where it listens, with the port that the system chose for port 0."""

    def __init__(self, server: Any, address: str, state: Any) -> None:
        self._server, self.address, self._health = server, address, state

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()
        self.set_serving(True)

    def set_serving(self, is_serving: bool) -> None:
        """What the standard health service says of the whole server and of each of its services."""
        told = health_pb2.HealthCheckResponse
        for name in HEALTH_NAMES:
            self._health.set(name, told.SERVING if is_serving else told.NOT_SERVING)

    def stop(self, grace_s: float | None = 2.0) -> None:
        """Refuse new calls, let running ones finish for ``grace_s``, then end them."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()

    def wait_for_termination(self, timeout_s: float | None = None) -> bool:
        """Wait for `stop`; True when the time ran out first."""
        return bool(self._server.wait_for_termination(timeout_s))


def build_server(
    service: SiteService,
    address: str,
    workers: int = 32,
    *,
    gate: Gate | None = None,
    tls: TlsConfig | None = None,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    observer: CallObserver | None = None,
    streams_max: int = STREAMS_MAX,
) -> SiteServer:
    """A server bound to ``host:port``; `UnavailableError` when the address can't be had.

    With ``tls`` every client must have a certificate of the same authority. ``gate`` is asked about each call;
    without one all are answered. ``message_bytes_max`` bounds a message that comes in. ``observer`` is told of calls.
    Each of at most ``streams_max`` streams of followers has a thread; the other calls share ``workers``.
    """
    pool = concurrent.futures.ThreadPoolExecutor(workers + streams_max, thread_name_prefix="federation-call")
    limit = ("grpc.max_receive_message_length", message_bytes_max)
    interceptors = [
        *([] if observer is None else [CallInterceptor(observer)]),  # the first: it sees refusals too
        *([] if gate is None else [GateInterceptor(gate)]),
    ]
    server = grpc.server(pool, options=(*_OPTIONS, limit), interceptors=interceptors)
    auth_pb2_grpc.add_AuthServicer_to_server(_Auth(service), server)
    query_pb2_grpc.add_QueryServicer_to_server(_Query(service), server)
    log_pb2_grpc.add_ChangeLogServicer_to_server(_ChangeLog(service, StreamSlots(streams_max)), server)
    site_pb2_grpc.add_SiteServicer_to_server(_Site(service), server)
    add_walks(service, server)
    state = health.HealthServicer(experimental_non_blocking=True)
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    reflection.enable_server_reflection(REFLECTED, server)
    text = str(address)
    try:
        port = (
            server.add_insecure_port(text)
            if tls is None
            else server.add_secure_port(text, server_credentials(TlsFiles(tls)))
        )
    except RuntimeError as error:
        raise UnavailableError(
            f"cannot listen on {text}: it is in use, or no address of this machine",
            hint="stop the other server, or give the site file another listen address",
        ) from error
    made = SiteServer(server, f"{text.rpartition(':')[0]}:{port}", state)
    made.set_serving(False)
    return made


@contextlib.contextmanager
def _errors(context: Any) -> Iterator[None]:
    try:
        yield
    except FederationError as error:
        abort(context, error)


def _closing(iterator: Iterator[Any]) -> contextlib.AbstractContextManager[Any]:
    # a generator holds a snapshot of the database, which must not wait for the garbage collector
    return contextlib.closing(iterator) if hasattr(iterator, "close") else contextlib.nullcontext(iterator)


class _Query(query_pb2_grpc.QueryServicer):  # type: ignore[misc]
    """Catalogs and fragments."""

    def __init__(self, service: SiteService) -> None:
        self._service = service

    def GetCatalog(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _errors(context):
            return self._catalog(request, request.user)

    def _catalog(self, request: Any, user: str) -> Any:
        site, version, catalog = self._service.get_catalog(request.known_version, user)
        response = query_pb2.GetCatalogResponse(site=site, version=version)
        if catalog is not None:
            is_layout_known = bool(catalog.layout) and request.known_layout == catalog.layout
            response.catalog = b"" if is_layout_known else encode_catalog(catalog)
        if catalog is not None and request.known_layout:
            response.layout, response.state = catalog.layout, encode_state(catalog)
            if not catalog.statistics or request.known_statistics != catalog.statistics:
                response.statistics = encode_statistics(catalog)
            response.statistics_version = catalog.statistics
        return response

    def Execute(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        with _errors(context):
            call = ExecuteCall(
                sql=request.sql,
                columns=logical_columns(decode_schema(request.schema)),
                keys={key.name: decode_keys(key.name, key.arrow) for key in request.keys},
                user=request.user,
                query_id=request.query_id,
                row_count_max=request.row_count_max,
                timeout_s=context.time_remaining(),
                at=tuple(map(position_in, request.at)),
                is_active=context.is_active,
                filters=filters_in(request.filters),
            )
            start = time.perf_counter()
            positions, schema, batches = self._service.execute(call)
            with _closing(batches):
                timed = TimedBatches(batches, time.perf_counter() - start)
                encoder = IpcEncoder(schema, "lz4" if request.compression == "lz4" else "zstd")
                # with the first rows, not before them: every message costs both ends as much as some hundred rows
                told = [position_out(position) for position in positions]
                catalog = (
                    self._catalog(request.catalog, request.user) if request.HasField("catalog") else None
                )
                for batch in timed:
                    rows = batch.num_rows
                    for part in encoder.batch(batch):
                        yield query_pb2.ExecuteResponse(
                            arrow=part, row_count=rows, positions=told, crc=zlib.crc32(part), catalog=catalog
                        )
                        rows, told, catalog = 0, [], None
                if told:
                    data = b"".join(encoder.finish())
                    yield query_pb2.ExecuteResponse(
                        arrow=data, positions=told, crc=zlib.crc32(data), catalog=catalog
                    )
                context.set_trailing_metadata(end_metadata(timed.end))


class _Auth(auth_pb2_grpc.AuthServicer):  # type: ignore[misc]
    """Which tokens of this site are no longer good."""

    def __init__(self, service: SiteService) -> None:
        self._service = service

    def Revoked(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        with _errors(context):
            return auth_pb2.RevokedResponse(token_ids=self._service.revoked_tokens())


class _Site(site_pb2_grpc.SiteServicer):  # type: ignore[misc]
    """Status and files."""

    def __init__(self, service: SiteService) -> None:
        self._service = service

    def Status(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _errors(context):
            return status_out(self._service.status(request.user))

    def Fetch(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        with _errors(context):
            found = self._service.fetch(_dataset_id(request.dataset_id), request.offset, request.user)
            with _closing(found.data):
                yield site_pb2.FetchResponse(size_bytes=found.size_bytes, checksum=found.checksum)
                for data in found.data:
                    yield site_pb2.FetchResponse(data=data)

    def Bring(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        with _errors(context):
            brought = self._service.bring([_dataset_id(one) for one in request.dataset_ids])
            with _closing(brought):
                for file in brought:
                    yield brought_out(file)

    def Store(self, requests: Any, context: Any) -> Any:  # noqa: N802
        with _errors(context):
            first = next(requests, None)
            if first is None:
                raise UserError("a file was announced and not sent", hint="send a header first")
            file = FileSlice(
                _dataset_id(first.dataset_id),
                first.size_bytes,
                first.checksum,
                (request.data for request in requests),
            )
            return brought_out(self._service.store(file, first.formatter or None))


def _dataset_id(data: bytes) -> uuid.UUID:
    if len(data) != 16:
        raise UserError(f"a dataset id has 16 bytes, not {len(data)}", hint="send the UUID's bytes")
    return uuid.UUID(bytes=data)


class _ChangeLog(log_pb2_grpc.ChangeLogServicer):  # type: ignore[misc]
    """Change logs: following, copying, comparing."""

    def __init__(self, service: SiteService, slots: StreamSlots) -> None:
        self._service, self._slots = service, slots

    def Follow(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        with _errors(context), self._slots.hold():
            start = FollowFrom(
                SchemaId(request.site, request.schema),
                request.epoch,
                request.lsn,
                request.chain,
                request.follower,
                request.universe_fingerprint,
                filter_in(request.filter),
                request.takes_copy,
            )
            batches = self._service.follow(start, context.is_active)
            with _closing(batches):
                for batch in batches:
                    yield batch_out(batch)

    def Acknowledge(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _errors(context):
            schema = SchemaId(request.site, request.schema)
            self._service.acknowledge(Acknowledgement(schema, request.follower, request.epoch, request.lsn))
            return log_pb2.AcknowledgeResponse()

    def Bootstrap(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        with _errors(context), self._slots.hold():
            parts = self._service.bootstrap(bootstrap_in(request))
            with _closing(parts):
                for part in parts:
                    yield part_out(part)

    def Digest(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _errors(context):
            schema = SchemaId(request.site, request.schema)
            wanted = DigestOf(
                schema,
                request.table,
                request.bucket_count,
                tuple(request.buckets),
                filter_in(request.filter),
            )
            return digest_out(self._service.digest(wanted))
