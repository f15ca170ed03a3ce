"""The provenance graph at a replica: kept current from what is applied, without reading the edges from the database."""

from __future__ import annotations

import uuid

import attrs
import pytest

from federation.changelog import LogState
from federation.model.change import Change, Operation
from federation.model.position import GENESIS, SchemaId
from federation.registry import provenance_cache
from federation.registry.provenance import ancestors
from federation.registry.provenance_cache import GraphCache, graph_cache
from federation.registry.registry import Registry
from federation.replication.apply import Applier
from federation.replication.state import Apply

OTHER = SchemaId("summit", "summit")
COLUMNS = ("dataset_id", "input_id", "task")


def uid(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


def edges(*pairs: tuple[int, int]) -> Change:
    return Change.from_rows(
        "provenance",
        Operation.PUT,
        COLUMNS,
        [(uid(made).bytes, uid(used).bytes, "isr") for made, used in pairs],
    )


def no_edges(*pairs: tuple[int, int]) -> Change:
    rows = [(uid(made).bytes, uid(used).bytes) for made, used in pairs]
    return Change.from_rows("provenance", Operation.DELETE, COLUMNS[:2], rows)


@attrs.define
class Replica:
    """A replica to which batches are applied by number."""

    registry: Registry
    state: LogState = attrs.field(default=LogState("", 0, GENESIS))

    def apply(self, *changes: Change) -> None:
        target = LogState("e1", self.state.lsn + 1, (self.state.lsn + 1).to_bytes(16))
        applier = Applier(self.registry, self.registry.ensure_replica(OTHER))
        assert applier.apply(Apply(self.state, (), target), changes)
        self.state = target


@pytest.fixture
def replica(registry: Registry) -> Replica:
    """With a warm graph of two edges."""
    made = Replica(registry)
    made.apply(edges((1, 2), (2, 3)))
    assert graph_cache(registry).current(may_build=True) is not None
    return made


def held(registry: Registry) -> dict[uuid.UUID, int] | None:
    """What is upstream of the first dataset by the graph that is kept, unless edges would have to be read."""
    found = graph_cache(registry).current(may_build=False)
    return None if found is None else found.graph.reach([uid(1)])


def test_batches_bring_the_graph_along(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise AssertionError("all edges are read again")

    monkeypatch.setattr(provenance_cache, "read_edges", fail)
    replica.apply(edges((3, 4)))
    replica.apply(Change.from_rows("instrument", Operation.PUT, ("name",), [("Cam",)]))
    replica.apply(edges((1, 5), (4, 6)), edges((3, 4)))
    assert held(replica.registry) == {uid(2): 1, uid(5): 1, uid(3): 2, uid(4): 3, uid(6): 4}
    replica.apply(edges((6, 7)))
    assert ancestors(replica.registry, [uid(1)]) == held(replica.registry)
    assert uid(7) in ancestors(replica.registry, [uid(1)])


def test_a_batch_that_removes_edges_has_all_read_anew(replica: Replica) -> None:
    replica.apply(edges((3, 4)))
    replica.apply(no_edges((2, 3)))
    replica.apply(edges((2, 8)))
    assert held(replica.registry) is None
    assert graph_cache(replica.registry).current(may_build=True) is not None
    assert held(replica.registry) == {uid(2): 1, uid(8): 2}


def test_what_somebody_else_applied_has_all_read_anew(replica: Replica) -> None:
    elsewhere = GraphCache(replica.registry)  # as in another process, which is not told of batches
    assert elsewhere.current(may_build=True) is not None
    replica.apply(edges((3, 4)))
    assert held(replica.registry) == {uid(2): 1, uid(3): 2, uid(4): 3}
    assert elsewhere.current(may_build=False) is None
    found = elsewhere.current(may_build=True)
    assert found is not None
    assert found.graph.reach([uid(1)]) == held(replica.registry)


def test_batches_beyond_the_bound_have_all_read_anew(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance_cache, "_REMEMBERED_MAX", 4)
    for number in range(10, 15):
        replica.apply(edges((3, number)))
    assert held(replica.registry) is None
    assert graph_cache(replica.registry).current(may_build=True) is not None
    assert held(replica.registry) == {uid(2): 1, uid(3): 2, **{uid(number): 3 for number in range(10, 15)}}
