"""Walks along provenance within one registry: by its graph where there is one, else by the database itself."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from federation.errors import NotFoundError
from federation.model.system_tables import system_tables
from federation.registry.dataset_numbers import ids_of
from federation.registry.keyed import chunks, select_by_keys
from federation.registry.marks import glance_at_marks
from federation.registry.provenance_cache import HeldGraph, graph_cache
from federation.registry.provenance_graph import EdgeLabel, ProvenanceGraph
from federation.wire.walks import WalkAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from federation.registry.access import Access
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.walks import WalkCall

    Ints = npt.NDArray[np.int32]

__all__ = ["WALK_SEEDS_MIN", "ProvenanceWalker"]

#: from this many seeds on, making a graph of all edges costs less than following them in the database
WALK_SEEDS_MIN = 1000
#: seeds of one recursive statement
_STATEMENT_SEEDS = 1000
_TABLES = {table.name: table for table in system_tables()}


class ProvenanceWalker:
    """Answers walks in one registry, for callers as far as they may read; safe between threads."""

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry, self._access = registry, access

    def walk(self, call: WalkCall) -> WalkAnswer:
        """Follow edges; `ForbiddenError` for a schema that the caller may not read, `NotFoundError` for none here."""
        held = []
        for schema in call.schemas:
            self._access.check(call.user, schema)
            one = self._registry.find(schema)
            if one is None:
                raise NotFoundError(
                    f"site {self._registry.site} does not hold schema {schema}",
                    hint="ask again: it was dropped",
                )
            held.append(one)
        few = len(call.ids) < 16 * WALK_SEEDS_MIN
        kept = graph_cache(self._registry).current(may_build=not few)
        if kept is None:
            kept = self._found(call, held)
        return self._answer(call, held, kept)

    def _answer(self, call: WalkCall, held: Sequence[HeldSchema], kept: HeldGraph) -> WalkAnswer:
        graph = kept.graph
        numbers = graph.numbers.find(ids_of(call.ids))
        known = numbers >= 0
        seeds = numbers[known]
        steps = None if call.steps is None else call.steps[known]
        types = _Types(self._registry, held, graph, call.stop_at) if call.stop_at else None
        walked = graph.walk(
            call.direction,
            seeds,
            steps=steps,
            depth=call.depth,
            passes=None if types is None else types.passes,
            schemas=[one.physical for one in held],
            with_edges=True,
        )
        places = np.empty(len(graph.numbers), np.int32)
        places[walked.datasets] = np.arange(len(walked.datasets), dtype=np.int32)
        expanded = np.ones(len(walked.datasets), np.bool_)
        if call.depth is not None:
            expanded &= walked.steps < call.depth
        if types is not None:
            expanded &= types.passes(walked.datasets) | np.isin(walked.datasets, seeds)
        by_physical = {one.physical: one.schema for one in held}
        used = np.unique(walked.labels)
        label_of = np.zeros(len(graph.labels) or 1, np.int16)
        label_of[used] = np.arange(len(used), dtype=np.int16)
        return WalkAnswer(
            kept.positions(held),
            graph.numbers.ids[walked.datasets].tobytes(),
            walked.steps,
            expanded,
            () if types is None else types.names(walked.datasets),
            places[walked.near],
            places[walked.far],
            label_of[walked.labels],
            tuple((by_physical[graph.labels[n].schema], graph.labels[n].task) for n in used.tolist()),
        )

    # -- without a graph of all -------------------------------------------------------------------------------

    def _found(self, call: WalkCall, held: Sequence[HeldSchema]) -> HeldGraph:
        """A graph of what the database finds for this call: all that it leads to, and no less."""
        edges: dict[tuple[str, bytes, bytes], str | None] = {}
        # before the first edge is read: as far as this, at least, all of them are
        marks = {one.physical: glance_at_marks(self._registry.database, (one.physical,))[0] for one in held}
        followed: dict[str, set[bytes]] = {one.physical: set() for one in held}
        reached = {call.ids[place : place + 16] for place in range(0, len(call.ids), 16)}
        #: a level at a time where the walk may end before the edges do
        by_level = call.depth is not None or bool(call.stop_at)
        level = min(call.steps.tolist(), default=0) if call.steps is not None else 0
        while any(reached - done for done in followed.values()):
            if call.depth is not None and level >= call.depth:
                break
            level += 1
            fresh: set[bytes] = set()
            for one in held:
                todo = reached - followed[one.physical]
                followed[one.physical] |= todo
                with self._registry.database.read((one.physical,)) as connection:
                    rows = self._edges(connection, one, call, todo, recursive=not by_level)
                for dataset_id, input_id, task in rows:
                    near, far = dataset_id.bytes, input_id.bytes
                    edges[one.physical, near, far] = task
                    fresh.add(far if call.direction.far == "input_id" else near)
                if not by_level:  # to its own end already
                    followed[one.physical] |= fresh
                    reached |= fresh
            if call.stop_at:
                fresh -= _stopping(self._registry, held, fresh, call.stop_at)
            reached |= fresh
        return HeldGraph(_graph_of(edges), marks)

    def _edges(
        self, connection: sa.Connection, held: HeldSchema, call: WalkCall, ids: set[bytes], *, recursive: bool
    ) -> list[tuple[uuid.UUID, uuid.UUID, str | None]]:
        table = self._registry.physical_tables(held.physical, (_TABLES["provenance"],))["provenance"]
        names = ("dataset_id", "input_id", "task")
        keys = [(uuid.UUID(bytes=one),) for one in sorted(ids)]
        if not recursive:
            found = select_by_keys(connection, table, (call.direction.near,), keys, names)
            return [(row[0], row[1], row[2]) for row in found]
        near, far = table.c[call.direction.near], table.c[call.direction.far]
        columns = [table.c[name] for name in names]
        rows: list[tuple[uuid.UUID, uuid.UUID, str | None]] = []
        for chunk in chunks((key for (key,) in keys), _STATEMENT_SEEDS):
            walk = sa.select(far.label("id")).where(near.in_(chunk)).cte("walk", recursive=True)
            walk = walk.union(sa.select(far).select_from(walk.join(table, near == walk.c.id)))
            statement = sa.union(
                sa.select(*columns).where(near.in_(chunk)),
                sa.select(*columns).select_from(walk.join(table, near == walk.c.id)),
            )
            rows += [(row[0], row[1], row[2]) for row in connection.execute(statement)]
        return rows


def _graph_of(edges: dict[tuple[str, bytes, bytes], str | None]) -> ProvenanceGraph:
    labels: dict[EdgeLabel, int] = {}
    codes = [
        labels.setdefault(EdgeLabel(physical, task), len(labels)) for (physical, _, _), task in edges.items()
    ]
    near, far = b"".join(key[1] for key in edges), b"".join(key[2] for key in edges)
    return ProvenanceGraph.empty().with_edges(near, far, tuple(labels), np.array(codes, np.int16))


def _stopping(
    registry: Registry, held: Sequence[HeldSchema], ids: set[bytes], stop_at: Sequence[str]
) -> set[bytes]:
    """Those of the datasets that are not passed: of a type to stop at, or of none that is known here."""
    known = _types_of(registry, held, [uuid.UUID(bytes=one) for one in sorted(ids)])
    return {one for one in ids if known.get(one, stop_at[0]) in stop_at}


def _types_of(registry: Registry, held: Sequence[HeldSchema], ids: Sequence[uuid.UUID]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for one in held:
        table = registry.physical_tables(one.physical, (_TABLES["dataset"],))["dataset"]
        with registry.database.read((one.physical,)) as connection:
            keys = [(identity,) for identity in ids]
            names = ("dataset_id", "dataset_type")
            found |= {
                row[0].bytes: row[1]
                for row in select_by_keys(connection, table, ("dataset_id",), keys, names)
            }
    return found


class _Types:
    """Dataset types of a graph's datasets, looked up as a walk comes to them."""

    def __init__(
        self, registry: Registry, held: Sequence[HeldSchema], graph: ProvenanceGraph, stop_at: Sequence[str]
    ) -> None:
        self._registry, self._held, self._graph = registry, held, graph
        self._stop_at = frozenset(stop_at)
        self._names: list[str | None] = [None]
        #: place in the names by number; -1 where it has not been looked up
        self._codes = np.full(len(graph.numbers), -1, np.int32)
        self._passed = np.zeros(1, np.bool_)

    def passes(self, numbers: Ints) -> npt.NDArray[np.bool_]:
        """Which of the datasets are gone on from."""
        self._look_up(numbers)
        passed: npt.NDArray[np.bool_] = self._passed[self._codes[numbers]]
        return passed

    def names(self, numbers: Ints) -> tuple[str | None, ...]:
        """The types of datasets, None where they are not known here."""
        self._look_up(numbers)
        return tuple(self._names[code] for code in self._codes[numbers].tolist())

    def _look_up(self, numbers: Ints) -> None:
        unknown = numbers[self._codes[numbers] < 0]
        if not len(unknown):
            return
        data = self._graph.numbers.ids[unknown].tobytes()
        ids = [data[place : place + 16] for place in range(0, len(data), 16)]
        found = _types_of(self._registry, self._held, [uuid.UUID(bytes=one) for one in ids])
        places: dict[Any, int] = {name: place for place, name in enumerate(self._names)}
        codes = [places.setdefault(found.get(one), len(places)) for one in ids]
        self._codes[unknown] = codes
        self._names = list(places)
        self._passed = np.array(
            [name is not None and name not in self._stop_at for name in self._names], np.bool_
        )
