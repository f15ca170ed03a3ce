"""A registry of this process as a site: the calls of a remote one, without a server between."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

import attrs

from federation.execution.site import SiteExecutor
from federation.registry.access import Access
from federation.registry.catalog import CatalogSource
from federation.registry.provenance_walk import ProvenanceWalker
from federation.wire.arrow import column_pairs
from federation.wire.fragment_end import TimedBatches
from federation.wire.messages import ExecuteCall, SchemaStatus, SiteStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from federation.execution.site import Answer
    from federation.model.catalog import SiteCatalog
    from federation.model.key_filter import KeyFilter
    from federation.model.position import Position
    from federation.registry.registry import Registry
    from federation.wire.messages import Column
    from federation.wire.walks import WalkAnswer, WalkCall

__all__ = ["LocalRows", "LocalSite"]


class LocalRows:
    """Rows of one fragment, read as they are asked for."""

    def __init__(self, answer: Answer, cancel: Callable[[], None], spent_s: float = 0.0) -> None:
        self.positions, self.schema, self._batches = answer
        self._timed = TimedBatches(self._batches, spent_s)
        self.byte_count = 0
        self.cancel = cancel

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if hasattr(self._batches, "close"):
            self._batches.close()

    @property
    def site_seconds(self) -> float:
        """What checking, lowering and the database have taken."""
        return self._timed.end.site_seconds

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._timed:
            self.byte_count += batch.nbytes
            yield batch


class LocalSite:
    """One registry, asked directly; ``catalog`` says what it holds, with the age of replicas where one knows it."""

    def __init__(
        self,
        registry: Registry,
        catalog: Callable[[], SiteCatalog] | None = None,
        *,
        row_count_max: int = 10_000_000,
        software_version: str = "",
    ) -> None:
        self.site = registry.site
        #: SQLite's rows are made in this process, by one thread at a time
        self.answers_in_turn = registry.database.kind == "sqlite"
        self.registry = registry
        self._catalog = catalog or CatalogSource(registry).catalog
        self._access = Access(registry)
        self._executor = SiteExecutor(registry, row_count_max, self._access)
        self._walker = ProvenanceWalker(registry, self._access)
        self._software_version = software_version

    def get_catalog(self, known_version: str = "", user: str = "") -> SiteCatalog:  # noqa: ARG002
        """What the site holds, as the user may see it, always in whole: nothing is saved by leaving it out."""
        return attrs.evolve(self._access.catalog_for(user, self._catalog()), is_in_process=True)

    def execute(
        self,
        sql: str,
        columns: Sequence[Column],
        keys: Mapping[str, pa.Table] | None = None,
        *,
        user: str = "",
        query_id: str = "",
        row_count_max: int = 0,
        timeout_s: float | None = None,
        at: Sequence[Position] = (),
        filters: Sequence[KeyFilter] = (),
    ) -> LocalRows:
        """Run one fragment; use the result as a context and iterate over its batches."""
        pairs = column_pairs(columns, sql)
        is_over = threading.Event()
        call = ExecuteCall(
            *(sql, pairs, keys or {}, user, query_id, row_count_max, timeout_s),
            is_active=lambda: not is_over.is_set(),
            at=tuple(at),
            filters=tuple(filters),
        )
        start = time.perf_counter()
        answer = self._executor.execute(call)
        return LocalRows(answer, is_over.set, time.perf_counter() - start)

    def walk(self, call: WalkCall) -> WalkAnswer:
        """What is upstream or downstream of datasets, as far as it is known here."""
        return self._walker.walk(call)

    def status(self) -> SiteStatus:
        """The site by its own account."""
        catalog = self._catalog()
        schemas = []
        for held in catalog.schemas:
            datasets = held.stats.get("dataset")
            schemas.append(
                SchemaStatus(
                    held.schema,
                    held.schema.site == self.site,
                    held.epoch,
                    held.lsn,
                    held.head_lsn,
                    held.staleness_s,
                    dataset_count=datasets.row_count if datasets else 0,
                )
            )
        universe = self.registry.universe
        return SiteStatus(
            self.site,
            self._software_version,
            self.registry.database.kind,
            f"{universe.namespace} {universe.version}",
            tuple(schemas),
            self.registry.clock(),
        )

    def close(self) -> None:
        """Nothing to do: the registry is the caller's."""
