"""The sites' catalogs: those of now, asked for once however many want them, and the last ones known."""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING

from federation.errors import UnavailableError
from federation.model.catalog import FederationCatalog
from federation.request_context import RequestPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from federation.execution.gathering import QueryableSite
    from federation.model.catalog import SiteCatalog

__all__ = ["AskedCatalogs", "SiteCatalogs"]

#: requests to one site at one time, so that one that hangs holds up no other; who asks beyond them shares the next
AT_ONCE = 4
#: who was to answer with a fragment and has not by then is asked all the same
_LATE_S = 0.05


class AskedCatalogs:
    """Catalogs that are on their way; `result` waits for them."""

    def __init__(
        self,
        futures: Mapping[str, Future[SiteCatalog]],
        down: Mapping[str, str],
        combine: Callable[[Mapping[str, SiteCatalog], Mapping[str, str]], FederationCatalog],
        told: Mapping[str, Future[SiteCatalog]],
        catalogs: SiteCatalogs,
    ) -> None:
        self._futures, self._down, self._combine = dict(futures) | dict(told), dict(down), combine
        self._told, self._catalogs = dict(told), catalogs

    def tell(self, site: str, catalog: SiteCatalog) -> None:
        """What a site has sent along with something else."""
        self._catalogs.keep(site, catalog)
        with suppress(InvalidStateError):  # it was asked meanwhile, and has answered that
            self._told[site].set_result(catalog)

    def ask_rest(self, after_s: float = 0.0) -> None:
        """Ask the sites that were to send theirs along and have not ``after_s`` seconds from now."""
        waiting = concurrent.futures.wait(self._told.values(), after_s).not_done if self._told else ()
        for site, future in self._told.items():
            if future in waiting:
                self._catalogs.follow(site, future)

    def result(self) -> FederationCatalog:
        """The catalog of all sites that answered, with the reason for those that did not."""
        sites, down = {}, dict(self._down)
        for site, future in self._futures.items():
            try:
                sites[site] = future.result()
            except UnavailableError as error:
                down[site] = error.message
        return self._combine(sites, down)

    def when_done(self, then: Callable[[], None]) -> None:
        """Call ``then`` once, in some thread, when every site has answered or failed."""
        left = len(self._futures)
        lock = threading.Lock()

        def count(_future: Future[SiteCatalog]) -> None:
            nonlocal left
            with lock:
                left -= 1
                is_last = left == 0
            if is_last:
                then()

        for future in self._futures.values():
            future.add_done_callback(count)


class SiteCatalogs:
    """What the sites of one federation hold, home first, as one user may see it; safe between threads."""

    def __init__(self, home: str, clients: Mapping[str, QueryableSite], user: str = "") -> None:
        self._home, self.clients, self._user = home, clients, user
        self._late = RequestPool(AT_ONCE, thread_name_prefix="catalog-late")
        self._pools = {site: RequestPool(AT_ONCE, thread_name_prefix=f"catalog-{site}") for site in clients}
        self._lock = threading.Lock()
        self._sites: dict[str, SiteCatalog] = {}
        self._down: dict[str, str] = {}
        #: requests that no thread has begun yet
        self._unsent: dict[str, Future[SiteCatalog]] = {}
        #: the first request to a site of which nothing is known
        self._first: dict[str, Future[SiteCatalog]] = {}
        self._combined: tuple[tuple[SiteCatalog, ...], dict[str, str], FederationCatalog] | None = None

    def close(self) -> None:
        """End the threads."""
        for pool in (self._late, *self._pools.values()):
            pool.shutdown(wait=True, cancel_futures=True)

    def known(self) -> FederationCatalog | None:
        """What the sites said when they were last asked; None while one of them never was."""
        with self._lock:
            first = list(self._first.values())
        # somebody is being told everything just now: there is no need to be told it too
        concurrent.futures.wait(first)
        with self._lock:
            if any(site not in self._sites and site not in self._down for site in self.clients):
                return None
            sites = {site: known for site, known in self._sites.items() if site not in self._down}
            down = dict(self._down)
        return self._combine(sites, down) if sites else None

    def last(self) -> tuple[SiteCatalog, ...]:
        """The last word of every site that ever answered, be it down now."""
        with self._lock:
            return tuple(self._sites.values())

    def ask(self, unreachable: Mapping[str, str] | None = None, *, told: Iterable[str] = ()) -> AskedCatalogs:
        """Ask all sites at once but those that are ``unreachable``, for which the reason is given.

        Those of ``told`` are about to send theirs along with a fragment, and asked only when they are late.
        """
        down = dict(unreachable or {})
        later: dict[str, Future[SiteCatalog]] = {site: Future() for site in told}
        futures = {
            site: self._submit(site) for site in self._order() if site not in down and site not in later
        }
        asked = AskedCatalogs(futures, down, self._combine, later, self)
        if later:
            self._late.submit(asked.ask_rest, _LATE_S)
        return asked

    def keep(self, site: str, catalog: SiteCatalog) -> None:
        """What a site has said of itself just now."""
        with self._lock:
            self._sites[site] = catalog
            self._down.pop(site, None)

    def follow(self, site: str, future: Future[SiteCatalog]) -> None:
        """Ask a site, and give what it answers to ``future``, unless that has got something else by then."""

        def give(asked: Future[SiteCatalog]) -> None:
            if asked.cancelled():
                future.cancel()
                return
            error = asked.exception()
            with suppress(InvalidStateError):
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(asked.result())

        try:
            self._submit(site).add_done_callback(give)
        except RuntimeError:  # the pool has ended, and with it whoever waits
            future.cancel()

    def fresh(self, unreachable: Mapping[str, str] | None = None) -> FederationCatalog:
        """What all sites hold now."""
        return self.ask(unreachable).result()

    def _order(self) -> list[str]:
        return sorted(self.clients, key=lambda site: site != self._home)

    def _submit(self, site: str) -> Future[SiteCatalog]:
        with self._lock:
            future = self._unsent.get(site)
            if future is None:
                future = self._pools[site].submit(self._fetch, site)
                self._unsent[site] = future
                if site not in self._sites and site not in self._down:
                    self._first.setdefault(site, future)
            return future

    def _fetch(self, site: str) -> SiteCatalog:
        with self._lock:
            # who asks from now on may know of a commit that this request comes too early for
            self._unsent.pop(site, None)
            known = self._sites.get(site)
        try:
            fresh = self.clients[site].get_catalog(known.version if known else "", self._user)
            if fresh is None:
                if known is None:
                    raise UnavailableError(
                        f"site {site} sent no catalog", hint="bring both sites to one version"
                    )
                fresh = known
        except UnavailableError as error:
            with self._lock:
                self._down[site] = error.message
                self._first.pop(site, None)
            raise
        except BaseException:
            with self._lock:
                self._first.pop(site, None)
            raise
        with self._lock:
            self._sites[site] = fresh
            self._down.pop(site, None)
            self._first.pop(site, None)
        return fresh

    def _combine(self, sites: Mapping[str, SiteCatalog], down: Mapping[str, str]) -> FederationCatalog:
        """The sites in order of nearness; the same object as long as they said the same."""
        ordered = tuple(sites[site] for site in self._order() if site in sites)
        with self._lock:
            last = self._combined
        if (
            last is not None
            and len(last[0]) == len(ordered)
            and all(map(_is_same, last[0], ordered))
            and last[1] == down
        ):
            return last[2]
        made = FederationCatalog.permitted(self._home, ordered, dict(down))
        with self._lock:
            self._combined = (ordered, dict(down), made)
        return made


def _is_same(one: SiteCatalog, other: SiteCatalog) -> bool:
    return one is other
