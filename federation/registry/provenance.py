"""Provenance: which dataset was made from which, and what is above or below a dataset in one registry."""

from __future__ import annotations

import graphlib
import uuid
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.errors import ConflictError, UserError
from federation.model.lineage import Direction
from federation.model.system_tables import system_tables
from federation.registry.keyed import select_by_keys
from federation.registry.provenance_cache import graph_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from federation.registry.dataset_numbers import Ids
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.registry.transaction import Transaction

    Pair = tuple[uuid.UUID, uuid.UUID]
    Ints = npt.NDArray[np.int32]

__all__ = ["add_edges", "ancestors", "check_acyclic", "descendants", "reached"]

_PROVENANCE = next(table for table in system_tables() if table.name == "provenance")
_EDGE = _PROVENANCE.key
#: from this many seeds on, making a graph of all edges costs less than following them in the database
GRAPH_SEEDS_MIN = 1000


# -- writing ------------------------------------------------------------------------------------------------------


def add_edges(tx: Transaction, edges: Sequence[tuple[uuid.UUID, uuid.UUID, str | None]]) -> int:
    """Record (dataset, input, task) edges in the transaction's schema; returns how many are new.

    Inputs may live anywhere. `UserError` for a dataset made from itself, at once or over others.
    """
    for dataset_id, input_id, _ in edges:
        if dataset_id == input_id:
            raise UserError(f"dataset {dataset_id} can't be made from itself", hint="leave out this edge")
    keys = {(dataset_id, input_id): task for dataset_id, input_id, task in edges}
    there = {(row["dataset_id"], row["input_id"]) for row in tx.select("provenance", _EDGE, keys)}
    fresh = [pair for pair in keys if pair not in there]
    check_acyclic(tx, fresh)
    tx.put_columns(
        "provenance",
        {
            "dataset_id": [dataset_id for dataset_id, _ in fresh],
            "input_id": [input_id for _, input_id in fresh],
            "task": [keys[pair] for pair in fresh],
        },
        fresh=True,
    )
    return len(fresh)


def check_acyclic(tx: Transaction, edges: Iterable[Pair]) -> None:
    """`ConflictError` when (dataset, input) edges would close a cycle with one another or with what is recorded.

    Every cycle that uses a recorded edge enters it from a dataset that a new edge makes. So only what was made from
    those is read: for datasets that are new themselves, nothing.
    """
    graph: dict[uuid.UUID, set[uuid.UUID]] = {}
    for dataset_id, input_id in edges:
        graph.setdefault(dataset_id, set()).add(input_id)
    seen: set[uuid.UUID] = set()
    frontier = set(graph)
    while frontier:
        seen |= frontier
        reached = set()
        for dataset_id, input_id in _edges_below(tx, frontier):
            graph.setdefault(dataset_id, set()).add(input_id)
            reached.add(dataset_id)
        frontier = reached - seen
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        cycle: list[uuid.UUID] = error.args[1]
        shown = " -> ".join(str(dataset_id) for dataset_id in cycle[:6]) + (" ..." if len(cycle) > 6 else "")
        raise ConflictError(
            f"dataset {cycle[0]} would be made from itself: {shown}",
            hint="an output can't be upstream of its own input; leave out one of these edges",
        ) from None


def _edges_below(tx: Transaction, inputs: set[uuid.UUID]) -> Iterable[Pair]:
    keys = [(input_id,) for input_id in inputs]
    for edge in select_by_keys(tx.connection, tx.physical("provenance"), ("input_id",), keys, _EDGE):
        yield edge[0], edge[1]
    for row in tx.registry.rows_elsewhere(tx.held, "provenance", ("input_id",), keys):
        yield row["dataset_id"], row["input_id"]


# -- reading ------------------------------------------------------------------------------------------------------


def ancestors(
    registry: Registry, ids: Iterable[uuid.UUID], *, depth: int | None = None
) -> dict[uuid.UUID, int]:
    """Every dataset that these were made from, over all schemas of the registry, with the least number of steps to it.

    ``depth`` is the greatest number of steps; None: all. The seeds themselves are left out. Safe for cycles.
    """
    return _reach(registry, Direction.UPSTREAM, set(ids), depth)


def descendants(
    registry: Registry, ids: Iterable[uuid.UUID], *, depth: int | None = None
) -> dict[uuid.UUID, int]:
    """Every dataset that was made from these, as `ancestors`."""
    return _reach(registry, Direction.DOWNSTREAM, set(ids), depth)


def reached(
    registry: Registry, direction: Direction, ids: Ids, *, depth: int | None = None
) -> tuple[Ids, Ints] | None:
    """(ids, steps) of all that lies in one direction of ``ids``, these included, as arrays for many datasets.

    None where the registry's graph is too large to be held in memory.
    """
    held = graph_cache(registry).current(may_build=True)
    if held is None:
        return None
    numbers = held.graph.numbers.find(ids)
    walked = held.graph.walk(direction, numbers[numbers >= 0], depth=depth)
    return held.graph.numbers.ids[walked.datasets], walked.steps


def _reach(
    registry: Registry, direction: Direction, seeds: set[uuid.UUID], depth: int | None
) -> dict[uuid.UUID, int]:
    if depth is not None and depth < 0:
        raise UserError(f"depth {depth} is negative", hint="0 gives nothing, 1 the direct neighbours")
    if not seeds or depth == 0:
        return {}
    held = graph_cache(registry).current(may_build=len(seeds) >= GRAPH_SEEDS_MIN)
    if held is not None:
        return held.graph.reach(seeds, depth, direction)
    if depth is not None:
        return _by_level(registry, direction, seeds, depth)
    return _levels(seeds, _fixpoint(registry, direction, seeds))


def _by_level(
    registry: Registry, direction: Direction, seeds: set[uuid.UUID], depth: int
) -> dict[uuid.UUID, int]:
    found = dict.fromkeys(seeds, 0)
    frontier = seeds
    for level in range(1, depth + 1):
        reached: set[uuid.UUID] = set()
        for held in registry.held():
            with registry.database.read((held.physical,)) as connection:
                table = _table(registry, held)
                keys = [(dataset_id,) for dataset_id in frontier]
                rows = select_by_keys(connection, table, (direction.near,), keys, (direction.far,))
                reached.update(row[0] for row in rows)
        frontier = reached - found.keys()
        if not frontier:
            break
        found.update(dict.fromkeys(frontier, level))
    return {dataset_id: level for dataset_id, level in found.items() if level}


def _fixpoint(registry: Registry, direction: Direction, seeds: set[uuid.UUID]) -> set[Pair]:
    """All edges reached, as (near, far): in each schema to its own end, then on where others continue."""
    edges: set[Pair] = set()
    reached = set(seeds)
    followed: dict[HeldSchema, set[uuid.UUID]] = {held: set() for held in registry.held()}
    while any(reached - done for done in followed.values()):
        for held, done in followed.items():
            todo = sorted(reached - done)
            for start in range(0, len(todo), GRAPH_SEEDS_MIN):
                found = _follow(registry, held, direction, todo[start : start + GRAPH_SEEDS_MIN])
                edges |= found
                done.update(far for _, far in found)
            done.update(todo)
            reached |= done
    return edges


def _follow(
    registry: Registry, held: HeldSchema, direction: Direction, ids: Sequence[uuid.UUID]
) -> set[Pair]:
    """The edges that one schema leads to from ``ids``, by one recursive query; UNION ends it in a cycle too."""
    table = _table(registry, held)
    near, far = table.c[direction.near], table.c[direction.far]
    walk = sa.select(far.label("id")).where(near.in_(ids)).cte("walk", recursive=True)
    walk = walk.union(sa.select(far).select_from(walk.join(table, near == walk.c.id)))
    statement = sa.union(
        sa.select(near, far).where(near.in_(ids)),
        sa.select(near, far).select_from(walk.join(table, near == walk.c.id)),
    )
    with registry.database.read((held.physical,)) as connection:
        return {(row[0], row[1]) for row in connection.execute(statement)}


def _levels(seeds: set[uuid.UUID], edges: set[Pair]) -> dict[uuid.UUID, int]:
    """Fewest steps from the seeds over (near, far) edges."""
    after: dict[uuid.UUID, list[uuid.UUID]] = {}
    for near, far in edges:
        after.setdefault(near, []).append(far)
    found = dict.fromkeys(seeds, 0)
    frontier, level = list(seeds), 0
    while frontier:
        level += 1
        reached = {far for near in frontier for far in after.get(near, ())}
        frontier = list(reached - found.keys())
        found.update(dict.fromkeys(frontier, level))
    return {dataset_id: steps for dataset_id, steps in found.items() if steps}


def _table(registry: Registry, held: HeldSchema) -> sa.Table:
    return registry.physical_tables(held.physical, (_PROVENANCE,))["provenance"]
