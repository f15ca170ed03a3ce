"""Registries behind servers of their own, and connections to them that tell what goes over the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from federation.execution.site import Answer, SiteExecutor
from federation.model.catalog import SiteCatalog
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.wire.client import SiteClient
from federation.wire.messages import ExecuteCall

#: nothing takes so long that goes right
BOUND_S = 30.0


class Served:
    """A registry behind a server; only what queries need. ``replica_age_s`` is how old it says its replicas are."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._source = CatalogSource(registry)
        self._executor = SiteExecutor(registry)
        self.replica_age_s = 0.0

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        catalog = self._source.catalog({held.schema: self.replica_age_s for held in self._registry.held()})
        return catalog.site, catalog.version, None if catalog.version == known_version else catalog

    def execute(self, call: ExecuteCall) -> Answer:
        return self._executor.execute(call)


class Watched:
    """A connection that counts what it is asked, and lets a test come between."""

    def __init__(self, client: SiteClient) -> None:
        self._client = client
        self.catalogs, self.fragments = 0, 0
        self.statements: list[str] = []
        self.has_executed = threading.Event()
        self.before_catalog: Callable[[], None] = lambda: None
        self.before_fragment: Callable[[], None] = lambda: None

    def get_catalog(self, known_version: str = "", user: str = "") -> SiteCatalog | None:
        self.catalogs += 1
        self.before_catalog()
        return self._client.get_catalog(known_version, user)

    def execute(self, sql: str, *args: Any, **more: Any) -> Any:
        self.fragments += 1
        self.statements.append(sql)
        self.has_executed.set()
        self.before_fragment()
        return self._client.execute(sql, *args, **more)

    def status(self) -> Any:
        return self._client.status()

    def close(self) -> None:
        self._client.close()

    def forget(self) -> None:
        """Count from here."""
        self.catalogs, self.fragments = 0, 0
        self.statements.clear()
        self.has_executed.clear()
