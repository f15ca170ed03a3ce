"""Plans of statements that come again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from federation.garbage import no_cycle_search
from federation.planner import plan

if TYPE_CHECKING:
    from federation.model.catalog import FederationCatalog
    from federation.planner import Plan, PlanOptions

__all__ = ["PlanCache"]

_KEPT = 256


@attrs.frozen
class _Key:
    """All that a plan depends on: a site's version stands for all that its catalog says."""

    sql: str
    options: PlanOptions
    home: str
    versions: tuple[tuple[str, str], ...]
    unreachable: tuple[tuple[str, str], ...]


class PlanCache:
    """The latest plans; thread-safe. A statement is planned anew when the catalog of any site has changed."""

    def __init__(self) -> None:
        self._plans: OrderedDict[_Key, Plan] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, sql: str, catalog: FederationCatalog, options: PlanOptions) -> Plan:
        """As `federation.planner.plan`, from memory where nothing has changed."""
        key = _Key(
            sql,
            options,
            catalog.home,
            tuple((site.site, site.version) for site in catalog.sites),
            tuple(sorted(catalog.unreachable.items())),
        )
        with self._lock:
            found = self._plans.get(key)
            if found is not None:
                self._plans.move_to_end(key)
                return found
        # a tree of some thousand nodes is made and dropped: searching all else for garbage meanwhile costs more than it
        with no_cycle_search():
            made = plan(sql, catalog, options)
        with self._lock:
            self._plans[key] = made
            if len(self._plans) > _KEPT:
                self._plans.popitem(last=False)
        return made
