"""What keeps a replica young: one look finds what is new, few rows go in at once, a copy comes where it is faster."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from publishing_sites import Site
from replicated_rows import database_of, numbered_elsewhere, open_registry, rows, write

from federation.changelog import LogState, log_state, read_entries
from federation.changelog.growth import growth
from federation.errors import NotFoundError
from federation.model.change import Change, Operation
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.position import GENESIS, SchemaId
from federation.registry.registry import Registry
from federation.replication import copy_choice
from federation.replication.apply import Applier
from federation.replication.snapshots import stamp_all
from federation.replication.state import Apply
from federation.storage import Database

OTHER = SchemaId("summit", "summit")


def put(registry: Registry, *names: str) -> None:
    for name in names:
        with registry.transaction("base") as tx:
            tx.put("instrument", [{"name": name}])


def test_a_look_at_a_log_finds_its_end_and_what_is_new(registry: Registry) -> None:
    held = registry.get(SchemaId("base", "base"))
    put(registry, "A", "B", "C")
    with registry.database.read((held.physical,)) as connection:
        state, entries = (
            log_state(connection, held.physical),
            read_entries(connection, held.physical, 0, 1 << 20),
        )
    found = growth(registry.database, held.physical, 0, 1 << 20)
    assert (found.state, list(found.entries), found.is_unnumbered) == (state, entries, False)
    assert growth(registry.database, held.physical, 1, 1 << 20).entries == tuple(entries[1:])
    assert growth(registry.database, held.physical, 3, 1 << 20).entries == ()
    both = len(entries[0].body) + len(entries[1].body)
    assert [len(growth(registry.database, held.physical, 0, size).entries) for size in (1, both)] == [1, 2]


def test_a_look_tells_of_entries_that_still_have_no_number(registry: Registry) -> None:
    held = registry.get(SchemaId("base", "base"))
    with numbered_elsewhere(registry):
        put(registry, "A")
        found = growth(registry.database, held.physical, 0, 1 << 20)
    if registry.database.kind == "postgresql":
        assert (found.is_unnumbered, found.entries, found.state.lsn) == (True, (), 0)
    stamp_all(registry, held)
    found = growth(registry.database, held.physical, 0, 1 << 20)
    assert (found.is_unnumbered, len(found.entries)) == (False, 1)
    with pytest.raises(NotFoundError):
        growth(registry.database, "nowhere", 0, 1 << 20)


@attrs.define
class Replica:
    """A replica in a registry, to which transactions are applied by number."""

    registry: Registry
    applier: Applier = attrs.field(init=False)
    state: LogState = attrs.field(default=LogState("", 0, GENESIS))

    def __attrs_post_init__(self) -> None:
        self.applier = Applier(self.registry, self.registry.ensure_replica(OTHER))

    def apply(self, *changes: Change) -> bool:
        # the second one is applied to tables that are known, in the epoch that is known
        target = LogState("e1", self.state.lsn + 1, (self.state.lsn + 1).to_bytes(16))
        is_applied = self.applier.apply(Apply(self.state, (), target), changes)
        if is_applied:
            self.state = target
        return is_applied

    def collections(self) -> dict[str, str]:
        return {str(row[0]): str(row[2]) for row in rows(self.registry, OTHER)["collection"]}


def collection(*pairs: tuple[str, str]) -> Change:
    names = ("name", "type", "doc", "host", "timespan_begin", "timespan_end")
    return Change.from_rows(
        "collection", Operation.PUT, names, [(name, "TAGGED", doc, None, None, None) for name, doc in pairs]
    )


def test_the_last_word_on_a_row_counts(registry: Registry) -> None:
    replica = Replica(registry)
    assert replica.apply(collection(("a", "1")))
    assert replica.apply(collection(("a", "2"), ("b", "1")), collection(("a", "3")))
    assert replica.collections() == {"a": "3", "b": "1"}


def test_rows_that_exchange_what_is_unique_among_them_are_applied(registry: Registry) -> None:
    kind = DatasetType("bias", ("instrument", "detector"), "Exposure")
    declared = kind.to_row()
    table = registry.table_of(kind)

    def biases(*pairs: tuple[int, int]) -> Change:
        values = [
            {"dataset_id": uuid.UUID(int=number).bytes, "run": "r", "instrument": "Cam", "detector": detector}
            for number, detector in pairs
        ]
        found = [[row.get(name) for name in table.stored_names] for row in values]
        return Change.from_rows("bias", Operation.PUT, table.stored_names, found)

    replica = Replica(registry)
    assert replica.apply(
        Change.from_rows("dataset_type", Operation.PUT, tuple(declared), [tuple(declared.values())])
    )
    assert replica.apply(biases((1, 1), (2, 2)))
    assert replica.apply(biases((2, 1), (1, 2)))  # the first of them alone would be refused
    places = [table.stored_names.index(name) for name in ("dataset_id", "detector")]
    found = {tuple(row[place] for place in places) for row in rows(registry, OTHER)["bias"]}
    assert found == {(uuid.UUID(int=1), 2), (uuid.UUID(int=2), 1)}


def test_nothing_is_applied_to_a_replica_that_another_process_has_moved(registry: Registry) -> None:
    replica = Replica(registry)
    assert replica.apply(collection(("a", "1")))
    other = Replica(registry, state=replica.state)
    assert other.apply(collection(("a", "2")))
    assert not replica.apply(collection(("a", "3")), collection(("b", "3")))
    assert replica.collections() == {"a": "2"}


@pytest.fixture
def source(open_database: Callable[[], Database], universe: DimensionUniverse) -> Iterator[Site]:
    """The summit's site, on either kind of database."""
    with Registry.create_in(open_database(), "summit", universe) as made:
        site = Site(made)
        yield site
        site.end()


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Site]:
    with open_registry(database_of("sqlite", tmp_path / "base"), "base") as made:
        site = Site(made)
        yield site
        site.end()


def test_a_follower_takes_a_copy_where_the_log_is_much_longer_than_the_rows(
    source: Site, base: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_choice, "ENTRIES_MIN", 30)
    write(source.registry, 0)
    row_count = sum(map(len, rows(source.registry, OTHER).values()))
    follower = base.follower(source.serve())
    follower.run_once()
    assert source.publisher.copies == 0  # as many rows as entries say

    def change(count: int) -> None:
        for number in range(count):
            with source.registry.transaction("summit") as tx:
                tx.put("detector", [{"instrument": "Cam", "id": 0, "full_name": f"d{number}"}])

    change(20)  # too few to be worth while
    follower.run_once()
    assert source.publisher.copies == 0
    change(30 + 2 * row_count)
    follower.run_once()
    assert source.publisher.copies == 1
    assert base.lsn() == source.registry.position(OTHER).lsn
    assert rows(base.registry, OTHER) == rows(source.registry, OTHER)


def test_a_follower_that_wants_entries_gets_them_however_many(
    source: Site, base: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_choice, "ENTRIES_MIN", 0)
    monkeypatch.setattr(copy_choice, "_GAIN", 0.0)
    write(source.registry, 0)
    base.follower(source.serve(), takes_copies=False).run_once()
    assert source.publisher.copies == 0
    assert rows(base.registry, OTHER) == rows(source.registry, OTHER)
