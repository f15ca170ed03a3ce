"""The process that is a site: answers fragments, publishes its log, follows its peers, brings their files."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.datastore import Datastore, UrlSource
from federation.errors import NotFoundError
from federation.execution.site import SiteExecutor
from federation.model.system_tables import system_tables
from federation.registry.catalog import CatalogSource
from federation.registry.provenance_walk import ProvenanceWalker
from federation.registry.registry import Registry
from federation.registry.statistics import StatisticsSource
from federation.replication.files import FilePuller
from federation.replication.publisher import Publisher
from federation.replication.shown import ShownPositions
from federation.services.following import Following
from federation.services.log_keeping import LogKeeper
from federation.services.query_log import QUERY_FILE, QueryLog
from federation.services.security import SiteSecurity
from federation.services.server_lock import ServerLock
from federation.services.site_source import ServedSite
from federation.services.site_status import StatusSource
from federation.services.statistics_keeper import StatisticsKeeper
from federation.services.telemetry import Telemetry
from federation.wire.client import SiteClient
from federation.wire.messages import FileSlice
from federation.wire.server import build_server

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from federation.config import SiteConfig
    from federation.model.catalog import SiteCatalog
    from federation.model.position import Position, SchemaId
    from federation.replication.relays import Upstream
    from federation.wire.messages import (
        Acknowledgement,
        BootstrapFrom,
        BootstrapPart,
        BroughtFile,
        DigestAnswer,
        DigestOf,
        ExecuteCall,
        FollowBatch,
        FollowFrom,
        SiteStatus,
    )
    from federation.wire.walks import WalkAnswer, WalkCall

__all__ = ["SiteServer", "serve_site"]

_READ_BYTES = 1 << 20
#: how long a signal to stop may go unnoticed
_STOP_CHECK_S = 0.5


class SiteServer:
    """Serves one site; `start` and `stop`, or `serve` for the life of a process.

    Raises `ConflictError` when another process serves the site, `NotFoundError` when its registry was not made.
    """

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self._stack = ExitStack()
        self._stop_asked = threading.Event()
        with ExitStack() as stack:
            lock = ServerLock(config.root, config.name)
            stack.callback(lock.release)
            self.registry = stack.enter_context(Registry.open(config))
            self.datastore = Datastore(config.datastore_url, config.datastore_options)
            self._clients = {
                peer.name: stack.enter_context(SiteClient(peer.name, str(peer.address), tls=config.tls))
                for peer in config.peers
            }
            self._security = SiteSecurity(config, self.registry, self._clients)
            access = self._security.access
            self._executor = SiteExecutor(self.registry, config.query.row_count_max, access, config.query)
            self._queries = QueryLog(config.root / QUERY_FILE)
            stack.callback(self._queries.close)
            self._walker = ProvenanceWalker(self.registry, access)
            self._statistics = StatisticsKeeper(StatisticsSource(self.registry))
            self._catalog = CatalogSource(self.registry, self._statistics.source)
            shown = ShownPositions(self.registry, config.shown_dir)
            self._publisher = Publisher(self.registry, shown, self._upstream)
            self._logs = LogKeeper(self.registry, config.log, self._publisher.acknowledged, shown)
            self._files = FilePuller(
                self.registry, self._clients, config.replicate_files, self.datastore,
                removes_purged=config.removes_purged,
            )  # fmt: skip
            self._following = Following(self.registry, config.peers, self._clients, self._files.wake)
            self.telemetry = Telemetry(self.registry.database, self._following.status)
            self._status = StatusSource(self.registry, self._following, self._files, self._logs.problem)
            self._server = build_server(
                self,
                str(config.listen),
                gate=self._security.gate,
                tls=config.tls,
                message_bytes_max=config.limits.message_bytes_max,
                observer=self.telemetry,
            )
            self._stack = stack.pop_all()

    def _upstream(self, schema: SchemaId) -> Upstream | None:
        return self._following.upstream(schema)

    @property
    def address(self) -> str:
        """Where it listens, with the port that was chosen for port 0."""
        return self._server.address

    # -- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Answer, follow and pull from now on."""
        self._following.start()
        self._files.start()
        self._logs.start()
        self._statistics.start()
        self._security.start()
        self._server.start()
        figures = ServedSite(self.registry, self._following, self._files, self.telemetry)
        self.telemetry.start(self._server, figures, self.config.metrics)

    def stop(self) -> None:
        """Finish what is running, end everything and release the site; a second call does nothing."""
        self._stop_asked.set()
        self.telemetry.stop()
        self._publisher.stop()
        self._server.stop()
        self._following.stop()
        self._files.stop()
        self._logs.stop()
        self._statistics.stop()
        self._security.stop()
        self._stack.close()

    def serve(self, on_ready: Callable[[str], None] | None = None) -> None:
        """`start`, tell ``on_ready`` the address (or print one line), and `stop` on SIGTERM or SIGINT."""

        def ask(_number: int, _frame: Any) -> None:
            self._stop_asked.set()

        previous = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.start()
            if on_ready is not None:
                on_ready(self.address)
            else:
                sys.stdout.write(
                    f"{self.config.name} serves {self.address} ({self.registry.database.describe()})\n"
                )
                sys.stdout.flush()
            # a signal that comes just before a wait without an end would not wake it
            while not self._stop_asked.wait(_STOP_CHECK_S):
                pass
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    # -- what peers ask ---------------------------------------------------------------------------------------

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        """(site, version, catalog for the user), the latter None when it is known."""
        followed = self._following.status()
        catalog = self._catalog.catalog(
            {schema: status.staleness_s for schema, status in followed.items()},
            {schema: status.head_lsn for schema, status in followed.items()},
        )
        self._statistics.notice(catalog.version)
        catalog = self._security.access.catalog_for(user, catalog)
        return self.config.name, catalog.version, None if known_version == catalog.version else catalog

    def execute(self, call: ExecuteCall) -> tuple[tuple[Position, ...], pa.Schema, Iterator[pa.RecordBatch]]:
        """Run a fragment."""
        return self._queries.recorded(call, self._executor.execute)

    def walk(self, call: WalkCall) -> WalkAnswer:
        """What is upstream or downstream of datasets, as far as it is known here."""
        return self._walker.walk(call)

    def status(self, user: str = "") -> SiteStatus:
        """The site by its own account, without schemas that the user may not read."""
        found = self._status.status()
        if not user:
            return found
        refusal = self._security.access.refusal
        readable = tuple(one for one in found.schemas if refusal(user, one.schema) is None)
        return attrs.evolve(found, schemas=readable)

    def revoked_tokens(self) -> Iterable[str]:
        """Ids of tokens for people that are good no longer."""
        return self._security.revoked_tokens()

    def fetch(self, dataset_id: uuid.UUID, offset: int, user: str = "") -> FileSlice:
        """The bytes of a dataset's file that this site has, from ``offset`` on, for who may read its schema."""
        row = self._artifact(dataset_id, user)
        if "://" in row.uri and not self.datastore.contains(row.uri):
            data = _skip(UrlSource(row.uri), offset)
        else:
            data = self._read(row.uri, offset)
        return FileSlice(dataset_id, row.size_bytes or 0, row.checksum or "", data)

    def _artifact(self, dataset_id: uuid.UUID, user: str) -> Any:
        if user:
            self._check_reader(dataset_id, user)
        for held in self.registry.held():
            if not held.owned:
                continue
            artifact = self.registry.physical_tables(held.physical, system_tables())["artifact"]
            with self.registry.database.read((held.physical,)) as connection:
                row = connection.execute(
                    sa.select(artifact).where(
                        artifact.c.dataset_id == dataset_id,
                        artifact.c.site == self.config.name,
                        artifact.c.present,
                    )
                ).first()
            if row is not None:
                return row
        raise NotFoundError(
            f"site {self.config.name} has no file of dataset {dataset_id}",
            hint="ask the sites in table artifact",
        )

    def _check_reader(self, dataset_id: uuid.UUID, user: str) -> None:
        """`ForbiddenError` for a dataset that is here only in schemas which the user may not read."""
        refused = None
        for held in self.registry.held():
            dataset = self.registry.physical_tables(held.physical, system_tables())["dataset"]
            with self.registry.database.read((held.physical,)) as connection:
                one = sa.select(dataset.c.dataset_id).where(dataset.c.dataset_id == dataset_id)
                if connection.execute(one).first() is None:
                    continue
            error = self._security.access.refusal(user, held.schema)
            if error is None:
                return
            refused = refused or error
        if refused is not None:
            raise refused

    def _read(self, uri: str, offset: int) -> Iterator[bytes]:
        with self.datastore.open(uri) as file:
            file.seek(offset)
            while chunk := file.read(_READ_BYTES):
                yield chunk

    def bring(self, ids: Sequence[uuid.UUID]) -> Iterator[BroughtFile]:
        """Bring the files of these datasets here."""
        return self._files.bring(ids)

    def store(self, file: FileSlice, formatter: str | None) -> BroughtFile:
        """Keep a file that a peer sends."""
        return self._files.store(file, formatter)

    def follow(self, start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]:
        """Entries of a log as they commit."""
        return self._publisher.follow(start, is_active)

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """What a follower has."""
        self._publisher.acknowledge(acknowledgement)

    def bootstrap(self, start: BootstrapFrom) -> Iterator[BootstrapPart]:
        """A copy of a schema."""
        return self._publisher.bootstrap(start)

    def digest(self, wanted: DigestOf) -> DigestAnswer:
        """Digests of a schema."""
        return self._publisher.digest(wanted)


def _skip(source: UrlSource, offset: int) -> Iterator[bytes]:
    with source.open() as chunks:
        for chunk in chunks:
            if offset < len(chunk):
                yield chunk[offset:]
            offset = max(0, offset - len(chunk))


def serve_site(config: SiteConfig, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve a site until the process is told to end; ``on_ready`` gets the address once it answers."""
    SiteServer(config).serve(on_ready)
