"""The provenance graph of a registry, kept while the process lives and brought up to date by what was logged since."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

import attrs
import numpy as np
import sqlalchemy as sa

from federation.changelog.sequencer import stamp
from federation.errors import NotFoundError
from federation.model.position import Position
from federation.registry.dataset_numbers import ids_of
from federation.registry.marks import glance_at_marks, read_marks
from federation.registry.provenance_graph import EdgeLabel, ProvenanceGraph
from federation.registry.provenance_reading import (
    TABLE,
    EdgeBytes,
    edges_in_changes,
    edges_since,
    read_edges,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.changelog import LogState
    from federation.model.change import Change
    from federation.registry.marks import Mark
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["GRAPH_BYTES_MAX", "GraphCache", "HeldGraph", "graph_cache"]

#: memory that a process spends on the graph of one registry; a larger one is not kept
GRAPH_BYTES_MAX = 1 << 30
#: memory of one edge while a graph is built: both ids twice, codes and sorting
_BUILD_BYTES_PER_EDGE = 120
#: rows of a log that are decoded for the sake of edges; with more, reading all edges again costs less
_LOG_ROWS_MAX = 200_000
#: edges of replicas that are remembered as they are applied
_REMEMBERED_MAX = 200_000


@attrs.frozen(eq=False)
class HeldGraph:
    """A graph, and where each schema stood when its edges were read, by physical name."""

    graph: ProvenanceGraph
    marks: dict[str, Mark]

    def positions(self, held: Sequence[HeldSchema]) -> tuple[Position, ...]:
        """The positions of those schemas that it has."""
        return tuple(
            Position(
                one.schema.site, one.schema.name, self.marks[one.physical].epoch, self.marks[one.physical].lsn
            )
            for one in held
            if one.physical in self.marks
        )


@attrs.frozen(eq=False)
class _Applied:
    """What one batch added to a replica; ``edges`` None where it removed some."""

    previous: LogState
    target: LogState
    edges: EdgeBytes | None


class GraphCache:
    """The graph of one registry, at most ``bytes_max`` large; safe between threads."""

    def __init__(self, registry: Registry, bytes_max: int = GRAPH_BYTES_MAX) -> None:
        self._registry = weakref.proxy(registry)
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._held: HeldGraph | None = None
        self._applied: dict[str, deque[_Applied]] = {}
        self._applied_lock = threading.Lock()
        #: edges in all when the graph was found to be too large
        self._too_large = 0

    def current(self, *, may_build: bool) -> HeldGraph | None:
        """The graph as of now; None where it would be too large, or unless ``may_build`` where edges had to be read."""
        with self._lock:
            if self._held is None and not may_build:
                return None
            held = self._registry.held()
            known = self._held or HeldGraph(ProvenanceGraph.empty(), {})
            if self._held is None and not self._fits(held):
                return None
            graph, marks = known.graph, dict(known.marks)
            for physical in marks.keys() - {one.physical for one in held}:
                graph = graph.without_schema(physical)
                del marks[physical]
            for one in held:
                refreshed = self._refreshed(graph, marks, one, may_read=may_build)
                if refreshed is None:
                    return None
                graph = refreshed
            if graph.nbytes > self._bytes_max:
                self._held = None
                return None
            if graph is not known.graph or marks != known.marks:
                self._held = HeldGraph(graph, marks)
            return self._held

    @property
    def is_warm(self) -> bool:
        """Whether there is a graph."""
        return self._held is not None

    def clear(self) -> None:
        """Forget the graph."""
        with self._lock:
            self._held = None

    def applied(self, physical: str, previous: LogState, target: LogState, changes: Sequence[Change]) -> None:
        """Remember what was applied to a replica, while a graph is kept."""
        if self._held is None:
            return
        edges = EdgeBytes()
        step = _Applied(previous, target, edges if edges_in_changes(changes, edges) else None)
        with self._applied_lock:
            steps = self._applied.setdefault(physical, deque())
            steps.append(step)
            count = sum(len(one.edges or ()) + 1 for one in steps)
            while count > _REMEMBERED_MAX:
                count -= len(steps.popleft().edges or ()) + 1

    def _fits(self, held: Sequence[HeldSchema]) -> bool:
        count = 0
        for one in held:
            with self._registry.database.read((one.physical,)) as connection:
                count += connection.exec_driver_sql(
                    f'SELECT count(*) FROM "{one.physical}".{TABLE}'
                ).scalar_one()
        return count * _BUILD_BYTES_PER_EDGE <= 2 * self._bytes_max

    def _refreshed(
        self, graph: ProvenanceGraph, marks: dict[str, Mark], held: HeldSchema, *, may_read: bool
    ) -> ProvenanceGraph | None:
        """The graph with the edges of one schema as they are now; None where all had to be read, and may not."""
        database, physical = self._registry.database, held.physical
        known = marks.get(physical)
        try:
            (mark,) = glance_at_marks(database, (physical,))
            if known == mark:
                return graph
            if known is not None:
                if held.owned:
                    stamp(database, physical)
                (mark,) = glance_at_marks(database, (physical,))
                added = self._added(held, known, mark)
                if added is not None:
                    marks[physical] = mark
                    return _with_new(graph, physical, added)
            if not may_read:
                return None
            with database.read((physical,)) as connection:
                (mark,) = read_marks(connection, (physical,))
                edges = read_edges(database, connection, physical)
        except NotFoundError:  # dropped while it was looked at
            marks.pop(physical, None)
            return graph.without_schema(physical)
        marks[physical] = mark
        return _with(graph.without_schema(physical), physical, edges)

    def _added(self, held: HeldSchema, known: Mark, mark: Mark) -> EdgeBytes | None:
        """Edges between two marks of a schema; None where they can't be told."""
        if known.epoch != mark.epoch or mark.lsn < known.lsn:
            return None
        with self._registry.database.read((held.physical,)) as connection:
            rows = connection.execute(
                sa.text(
                    f'SELECT sum(row_count) FROM "{held.physical}".change_log WHERE lsn > :after AND lsn <= :head'
                ),
                {"after": known.lsn, "head": mark.lsn},
            ).scalar()
            if rows is not None and rows > _LOG_ROWS_MAX:
                return None
            if rows is not None or mark.lsn == known.lsn:
                found = edges_since(connection, held.physical, known.lsn, mark.lsn)
                if found is not None:
                    return found
        return self._remembered(held.physical, known, mark)

    def _remembered(self, physical: str, known: Mark, mark: Mark) -> EdgeBytes | None:
        """Edges that batches applied to a replica brought between two marks."""
        found = EdgeBytes()
        chain = known.chain
        with self._applied_lock:
            steps = self._applied.get(physical, deque())
            while steps and steps[0].previous.chain != chain:
                steps.popleft()
            for step in steps:
                if step.previous.chain != chain or step.edges is None:
                    return None
                names = list(step.edges.tasks)
                tasks = [names[code] for code in step.edges.codes.tolist()]
                found.add((bytes(step.edges.near),), (bytes(step.edges.far),), tasks)
                chain = step.target.chain
                if chain == mark.chain:
                    return found
        return None


def _with_new(graph: ProvenanceGraph, physical: str, edges: EdgeBytes) -> ProvenanceGraph:
    """With those of the edges that are not there: a log tells again what was read before it was numbered."""
    if not len(edges):
        return graph
    near, far = ids_of(edges.near), ids_of(edges.far)
    _, first = np.unique(np.stack([near, far], axis=1).view("V32").reshape(-1), return_index=True)
    new = np.sort(first)
    new = new[~graph.has_edges(near[new], far[new], physical)]
    if not len(new):
        return graph
    labels = [EdgeLabel(physical, task) for task in edges.tasks]
    return graph.with_edges(near[new].tobytes(), far[new].tobytes(), labels, edges.codes[new])


def _with(graph: ProvenanceGraph, physical: str, edges: EdgeBytes) -> ProvenanceGraph:
    if not len(edges):
        return graph
    labels = [EdgeLabel(physical, task) for task in edges.tasks]
    return graph.with_edges(edges.near, edges.far, labels, edges.codes)


_caches: weakref.WeakKeyDictionary[Registry, GraphCache] = weakref.WeakKeyDictionary()
_caches_lock = threading.Lock()


def graph_cache(registry: Registry) -> GraphCache:
    """The one cache of a registry in this process."""
    with _caches_lock:
        found = _caches.get(registry)
        if found is None:
            found = _caches[registry] = GraphCache(registry)
        return found
