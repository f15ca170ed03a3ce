"""Files that follow their rows: fetched by policy into this site's datastore, verified, then recorded."""

from __future__ import annotations

import concurrent.futures
import posixpath
import re
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import sqlalchemy as sa

from federation.datastore import UrlSource, artifact_path
from federation.errors import ConflictError, FederationError, UnavailableError
from federation.killpoints import killpoint
from federation.model.logical import TableKind
from federation.model.system_tables import system_tables
from federation.registry.artifacts import Artifact, record
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.config import FilePolicy
    from federation.datastore import Datastore
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.client import SiteClient

__all__ = ["FilePuller", "WantedFile"]

#: files that are recorded in one transaction
BATCH_FILES = 128
WORKERS = 4
RETRY_S = 10.0
IDLE_S = 5.0
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,10}){1,2}\Z")


@attrs.frozen
class WantedFile:
    """A file that policy wants here; ``site`` has it at ``uri``."""

    dataset_id: uuid.UUID
    dataset_type: str
    run: str
    site: str
    uri: str
    size_bytes: int | None
    checksum: str | None
    formatter: str | None
    target_path: str


class FilePuller:
    """Pulls the files that ``policies`` name, from sites in ``clients`` or straight from absolute URLs.

    `pull` works off all that is waiting; `start` does so in a thread, whenever `wake` is called. Pulling again is
    harmless: a file is recorded after it is complete, and one that is recorded is not wanted.
    """

    def __init__(
        self,
        registry: Registry,
        clients: Mapping[str, SiteClient],
        policies: Sequence[FilePolicy],
        datastore: Datastore,
    ) -> None:
        self._registry, self._clients = registry, clients
        self._policies, self._datastore = tuple(policies), datastore
        self._waiting: dict[SchemaId, int] = {}
        self._failed: dict[uuid.UUID, float] = {}
        self.errors: dict[uuid.UUID | None, str] = {}  # None: of a whole round
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pull-files", daemon=True)

    def start(self) -> None:
        """Pull in a thread until `stop`."""
        if self._policies:
            self._thread.start()

    def stop(self) -> None:
        """End after the files that are on their way."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look for new files now."""
        self._wake.set()

    def waiting(self, schema: SchemaId) -> int:
        """Files of a replica that are wanted here and not here yet, as last counted."""
        return self._waiting.get(schema, 0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.pull()
                self.errors.pop(None, None)
            except FederationError as error:
                self.errors[None] = str(error)
            self._wake.wait(IDLE_S)

    def pull(self) -> int:
        """Bring every waiting file here; returns how many came. What failed is in ``errors`` and tried again later."""
        count = 0
        for held in self._registry.held():
            if held.owned or self._stopping.is_set():
                continue
            wanted = self._wanted(held)
            self._waiting[held.schema] = len(wanted)
            now = time.monotonic()
            due = [file for file in wanted.values() if self._failed.get(file[0].dataset_id, 0.0) <= now]
            with concurrent.futures.ThreadPoolExecutor(WORKERS, thread_name_prefix="pull-file") as pool:
                for start in range(0, len(due), BATCH_FILES):
                    if self._stopping.is_set():
                        break
                    done = [file for file in pool.map(self._bring, due[start : start + BATCH_FILES]) if file]
                    self._record(done)
                    count += len(done)
                    self._waiting[held.schema] -= len(done)
        return count

    def _wanted(self, held: HeldSchema) -> dict[uuid.UUID, list[WantedFile]]:
        """Where each waiting file of a replica is to be had."""
        registry = self._registry
        every = registry.held()
        with registry.database.read([one.physical for one in every]) as connection:
            tables = registry.tables_in(connection, held.physical)
            types = [
                name
                for name, table in tables.items()
                if table.kind is TableKind.DATASET_TYPE
                and any(policy.covers(name, held.schema.site) for policy in self._policies)
            ]
            if not types:
                return {}
            dataset = registry.physical_tables(held.physical, tuple(tables.values()))["dataset"]
            here = [self._artifacts(one) for one in every if one.owned]
            found: dict[uuid.UUID, list[WantedFile]] = {}
            for other in every:
                if other.owned:
                    continue
                artifact = self._artifacts(other)
                statement = sa.select(
                    dataset.c.dataset_id, dataset.c.dataset_type, dataset.c.run, artifact.c.site, artifact.c.uri,
                    artifact.c.size_bytes, artifact.c.checksum, artifact.c.formatter,
                ).where(
                    artifact.c.dataset_id == dataset.c.dataset_id,
                    artifact.c.present,
                    artifact.c.site != registry.site,
                    dataset.c.dataset_type.in_(types),
                    *(
                        ~sa.exists().where(
                            own.c.dataset_id == dataset.c.dataset_id, own.c.site == registry.site, own.c.present
                        )
                        for own in here
                    ),
                )  # fmt: skip
                rows = connection.execute(statement).all()
                paths = self._paths(connection, held, rows)
                for row in rows:
                    target = paths.get(row.dataset_id)
                    if target is not None:
                        file = WantedFile(*row, f"{target}{_suffix(row.uri)}")
                        found.setdefault(row.dataset_id, []).append(file)
        return found

    def _artifacts(self, held: HeldSchema) -> sa.Table:
        return self._registry.physical_tables(held.physical, system_tables())["artifact"]

    def _paths(
        self, connection: sa.Connection, held: HeldSchema, rows: Iterable[Any]
    ) -> dict[uuid.UUID, str]:
        """Where a file goes, without suffix: named by data ID, so that no two sites' paths meet."""
        registry = self._registry
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        by_type: dict[str, list[uuid.UUID]] = {}
        for row in rows:
            by_type.setdefault(row.dataset_type, []).append(row.dataset_id)
        paths = {}
        for name, ids in by_type.items():
            dimensions = [column for column in tables[name].unique[0] if column != "run"]
            for row in select_rows(connection, physical[name], ("dataset_id",), [(one,) for one in ids]):
                data_id = {dimension: row[dimension] for dimension in dimensions}
                paths[row["dataset_id"]] = artifact_path(name, row["run"], data_id, row["dataset_id"])
        return paths

    def _bring(self, sources: list[WantedFile]) -> Artifact | None:
        """One file from the first site that has it right."""
        problem: FederationError | None = None
        for file in sources:
            try:
                stored = self._datastore.put_stream(
                    _told(self._chunks(file)),
                    file.target_path,
                    size_bytes=file.size_bytes,
                    checksum=file.checksum,
                )
            except FederationError as error:
                problem = error
                continue
            killpoint("files.after_rename")
            self._failed.pop(file.dataset_id, None)
            self.errors.pop(file.dataset_id, None)
            return Artifact(
                file.dataset_id,
                file.target_path,
                stored.size_bytes,
                file.checksum or stored.checksum,
                file.formatter,
            )
        identity = sources[0].dataset_id
        self._failed[identity] = time.monotonic() + RETRY_S
        self.errors[identity] = str(problem)
        return None

    def _chunks(self, file: WantedFile) -> Iterator[bytes]:
        client = self._clients.get(file.site)
        if client is not None:
            with client.fetch(file.dataset_id) as stream:
                yield from stream
        elif "://" in file.uri:
            with UrlSource(file.uri).open() as chunks:
                yield from chunks
        else:
            raise UnavailableError(
                f"dataset {file.dataset_id} is at site {file.site}, which is no peer of {self._registry.site}",
                hint=f"add a [[peer]] for {file.site}",
            )

    def _record(self, done: list[Artifact]) -> None:
        if not done:
            return
        killpoint("files.before_record")
        try:
            with self._registry.transaction(self._registry.site) as tx:
                record(tx, done)
        except ConflictError as error:
            if len(done) == 1:
                self.errors[done[0].dataset_id] = str(error)
                self._failed[done[0].dataset_id] = time.monotonic() + RETRY_S
                return
            for artifact in done:
                self._record([artifact])


def _told(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    killpoint("files.before_rename")


def _suffix(uri: str) -> str:
    name = posixpath.basename(urlsplit(uri).path if "://" in uri else uri)
    found = _SUFFIX.search(name)
    return found[0] if found else ""
