"""Sessions: queries over all sites from one of them, or over a snapshot without any server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from federation.config import SiteConfig, find_site, load_federation
from federation.config.settings import WILDCARD_HOSTS, Address, QueryConfig
from federation.errors import ConfigError, NotFoundError, QueryError, UnavailableError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.dimension import DimensionUniverse
from federation.queries import (
    Options,
    QueryRunner,
    data_id_query,
    dataset_query,
    dimension_record_query,
)
from federation.registry.catalog import CatalogSource
from federation.registry.grants import check_user
from federation.request_context import RequestPool, request
from federation.session_token import find_token
from federation.snapshot.file_names import FILE_NAME
from federation.wire.client import SiteClient

if TYPE_CHECKING:
    from federation.execution.coordinator import QueryableSite
    from federation.execution.result import Result, Stream
    from federation.model.catalog import FederationCatalog, SiteCatalog
    from federation.model.dataset import DatasetType
    from federation.model.position import Position
    from federation.planner import Plan
    from federation.queries import DataIdQuery, DatasetQuery, DimensionRecordQuery
    from federation.replication.watch import Watch
    from federation.wire.messages import SiteStatus

__all__ = ["Session", "SiteReport", "connect", "home_site", "open_snapshot", "reachable_address"]


@attrs.frozen
class SiteReport:
    """One site: its own account of itself, or (``status`` None) why there is none."""

    site: str
    address: str
    status: SiteStatus | None
    reason: str = ""


class Session:
    """Asks all sites of a federation, or one snapshot; a context that closes its connections at the end."""

    def __init__(
        self, coordinator: Coordinator, universe: DimensionUniverse, closing: contextlib.ExitStack
    ) -> None:
        self.coordinator = coordinator
        self.universe = universe
        self._closing = closing
        self._runner = QueryRunner(coordinator, universe)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections; the session can't be used afterwards."""
        self._closing.close()

    @property
    def home(self) -> str:
        """The site from which is asked: its schemas come first, its replicas are near."""
        return self.coordinator.home

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites by name, home first."""
        return tuple(self.coordinator.clients)

    def client(self, site: str) -> SiteClient:
        """The connection to one site; `NotFoundError` for one that is not of this federation."""
        client = self.coordinator.clients.get(site)
        if not isinstance(client, SiteClient):
            raise NotFoundError(f"no site {site!r} to connect to", hint="sites: " + ", ".join(self.sites))
        return client

    def query(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
        row_count_max: int | None = None,
        byte_count_max: int | None = None,
        on_limit: str = "error",
    ) -> Result:
        """The answer to one statement over all sites.

        ``max_staleness_s`` admits replicas that equalled their owner so long ago (None: as the home site's file says).
        With ``partial``, sites that don't answer are left out and named in the result's ``missing``. ``chain`` names
        schemas to be searched first. Copies that lack an entry up to one of the positions ``after`` are not read; with
        ``as_of``, the positions of an earlier answer (its `vector`), only copies are that are exactly there.
        An answer of more rows, or bytes in memory, than given (None: than the home site's file allows) is an error;
        with ``on_limit`` ``"truncate"`` it ends there, and the result `is_truncated`. Raises `QueryError`,
        `UnavailableError` or `LimitError`.
        """
        with self._naming_silent_sites():
            return self.coordinator.query(
                sql,
                max_staleness_s=max_staleness_s,
                partial=partial,
                chain=chain,
                timeout_s=timeout_s,
                after=after,
                as_of=as_of,
                row_count_max=row_count_max,
                byte_count_max=byte_count_max,
                on_limit=on_limit,
            )

    @contextlib.contextmanager
    def stream(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
    ) -> Iterator[Stream]:
        """As `query`, but Arrow batches as they come; leaving the context ends the sites' work.

        ``with session.stream(sql) as batches: for batch in batches: ...``. What one site answers alone is never held
        whole; there is no limit on rows but that of each site's part.
        """
        with (
            self._naming_silent_sites(),
            self.coordinator.stream(
                sql,
                max_staleness_s=max_staleness_s,
                partial=partial,
                chain=chain,
                timeout_s=timeout_s,
                after=after,
                as_of=as_of,
            ) as stream,
        ):
            yield stream

    def explain(
        self,
        sql: str,
        *,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        after: Iterable[Position] = (),
        as_of: Iterable[Position] | None = None,
    ) -> Plan:
        """What `query` would run, and where; nothing is run."""
        with self._naming_silent_sites():
            return self.coordinator.explain(
                sql, max_staleness_s=max_staleness_s, partial=partial, chain=chain, after=after, as_of=as_of
            )

    def remember(self, positions: Iterable[Position]) -> None:
        """Let this session's queries from now on read nothing that lacks what is up to these positions.

        They are those of what somebody has just written: `federation.positions`. Of one schema the latest counts.
        """
        self.coordinator.remember(positions)

    def datasets(
        self,
        dataset_type: str | DatasetType,
        collections: str | Iterable[str] | None = None,
        where: str | Mapping[str, Any] = "",
        *,
        bind: Mapping[str, Any] | None = None,
        find_first: bool = True,
        order_by: Iterable[str] = (),
        limit: int | None = None,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        **data_id: Any,
    ) -> DatasetQuery:
        """A query for datasets of one type, over all sites; it runs when its results are asked for.

        ``collections`` are names or patterns, searched in that order; None is everywhere. With ``find_first``, a data
        ID's dataset is that of the first collection that has one. ``where`` is an expression, in which ``bind`` gives
        values to names; ``data_id`` are values of dimensions. The rest is as in `query`.
        """
        options = Options(max_staleness_s, partial, tuple(chain), timeout_s)
        made = dataset_query(self._runner, dataset_type, collections, find_first, options)
        return made.where(where, bind=bind, **data_id).order_by(*_names(order_by)).limit(limit)

    def data_ids(
        self,
        dimensions: str | Iterable[str],
        where: str | Mapping[str, Any] = "",
        *,
        datasets: str | DatasetType | Iterable[str | DatasetType] = (),
        collections: str | Iterable[str] | None = None,
        bind: Mapping[str, Any] | None = None,
        order_by: Iterable[str] = (),
        limit: int | None = None,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        **data_id: Any,
    ) -> DataIdQuery:
        """A query for data IDs of some dimensions.

        Dimensions that share no key are related by overlap of their regions or timespans. With ``datasets``, only data
        IDs for which there are datasets of all these types, in ``collections`` where they are given.
        """
        options = Options(max_staleness_s, partial, tuple(chain), timeout_s)
        made = data_id_query(self._runner, dimensions, datasets, collections, options)
        return made.where(where, bind=bind, **data_id).order_by(*_names(order_by)).limit(limit)

    def dimension_records(
        self,
        element: str,
        where: str | Mapping[str, Any] = "",
        *,
        bind: Mapping[str, Any] | None = None,
        order_by: Iterable[str] = (),
        limit: int | None = None,
        max_staleness_s: float | None = None,
        partial: bool = False,
        chain: Iterable[str] = (),
        timeout_s: float | None = None,
        **data_id: Any,
    ) -> DimensionRecordQuery:
        """A query for the records of a dimension, or of another element of the universe."""
        options = Options(max_staleness_s, partial, tuple(chain), timeout_s)
        made = dimension_record_query(self._runner, element, options)
        return made.where(where, bind=bind, **data_id).order_by(*_names(order_by)).limit(limit)

    @contextlib.contextmanager
    def _naming_silent_sites(self) -> Iterator[None]:
        """A name that nobody knows is no user's error while a site that may know it does not answer."""
        try:
            yield
        except QueryError as error:
            if not error.message.startswith(("unknown table", "unknown schema")):
                raise
            down = self.catalog().unreachable
            if not down:
                raise
            raise UnavailableError(
                f"{error.message}, and no answer from {', '.join(down)}: {next(iter(down.values()))}",
                hint="; ".join(f"federation site serve {site}" for site in down),
            ) from error

    def catalog(self) -> FederationCatalog:
        """Which site holds which schemas and tables now."""
        return self.coordinator.catalog()

    def watch(
        self,
        *schemas: str,
        start: str | Iterable[str] = "now",
        via: str | None = None,
        events: Iterable[str] = (),
        tables: Iterable[str] = (),
        dataset_types: Iterable[str] = (),
        collections: Iterable[str] = (),
        state: str | Path | None = None,
        once: bool = False,
    ) -> Watch:
        """An iterator over what is committed to ``schemas`` from now on; `federation.watch` describes the rest."""
        # replication is a third of what there is to import, and few sessions watch
        from federation.session_watch import event_filter, parse_start, watch_session

        return watch_session(
            self,
            schemas,
            start=parse_start(_names(start)),
            via=via,
            events=event_filter(tuple(events), tuple(tables), tuple(dataset_types), tuple(collections)),
            state=None if state is None else Path(state),
            once=once,
        )

    def status(self) -> tuple[SiteReport, ...]:
        """Every site by its own account, asked at once."""
        clients = self.coordinator.clients
        with request(), RequestPool(len(clients) or 1) as pool:
            return tuple(pool.map(_report, clients, clients.values()))


def _names(order_by: Iterable[str]) -> Iterable[str]:
    return (order_by,) if isinstance(order_by, str) else order_by


def _report(site: str, client: QueryableSite) -> SiteReport:
    address = getattr(client, "address", "")
    try:
        return SiteReport(site, address, client.status())
    except UnavailableError as error:
        return SiteReport(site, address, None, error.message)


def connect(
    site: str | Path | None = None, sites: str | Path = "sites", *, user: str | None = None
) -> Session:
    """A session whose home is ``site``: a name, the path of a site file, or the directory of a snapshot.

    ``sites`` is the directory of the site files; without ``site`` its first file is the home. The federation is the
    home, its peers, and the other files of the directory. Servers are asked when a query needs them, not before.
    ``user`` is on whose behalf is asked, who sees what they may read; without it, whoever the token is of (see
    `federation.session_token`), else the site's operator.
    """
    if site is not None and (Path(site) / FILE_NAME).is_file():
        return open_snapshot(site)
    directory = Path(sites)
    home = home_site(site, directory)
    addresses = {home.name: home.listen}
    for peer in home.peers:
        addresses.setdefault(peer.name, peer.address)
    for other in _beside(home, directory):
        addresses.setdefault(other.name, other.listen)
    user = None if user is None else check_user(user)
    token = find_token(home)
    with contextlib.ExitStack() as closing:
        clients = {
            name: closing.enter_context(
                SiteClient(name, str(reachable_address(address)), tls=home.tls, token=token, user=user or "")
            )
            for name, address in addresses.items()
        }
        coordinator = closing.enter_context(Coordinator(home.name, clients, home.query, user=user or ""))
        path = home.registry.universe_path
        universe = DimensionUniverse.load(path) if path else DimensionUniverse.default()
        return Session(coordinator, universe, closing.pop_all())
    raise AssertionError


def open_snapshot(path: str | Path) -> Session:
    """A session on the snapshot in a directory, read from its files alone."""
    # what makes snapshots comes with it, and is not needed to ask sites
    from federation.snapshot.open import open_snapshot as open_snapshot_registry

    with contextlib.ExitStack() as closing:
        registry = closing.enter_context(open_snapshot_registry(Path(path)))
        source = CatalogSource(registry)

        def catalog() -> SiteCatalog:
            # a snapshot answers for the moment it was made: none of its schemas is behind anything
            return source.catalog({held.schema: 0.0 for held in registry.held()})

        coordinator = Coordinator(registry.site, {registry.site: LocalSite(registry, catalog)}, QueryConfig())
        closing.enter_context(coordinator)
        return Session(coordinator, registry.universe, closing.pop_all())
    raise AssertionError


def home_site(site: str | Path | None, directory: Path) -> SiteConfig:
    """The site file of ``site``, by name or path; without one, the first of the directory."""
    return load_federation(directory)[0] if site is None else find_site(str(site), directory)


def reachable_address(address: Address) -> Address:
    """Where a server that listens at ``address`` is reached from this computer."""
    return attrs.evolve(address, host="127.0.0.1") if address.host in WILDCARD_HOSTS else address


def _beside(home: SiteConfig, directory: Path) -> tuple[SiteConfig, ...]:
    """The other sites of the directory; a home given by its path needs none."""
    try:
        return tuple(other for other in load_federation(directory) if other.name != home.name)
    except NotFoundError:
        return ()
    except ConfigError:
        if home.path.parent == directory.absolute():
            raise
        return ()
