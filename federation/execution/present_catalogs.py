"""The sites' present catalogs, asked for while a plan of older ones runs: with its fragments where that is cheaper."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from federation.wire.client import SiteClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.execution.gathering import QueryableSite
    from federation.execution.site_catalogs import AskedCatalogs, SiteCatalogs
    from federation.model.catalog import SiteCatalog
    from federation.planner import Plan

__all__ = ["PresentCatalogs"]


class PresentCatalogs:
    """Asked for once, by whoever begins or ends with ``guess``; ``when_done`` is called when all have answered.

    A near site that has fragments to run at once answers with the first of them; any other one by a call of its own.
    """

    def __init__(
        self,
        catalogs: SiteCatalogs,
        clients: Mapping[str, QueryableSite],
        guess: Plan,
        when_done: Callable[[], None],
    ) -> None:
        self._catalogs, self._when_done = catalogs, when_done
        carriers: dict[str, str] = {}
        for fragment in guess.fragments:
            client = clients.get(fragment.site)
            if not fragment.givers and isinstance(client, SiteClient) and client.is_near:
                carriers.setdefault(fragment.site, fragment.id)
        #: the site that answers with a fragment
        self._sites = {fragment: site for site, fragment in carriers.items()}
        self._lock = threading.Lock()
        self._asked: AskedCatalogs | None = None

    def comes_with(self, fragment: str) -> bool:
        """Whether a site is to be asked together with this fragment."""
        return fragment in self._sites

    def ask(self) -> AskedCatalogs:
        """Ask the sites, unless that was done."""
        with self._lock:
            is_first = self._asked is None
            if self._asked is None:
                self._asked = self._catalogs.ask(told=self._sites.values())
            asked = self._asked
        if is_first:
            asked.when_done(self._when_done)
        return asked

    def tell(self, fragment: str, catalog: SiteCatalog | None) -> None:
        """What came with a fragment; a site that sent nothing is asked after all."""
        if catalog is not None:
            self.ask().tell(self._sites[fragment], catalog)
