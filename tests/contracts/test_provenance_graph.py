"""The provenance graph that a process keeps: as the database has it, after every commit, without reading all again."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.errors import ForbiddenError, NotFoundError
from federation.model.dataset import DatasetType
from federation.model.lineage import Direction
from federation.model.position import SchemaId
from federation.registry import provenance, provenance_cache, provenance_walk
from federation.registry.access import Access
from federation.registry.dataset_numbers import DatasetNumbers, packed_ids
from federation.registry.provenance import add_edges, ancestors
from federation.registry.provenance_cache import GraphCache, graph_cache
from federation.registry.provenance_walk import ProvenanceWalker
from federation.registry.registry import Registry
from federation.wire.walks import WalkAnswer, WalkCall

Edge = tuple[int, int]
OWN = SchemaId("base", "base")


def uid(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


def ids(*numbers: int) -> bytes:
    return b"".join(uid(number).bytes for number in numbers)


def put(registry: Registry, *edges: Edge, task: str | None = None) -> None:
    with registry.transaction("base") as tx:
        add_edges(tx, [(uid(a), uid(b), task) for a, b in edges])


def known(registry: Registry) -> dict[uuid.UUID, int]:
    held = graph_cache(registry).current(may_build=False)
    assert held is not None
    return held.graph.reach([uid(1)])


def test_a_warm_graph_follows_commits_without_reading_all_edges_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(registry, (1, 2), (2, 3))
    assert graph_cache(registry).current(may_build=True) is not None

    def fail(*_args: object) -> None:
        raise AssertionError("all edges are read again")

    monkeypatch.setattr(provenance_cache, "read_edges", fail)
    assert known(registry) == {uid(2): 1, uid(3): 2}
    put(registry, (3, 4), (1, 5))
    assert known(registry) == {uid(2): 1, uid(5): 1, uid(3): 2, uid(4): 3}
    with registry.transaction("base") as tx:
        tx.put("instrument", [{"name": "Cam"}])
    put(registry, (3, 4), (4, 6))
    held = graph_cache(registry).current(may_build=False)
    assert held is not None
    assert held.graph.edge_count("base") == 5
    assert ancestors(registry, [uid(1)]) == held.graph.reach([uid(1)])


def test_a_graph_that_lost_edges_is_read_anew(registry: Registry) -> None:
    put(registry, (1, 2), (2, 3))
    assert graph_cache(registry).current(may_build=True) is not None
    with registry.transaction("base") as tx:
        tx.delete("provenance", [{"dataset_id": uid(2), "input_id": uid(3)}])
    assert graph_cache(registry).current(may_build=False) is None
    assert graph_cache(registry).current(may_build=True) is not None
    assert known(registry) == {uid(2): 1}


def test_a_graph_beyond_its_bound_is_not_kept(registry: Registry) -> None:
    put(registry, *((n, n + 1) for n in range(1, 100)))
    cache = GraphCache(registry, bytes_max=100)
    assert cache.current(may_build=True) is None
    assert not cache.is_warm
    assert len(ancestors(registry, [uid(1)])) == 99


def edges_of(answer: WalkAnswer) -> set[tuple[bytes, bytes, str | None]]:
    found = [answer.ids[at : at + 16] for at in range(0, len(answer.ids), 16)]
    return {
        (found[near], found[far], answer.label_names[label][1])
        for near, far, label in zip(
            answer.near.tolist(), answer.far.tolist(), answer.labels.tolist(), strict=True
        )
    }


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    graph=st.sets(
        st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(lambda e: e[0] > e[1]), max_size=40
    ),
    seeds=st.sets(st.integers(0, 17), min_size=1, max_size=4),
    depth=st.none() | st.integers(0, 4),
    direction=st.sampled_from(Direction),
    stop_at=st.sampled_from([(), ("odd",), ("odd", "even")]),
)
def test_the_database_and_the_graph_give_one_walk(
    registry: Registry,
    graph: set[Edge],
    seeds: set[int],
    depth: int | None,
    direction: Direction,
    stop_at: tuple[str, ...],
) -> None:
    with registry.transaction("base") as tx:
        for name in ("odd", "even"):
            tx.put("dataset_type", [DatasetType(name, (), "Plain").to_row()])
        tx.put(
            "dataset",
            [
                {
                    "dataset_id": uid(n), "dataset_type": ("even", "odd")[n % 2], "run": "r", "ingest_date": 0,
                }
                for n in range(12)
            ],
        )  # fmt: skip
        tx.delete(
            "provenance", [{"dataset_id": uid(a), "input_id": uid(b)} for a in range(16) for b in range(16)]
        )
        add_edges(tx, [(uid(a), uid(b), f"task{a}") for a, b in graph])
    walker = ProvenanceWalker(registry, Access(registry))
    call = WalkCall(direction, ids(*sorted(seeds)), (OWN,), depth=depth, stop_at=stop_at)
    graph_cache(registry).clear()
    by_database = walker.walk(call)
    assert not graph_cache(registry).is_warm
    assert graph_cache(registry).current(may_build=True) is not None
    by_graph = walker.walk(call)
    assert edges_of(by_database) == edges_of(by_graph)
    assert by_graph.positions == by_database.positions


def test_many_seeds_make_the_graph(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    put(registry, (1, 2))
    walker = ProvenanceWalker(registry, Access(registry))
    walker.walk(WalkCall(Direction.UPSTREAM, ids(1), (OWN,)))
    assert not graph_cache(registry).is_warm
    monkeypatch.setattr(provenance_walk, "WALK_SEEDS_MIN", 2)
    walker.walk(WalkCall(Direction.UPSTREAM, ids(1, 2), (OWN,)))
    assert graph_cache(registry).is_warm


def test_a_walk_sees_only_schemas_that_its_caller_may_read(registry: Registry) -> None:
    registry.create_schema("alice")
    walker = ProvenanceWalker(registry, Access(registry))
    alices = SchemaId("base", "alice")
    with registry.transaction("alice") as tx:
        add_edges(tx, [(uid(1), uid(2), None)])
    assert graph_cache(registry).current(may_build=True) is not None
    assert edges_of(walker.walk(WalkCall(Direction.UPSTREAM, ids(1), (OWN,)))) == set()
    assert len(edges_of(walker.walk(WalkCall(Direction.UPSTREAM, ids(1), (alices,))))) == 1
    with pytest.raises(ForbiddenError):
        walker.walk(WalkCall(Direction.UPSTREAM, ids(1), (alices,), user="bob"))
    with pytest.raises(NotFoundError, match="does not hold schema"):
        walker.walk(WalkCall(Direction.UPSTREAM, ids(1), (SchemaId("ncsa", "ncsa"),)))


def test_closures_of_many_are_given_as_arrays(registry: Registry) -> None:
    put(registry, (1, 2), (2, 3))
    found = provenance.reached(registry, Direction.DOWNSTREAM, packed_ids([uid(3), uid(9)]))
    assert found is not None
    reached, steps = found
    assert dict(zip((one.tobytes() for one in reached), steps.tolist(), strict=True)) == {
        ids(3): 0,
        ids(2): 1,
        ids(1): 2,
    }


def test_numbers_are_found_again_as_ids_are_added() -> None:
    numbers = DatasetNumbers.of(packed_ids(map(uid, range(100))))
    more, places = numbers.extended(packed_ids([uid(5), uid(200), uid(201), uid(200)]))
    assert places.tolist() == [5, 100, 101, 100]
    assert more.find(packed_ids([uid(201), uid(99), uid(7000)])).tolist() == [101, 99, -1]
    assert np.array_equal(numbers.find(packed_ids([uid(200)])), [-1])
