"""Files that follow their rows: fetched by policy or on request into a datastore, verified, then recorded."""

from __future__ import annotations

import functools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tenacity

from federation.datastore import Datastore, ForeignSource, Throttle
from federation.errors import (
    ConflictError,
    FederationError,
    NotFoundError,
    UnavailableError,
)
from federation.killpoints import killpoint
from federation.registry.artifacts import Artifact, record
from federation.registry.views import views
from federation.replication.file_plan import chosen_files, wanted_files
from federation.replication.purged_copies import PurgedCopies
from federation.request_context import RequestPool
from federation.wire.messages import BroughtFile

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from federation.config import FilePolicy
    from federation.datastore import Stored
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.replication.file_plan import FileSource, WantedFile
    from federation.wire.client import SiteClient
    from federation.wire.messages import FileSlice

__all__ = ["FilePuller"]

#: files that are recorded in one transaction
BATCH_FILES = 128
WORKERS = 4
#: how often a source that does not answer is asked in one go, and when a file is tried again
ATTEMPTS = 3
RETRY_S = 10.0
IDLE_S = 5.0


class FilePuller:
    """Pulls the files that ``policies`` name, from sites in ``clients`` or straight from absolute URLs.

    `pull` works off all that is waiting; `start` does so in a thread, whenever `wake` is called. Pulling again is
    harmless: a file is recorded after it is complete, and one that is recorded is not wanted. With ``removes_purged``
    the thread also removes copies of files whose datasets were purged where they belong.
    """

    def __init__(
        self,
        registry: Registry,
        clients: Mapping[str, SiteClient],
        policies: Sequence[FilePolicy],
        datastore: Datastore,
        *,
        removes_purged: bool = False,
    ) -> None:
        self._registry, self._clients = registry, clients
        self._policies, self._datastore = tuple(policies), datastore
        self._waiting: dict[SchemaId, int] = {}
        self._failed: dict[uuid.UUID, float] = {}
        self.errors: dict[uuid.UUID | None, str] = {}  # None: of a whole round
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._looking_s = 0.0
        self._claims = threading.Condition()
        self._claimed: set[uuid.UUID] = set()
        self._throttles = {
            policy: Throttle(policy.rate_bytes_s, wait=self._stopping.wait) for policy in self._policies
        }
        self._stores = {
            policy.datastore_url: Datastore(policy.datastore_url)
            for policy in self._policies
            if policy.datastore_url is not None
        }
        self._purged = PurgedCopies(registry, (datastore, *self._stores.values())) if removes_purged else None
        self._thread = threading.Thread(target=self._run, name="pull-files", daemon=True)

    def start(self) -> None:
        """Pull in a thread until `stop`."""
        if self._policies or self._purged is not None:
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
                if self._purged is not None:
                    self._purged.remove()
                self.errors.pop(None, None)
            except FederationError as error:
                self.errors[None] = str(error)
            # looking takes longer in larger registries: it shall not take more than half of the time
            self._stopping.wait(min(self._looking_s, IDLE_S))
            self._wake.wait(IDLE_S)

    def pull(self) -> int:
        """Bring every waiting file here; returns how many came. What failed is in ``errors`` and tried again later."""
        count, self._looking_s = 0, 0.0
        for held in self._registry.held() if self._policies else ():
            if held.owned or self._stopping.is_set():
                continue
            began = time.monotonic()
            wanted = wanted_files(self._registry, held, self._policies)
            self._looking_s += time.monotonic() - began
            self._waiting[held.schema] = len(wanted)
            now = time.monotonic()
            due = [file for file in wanted.values() if self._failed.get(file.dataset_id, 0.0) <= now]
            for done in self._bring_all(due):
                count += sum(not one.error for one in done)
                self._waiting[held.schema] -= sum(not one.error for one in done)
        return count

    def bring(self, ids: Collection[uuid.UUID]) -> Iterator[BroughtFile]:
        """Bring the files of these datasets here, whatever the policies say, and tell of each as it comes.

        A file that was here already is told of too, and so is one that could not be brought, with the reason.
        """
        todo = dict.fromkeys(ids)
        for held in self._registry.held() if todo else ():
            wanted = chosen_files(self._registry, held, todo)
            for done in self._bring_all(list(wanted.values())):
                for file in done:
                    todo.pop(file.dataset_id, None)
                yield from done
            if self._stopping.is_set():
                raise UnavailableError(
                    f"site {self._registry.site} is ending, {len(todo)} files were not looked for",
                    hint="ask again when it is back",
                )
        for dataset_id, size_bytes in self._present(todo).items():
            todo.pop(dataset_id)
            yield BroughtFile(dataset_id, size_bytes, was_here=True)
        for dataset_id in todo:
            error = NotFoundError(
                f"no site that {self._registry.site} knows of has a file of dataset {dataset_id}",
                hint=f"let {self._registry.site} follow the schema that owns it, and look at table artifact",
            )
            yield BroughtFile(dataset_id, error=error)

    def store(self, file: FileSlice, formatter: str | None) -> BroughtFile:
        """Keep a file that is sent here, under the name it would get if it were pulled, and record it.

        `NotFoundError` when its dataset is not known here, `CorruptionError` when other bytes come than announced.
        """
        for held in self._registry.held():
            wanted = chosen_files(self._registry, held, (file.dataset_id,)).get(file.dataset_id)
            if wanted is not None:
                with self._claim(file.dataset_id):
                    return self._stored(file, wanted.target_path, formatter)
        present = self._present((file.dataset_id,))
        if file.dataset_id in present:
            return BroughtFile(file.dataset_id, present[file.dataset_id], was_here=True)
        raise NotFoundError(
            f"site {self._registry.site} knows no file of dataset {file.dataset_id}",
            hint=f"let {self._registry.site} follow the schema that owns the dataset",
        )

    def _stored(self, file: FileSlice, target_path: str, formatter: str | None) -> BroughtFile:
        stored = self._datastore.put_stream(
            _told(file.data),
            target_path,
            size_bytes=file.size_bytes or None,  # 0: not known, or nothing, which the checksum tells
            checksum=file.checksum or None,
        )
        checksum = file.checksum or stored.checksum
        artifact = Artifact(file.dataset_id, target_path, stored.size_bytes, checksum, formatter)
        for error in self._record([artifact]).values():
            raise error
        self._forget(file.dataset_id)
        return BroughtFile(file.dataset_id, stored.size_bytes)

    def _present(self, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
        """Sizes of those files that are here."""
        todo, found = {one.bytes: one for one in ids}, {}
        for view in views(self._registry) if todo else ():
            for dataset_id, site, size_bytes, present in view.of_datasets(
                "artifact", list(todo), ("site", "size_bytes", "present")
            ):
                if site == self._registry.site and present:
                    found[todo[dataset_id]] = size_bytes or 0
        return found

    def _bring_all(self, files: Sequence[WantedFile]) -> Iterator[list[BroughtFile]]:
        """Bring files, some at a time, and record them; what is told of is recorded."""
        with RequestPool(WORKERS, thread_name_prefix="pull-file") as pool:
            for start in range(0, len(files), BATCH_FILES):
                if self._stopping.is_set():
                    return
                found = list(pool.map(self._bring, files[start : start + BATCH_FILES]))
                refused = self._record([one for one in found if isinstance(one, Artifact)])
                for dataset_id, error in refused.items():
                    self._note(dataset_id, error)
                yield [
                    BroughtFile(one.dataset_id, one.size_bytes or 0, error=refused.get(one.dataset_id))
                    if isinstance(one, Artifact)
                    else one
                    for one in found
                ]

    def _note(self, dataset_id: uuid.UUID, error: FederationError) -> None:
        """A file did not come: it is tried again after a while."""
        self._failed[dataset_id] = time.monotonic() + RETRY_S
        self.errors[dataset_id] = str(error)

    def _forget(self, dataset_id: uuid.UUID) -> None:
        """A file has come, whatever was wrong before."""
        self._failed.pop(dataset_id, None)
        self.errors.pop(dataset_id, None)

    def _bring(self, file: WantedFile) -> Artifact | BroughtFile:
        """One file from the first site that has it right."""
        with self._claim(file.dataset_id):
            return self._bring_claimed(file)

    @contextmanager
    def _claim(self, dataset_id: uuid.UUID) -> Iterator[None]:
        """One thread at a time writes a file: it may be wanted by policy, asked for and sent here at once."""
        with self._claims:
            while dataset_id in self._claimed:
                self._claims.wait()
            self._claimed.add(dataset_id)
        try:
            yield
        finally:
            with self._claims:
                self._claimed.discard(dataset_id)
                self._claims.notify_all()

    def _bring_claimed(self, file: WantedFile) -> Artifact | BroughtFile:
        problem: FederationError | None = None
        url = file.policy.datastore_url
        store = self._datastore if url is None else self._stores[url]
        for source in file.sources:
            try:
                stored = self._retrying(functools.partial(self._copy, file, source, store))
            except FederationError as error:
                problem = error
                continue
            killpoint("files.after_rename")
            self._forget(file.dataset_id)
            return Artifact(
                file.dataset_id,
                file.target_path if store is self._datastore else store.resolve(file.target_path),
                stored.size_bytes,
                source.checksum or stored.checksum,
                source.formatter,
            )
        assert problem is not None
        self._note(file.dataset_id, problem)
        return BroughtFile(file.dataset_id, error=problem)

    def _retrying(self, attempt: Callable[[], Stored]) -> Stored:
        """The attempt, again while its source does not answer."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(UnavailableError),
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_when_event_set(self._stopping),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=RETRY_S),
            sleep=tenacity.sleep_using_event(self._stopping),
            reraise=True,
        )
        return retrying(attempt)

    def _copy(self, file: WantedFile, source: FileSource, store: Datastore) -> Stored:
        chunks = self._chunks(file.dataset_id, source)
        throttle = self._throttles.get(file.policy)
        return store.put_stream(
            _told(throttle.passing(chunks) if throttle else chunks),
            file.target_path,
            size_bytes=source.size_bytes,
            checksum=source.checksum,
        )

    def _chunks(self, dataset_id: uuid.UUID, source: FileSource) -> Iterator[bytes]:
        client = self._clients.get(source.site)
        if client is not None:
            with client.fetch(dataset_id) as stream:
                yield from stream
        elif "://" in source.uri:
            with ForeignSource(source.uri).open() as chunks:
                yield from chunks
        else:
            raise NotFoundError(
                f"dataset {dataset_id} is at site {source.site}, which is no peer of {self._registry.site}",
                hint=f"add a [[peer]] for {source.site}",
            )

    def _record(self, done: Sequence[Artifact]) -> dict[uuid.UUID, ConflictError]:
        """Record files; those whose content is not what is recorded elsewhere are refused, each by itself."""
        if not done:
            return {}
        killpoint("files.before_record")
        try:
            with self._registry.transaction(self._registry.site) as tx:
                record(tx, done)
        except ConflictError as error:
            if len(done) > 1:
                return {key: one for artifact in done for key, one in self._record([artifact]).items()}
            return {done[0].dataset_id: error}
        return {}


def _told(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    killpoint("files.before_rename")
