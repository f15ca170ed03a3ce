"""A cache site at work: takes in what arrives, hands out paths, lets go what is kept elsewhere, tidies up."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.cache.expiry import Expired, Expiry
from federation.cache.inbox import Inbox, sidecars_of
from federation.cache.index import CacheIndex
from federation.cache.permanent import PermanentSites
from federation.cache.tidying import Tidied, take_stock, tidy
from federation.errors import ConfigError, FederationError, LimitError, NotFoundError, UnavailableError
from federation.killpoints import killpoint
from federation.logs import fields
from federation.registry.files.header_config import shipped_header_rules
from federation.registry.files.header_translation import HeaderTranslator
from federation.registry.files.ingest import ingest_files, load_header_mapping, read_data_id
from federation.registry.retirement import list_retired
from federation.services.server_lock import ServerLock

if TYPE_CHECKING:
    import threading
    import uuid
    from collections.abc import Callable, Mapping, Sequence

    from federation.cache.inbox import Arrival
    from federation.config import CacheConfig, SiteConfig
    from federation.config.cache import InboxConfig
    from federation.datastore import Datastore
    from federation.execution.gathering import QueryableSite
    from federation.registry.files.file_data_ids import FileToIngest, HeaderMapping
    from federation.registry.registry import Registry

__all__ = ["CacheSite", "TakenIn"]

#: how often inboxes are looked at, files let go, and the datastore tidied
POLL_S, EXPIRE_S, TIDY_S = 0.2, 5.0, 3600.0
#: files that are taken in by one transaction
BATCH_FILES = 100
_SECOND_NS = 1_000_000_000
_LOG = logging.getLogger(__name__)


@attrs.frozen
class TakenIn:
    """What one look into the inboxes came to: files taken in, their bytes, and why others were not, by path."""

    files: int
    size_bytes: int
    refused: Mapping[str, str]


class CacheSite:
    """The cache of one site; ``clients`` are of its permanent sites. Call `close` at the end.

    ``bring`` asks the site's server for files of other sites; without it, only what is here is handed out.
    """

    def __init__(
        self,
        config: SiteConfig,
        registry: Registry,
        datastore: Datastore,
        clients: Mapping[str, QueryableSite],
        *,
        bring: Callable[[Sequence[uuid.UUID]], None] | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        cache = cache_config(config)
        self.config, self.registry = cache, registry
        self.clock = clock or registry.clock
        self._datastore, self._bring = datastore, bring
        self._directory = config.root / "cache"
        self.index = CacheIndex(self._directory / "index.sqlite")
        self.permanent = PermanentSites(clients)
        self.expiry = Expiry(
            registry, datastore, self.index, self.permanent, cache, self._directory / "aside", self.clock
        )
        self._inboxes = [(one, Inbox(one.directory), _mapping(one)) for one in cache.inboxes]
        rules = shipped_header_rules(registry.universe)
        self._translator = None if rules is None else HeaderTranslator(registry.universe, rules)

    def close(self) -> None:
        """End the use of the index; registry, datastore and clients are the caller's."""
        self.index.close()

    # -- handing out ------------------------------------------------------------------------------------------

    def path(self, dataset_id: uuid.UUID, holder: str = "reader", lease_s: float | None = None) -> Path:
        """Where the file of a dataset is; it stays there for ``lease_s`` (None: the site file's) at least.

        One that is on its way out comes back, one that is not here is brought. `NotFoundError` when no site has it.
        """
        now = self.clock()
        until = now + int((self.config.lease_s if lease_s is None else lease_s) * _SECOND_NS)
        for attempt in (self._restored, self._brought):
            found = self.index.use(dataset_id, now, holder=holder, until_ns=until)
            if found is not None:
                break
            attempt(dataset_id)
        else:
            found = self.index.use(dataset_id, now, holder=holder, until_ns=until)
        if found is None:
            raise NotFoundError(
                f"dataset {dataset_id} has no file here, and none came",
                hint="see federation query for the sites that have it, and whether the site's server runs",
            )
        assert self._datastore.local_root is not None
        return self._datastore.local_root / found.uri

    def _restored(self, dataset_id: uuid.UUID) -> None:
        if not self.expiry.restore(dataset_id):
            self.take_stock()  # it may have come by another way

    def _brought(self, dataset_id: uuid.UUID) -> None:
        if self._bring is not None:
            self._bring([dataset_id])
            self.take_stock()

    def waiting(self) -> int:
        """Files that lie in the inboxes. `UnavailableError` when one can't be read."""
        return sum(len(inbox.arrived(self.clock())) for _, inbox, _ in self._inboxes)

    # -- taking in --------------------------------------------------------------------------------------------

    def take_in(self) -> TakenIn:
        """Make datasets of what has arrived; what can't be taken in stays where it is and is tried again."""
        count = size = 0
        refused: dict[str, str] = {}
        for config, inbox, mapping in self._inboxes:
            try:
                arrived = inbox.arrived(self.clock())
            except UnavailableError as error:
                refused[str(config.directory)] = str(error)
                continue
            for start in range(0, len(arrived), BATCH_FILES):
                taken = self._take_in(config, inbox, mapping, arrived[start : start + BATCH_FILES])
                count += len(taken)
                size += sum(one.size_bytes for one in taken)
            refused |= inbox.refused
        if count:
            self.take_stock()
        return TakenIn(count, size, refused)

    def _take_in(
        self, config: InboxConfig, inbox: Inbox, mapping: HeaderMapping | None, arrived: Sequence[Arrival]
    ) -> list[Arrival]:
        """Take in several at once; where that fails, one by one."""
        described: list[tuple[Arrival, FileToIngest]] = []
        for one in arrived:
            try:
                described.append((one, read_data_id(one.path, mapping, self._translator)))
            except FederationError as error:
                inbox.refuse(one, str(error), self.clock())
        parts = [described] if described else []
        taken: list[Arrival] = []
        while parts:
            part = parts.pop(0)
            try:
                self._ingest(config, part)
            except LimitError as error:
                if self._make_room(sum(one.size_bytes for one, _ in part)):
                    parts.insert(0, part)
                    continue
                for one, _ in part:
                    inbox.refuse(one, str(error), self.clock())
            except FederationError as error:
                if len(part) > 1:
                    parts = [[one] for one in part] + parts
                else:
                    inbox.refuse(part[0][0], str(error), self.clock())
            else:
                for one, _ in part:
                    inbox.take(one)
                    taken.append(one)
        return taken

    def _ingest(self, config: InboxConfig, part: Sequence[tuple[Arrival, FileToIngest]]) -> None:
        sidecars = [path for one, _ in part for path in sidecars_of(one.path)]
        ingest_files(
            self.registry,
            self._datastore,
            schema=self.registry.site,
            run=config.run,
            dataset_type=config.dataset_type,
            files=[file for _, file in part],
            mode="move",
            once=True,
            on_conflict="refuse",
        )
        killpoint("cache.taken_in")
        for path in sidecars:
            Path(path).unlink(missing_ok=True)

    def _make_room(self, size_bytes: int) -> bool:
        """The disk is full: let go what may go, at once; whether anything went."""
        before = self.index.used_bytes()
        self.expiry.expire(size_bytes)
        self.expiry.empty()
        return self.index.used_bytes() < before

    # -- upkeep -----------------------------------------------------------------------------------------------

    def take_stock(self) -> None:
        """Bring the index up to what the registry says is here."""
        take_stock(self.registry, self.index, self.clock())

    def tidy(self) -> Tidied:
        """Set aside files that nothing names, and take back rows of files that are not there."""
        retired = [uri for one in list_retired(self._directory.parent / "retired") for uri in one.uris]
        return tidy(self.registry, self._datastore, self.index, self._directory / "orphans", retired)

    def expire(self) -> Expired:
        """`Expiry.expire`."""
        return self.expiry.expire()

    def run(self, stop: threading.Event, *, on_change: Callable[[TakenIn | Expired | Tidied], None]) -> None:
        """Do all of it until ``stop``; ``on_change`` is told what was done. What fails is tried again."""
        lock = ServerLock(self._directory, f"{self.registry.site} (its cache)")
        try:
            expire_at = tidy_at = time.monotonic()
            while not stop.is_set():
                began = time.monotonic()
                try:
                    taken = self.take_in()
                    if taken.files or taken.refused:
                        on_change(taken)
                    if began >= tidy_at:
                        self.take_stock()
                        on_change(self.tidy())
                        tidy_at = began + TIDY_S
                    if began >= expire_at or taken.files:
                        expired = self.expire()
                        if expired.let_go:
                            on_change(expired)
                        expire_at = time.monotonic() + EXPIRE_S
                except UnavailableError as error:
                    _LOG.warning("cache_waits", extra=fields(error=str(error)))
                stop.wait(POLL_S)
        finally:
            lock.release()


def cache_config(config: SiteConfig) -> CacheConfig:
    """What the site file says of its cache; `ConfigError` where it says nothing."""
    if config.cache is None:
        raise ConfigError(
            f"{config.path}: there is no [cache], so site {config.name} is none",
            hint='add [cache] with permanent = ["..."], see docs/how-to/cache.md',
        )
    return config.cache


def _mapping(config: InboxConfig) -> HeaderMapping | None:
    return None if config.header_mapping is None else load_header_mapping(config.header_mapping)
