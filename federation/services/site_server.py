"""The process that is a site: answers fragments, publishes its log, follows its peers, brings their files."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from importlib import metadata
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.changelog import log_state
from federation.datastore import Datastore, UrlSource
from federation.errors import NotFoundError
from federation.execution.site import SiteExecutor
from federation.model.system_tables import system_tables
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.replication.files import FilePuller
from federation.replication.publisher import Publisher
from federation.services.following import Following
from federation.services.server_lock import ServerLock
from federation.wire.client import SiteClient
from federation.wire.messages import FileSlice, SchemaStatus, SiteStatus
from federation.wire.server import build_server

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from federation.config import SiteConfig
    from federation.model.catalog import SiteCatalog
    from federation.model.position import Position
    from federation.registry.schemas import HeldSchema
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
    )

__all__ = ["SiteServer", "serve_site"]

_READ_BYTES = 1 << 20
_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


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
            self.datastore = Datastore(config.datastore_url)
            self._clients = {
                peer.name: stack.enter_context(SiteClient(peer.name, str(peer.address)))
                for peer in config.peers
            }
            self._executor = SiteExecutor(self.registry, config.query.row_count_max)
            self._catalog = CatalogSource(self.registry)
            self._publisher = Publisher(self.registry)
            self._files = FilePuller(self.registry, self._clients, config.replicate_files, self.datastore)
            self._following = Following(self.registry, config.peers, self._clients, self._files.wake)
            self._server = build_server(self, str(config.listen))
            self._stack = stack.pop_all()

    @property
    def address(self) -> str:
        """Where it listens, with the port that was chosen for port 0."""
        return self._server.address

    # -- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Answer, follow and pull from now on."""
        self._following.start()
        self._files.start()
        self._server.start()

    def stop(self) -> None:
        """Finish what is running, end everything and release the site; a second call does nothing."""
        self._stop_asked.set()
        self._publisher.stop()
        self._server.stop()
        self._following.stop()
        self._files.stop()
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
            self._stop_asked.wait()
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    # -- what peers ask ---------------------------------------------------------------------------------------

    def get_catalog(self, known_version: str) -> tuple[str, str, SiteCatalog | None]:
        """(site, version, catalog), the latter None when it is known and has no staleness to tell."""
        followed = self._following.status()
        catalog = self._catalog.catalog(
            {schema: status.staleness_s for schema, status in followed.items()},
            {schema: status.head_lsn for schema, status in followed.items()},
        )
        is_known = known_version == catalog.version and not followed
        return self.config.name, catalog.version, None if is_known else catalog

    def execute(self, call: ExecuteCall) -> tuple[tuple[Position, ...], pa.Schema, Iterator[pa.RecordBatch]]:
        """Run a fragment."""
        return self._executor.execute(call)

    def status(self) -> SiteStatus:
        """The site by its own account."""
        followed = self._following.status()
        schemas = tuple(self._schema_status(held, followed) for held in self.registry.held())
        return SiteStatus(
            self.config.name,
            metadata.version("federation"),
            _KINDS[self.registry.database.kind],
            f"{self.registry.universe.namespace} version {self.registry.universe.version}",
            schemas,
            self.registry.clock(),
        )

    def _schema_status(self, held: HeldSchema, followed: Any) -> SchemaStatus:
        with self.registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
            dataset = self.registry.physical_tables(held.physical, system_tables())["dataset"]
            dataset_count = connection.execute(sa.select(sa.func.count()).select_from(dataset)).scalar() or 0
        if held.owned:
            return SchemaStatus(
                held.schema, True, state.epoch, state.lsn, state.lsn, 0.0, "owner", "", dataset_count
            )
        follower = followed.get(held.schema)
        return SchemaStatus(
            held.schema,
            False,
            state.epoch,
            state.lsn,
            max(state.lsn, follower.head_lsn) if follower else state.lsn,
            follower.staleness_s if follower else None,
            follower.state if follower else "not followed",
            (follower.error if follower else "") or self._following.problems.get(held.schema.site, ""),
            dataset_count,
            self._files.waiting(held.schema),
        )

    def fetch(self, dataset_id: uuid.UUID, offset: int) -> FileSlice:
        """The bytes of a dataset's file that this site has, from ``offset`` on."""
        row = self._artifact(dataset_id)
        if "://" in row.uri and not self.datastore.contains(row.uri):
            data = _skip(UrlSource(row.uri), offset)
        else:
            data = self._read(row.uri, offset)
        return FileSlice(dataset_id, row.size_bytes or 0, row.checksum or "", data)

    def _artifact(self, dataset_id: uuid.UUID) -> Any:
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
