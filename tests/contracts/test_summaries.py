"""Summaries of collections: never too little, kept by every write, exact after a refresh."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import summaries
from federation.registry.collections import certify, register, remove_collection, tag, untag
from federation.registry.dataset_types import declare
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.dimensions import insert_records
from federation.registry.registry import Registry

SITE = "base"


def make(tx: Any, name: str, type_: str, *children: str) -> None:
    register(tx, Collection(name, CollectionType(type_), children=children))


def biases(tx: Any, run: str, instrument: str, *detectors: int) -> list[uuid.UUID]:
    new = [
        NewDataset("bias", run, {"instrument": instrument, "detector": number}, once=True)
        for number in detectors
    ]
    return [ref.id for ref in insert_datasets(tx, new).refs]


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """Instruments A and B, types ``bias`` (of an instrument) and ``note`` (of nothing), empty collections."""
    with registry.transaction(SITE) as tx:
        for name in "AB":
            insert_records(tx, "instrument", [{"name": name}])
            insert_records(
                tx, "detector", [{"instrument": name, "id": i, "full_name": f"d{i}"} for i in range(3)]
            )
        declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
        declare(tx, DatasetType("note", (), "Text"))
        for name, type_ in (("r1", "RUN"), ("r2", "RUN"), ("tags", "TAGGED"), ("cal", "CALIBRATION")):
            make(tx, name, type_)
    registry.create_schema("alice")
    return registry


def said(registry: Registry, schema: str = SITE) -> set[tuple[str, str, str, str]]:
    """Every row (collection, dataset type, governor, value) of a schema's summaries."""
    held = registry.get(SchemaId(SITE, schema))
    with registry.database.read((held.physical,)) as connection:
        tables = tuple(registry.tables_in(connection, held.physical).values())
        table = registry.physical_tables(held.physical, tables)["collection_summary"]
        return {tuple(row) for row in connection.execute(sa.select(table))}


def forget_all(registry: Registry) -> None:
    """As in a registry that an earlier format wrote."""
    with registry.database.write(SITE) as connection:
        connection.execute(sa.text(f'DELETE FROM "{SITE}".collection_summary'))


def test_inserting_tagging_and_certifying_note_what_a_collection_holds(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = [*biases(tx, "r1", "A", 0, 1), *biases(tx, "r2", "B", 0)]
        insert_datasets(tx, [NewDataset("note", "r1", {})])
        tag(tx, "tags", ids[:2])
        certify(tx, "cal", Timespan(), ids)
    assert said(stocked) == {
        ("r1", "bias", "instrument", "A"),
        ("r1", "note", "", ""),
        ("r2", "bias", "instrument", "B"),
        ("tags", "bias", "instrument", "A"),
        ("cal", "bias", "instrument", "A"),
        ("cal", "bias", "instrument", "B"),
    }


def test_only_what_is_new_is_written(stocked: Registry) -> None:
    def written(tx: Any) -> list[Any]:
        return [row for change in tx.changes if change.table == "collection_summary" for row in change.rows]

    with stocked.transaction(SITE) as tx:
        biases(tx, "r1", "A", 0)
    with stocked.transaction(SITE) as tx:
        biases(tx, "r1", "A", 1, 2)
        assert written(tx) == []
        biases(tx, "r1", "B", 0)
        biases(tx, "r1", "B", 1)
        assert written(tx) == [("r1", "bias", "instrument", "B")]


def test_a_summary_tells_what_a_collection_may_hold(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        biases(tx, "r1", "A", 0)
        insert_datasets(tx, [NewDataset("note", "r1", {})])
        found = summaries.read(tx, ["r1"])["r1"]
    assert found.known
    assert found.types == {"bias": {"instrument": frozenset("A")}, "note": {}}
    assert found.may_hold("bias", {"instrument": "A"})
    assert found.may_hold("bias", {"skymap": "any"})
    assert found.may_hold("note", {"instrument": "B"})
    assert not found.may_hold("bias", {"instrument": "B"})
    assert not found.may_hold("raw", {})


def test_of_a_collection_without_rows_nothing_is_known(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        biases(tx, "r1", "A", 0)
        make(tx, "both", "CHAINED", "r1", "r2")
    forget_all(stocked)
    with stocked.transaction("alice") as tx:
        insert_records(tx, "instrument", [])
        make(tx, "mine", "TAGGED")
    found = summaries.read(stocked, ["r1", "both", "mine", "never heard of"])
    assert not any(summary.known for summary in found.values())
    assert found["r1"].may_hold("anything", {"instrument": "Z"})


def test_a_collection_that_had_no_summary_gets_all_of_it_with_the_first_write(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = biases(tx, "r1", "A", 0, 1)
        tag(tx, "tags", ids[:1])
        certify(tx, "cal", Timespan(), ids[:1])
    before = said(stocked)
    forget_all(stocked)
    with stocked.transaction(SITE) as tx:
        insert_datasets(tx, [NewDataset("note", "r1", {})])
        tag(tx, "tags", ids[1:])
        certify(tx, "cal", Timespan(), ids[1:])
    assert said(stocked) == before | {("r1", "note", "", "")}


def test_a_chain_may_hold_what_its_children_may(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        biases(tx, "r1", "A", 0)
        biases(tx, "r2", "B", 0)
        make(tx, "inner", "CHAINED", "r2")
        make(tx, "outer", "CHAINED", "r1", "inner")
    found = summaries.read(stocked, ["outer", "inner"])
    assert found["outer"].types == {"bias": {"instrument": frozenset("AB")}}
    assert found["inner"].types == {"bias": {"instrument": frozenset("B")}}
    assert {row[0] for row in said(stocked)} == {"r1", "r2"}


def test_a_refresh_is_exact_after_removals(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        a, b = biases(tx, "r1", "A", 0), biases(tx, "r2", "B", 0)
        tag(tx, "tags", [*a, *b])
        certify(tx, "cal", Timespan(), [*a, *b])
    exact = said(stocked)
    with stocked.transaction(SITE) as tx:
        assert summaries.refresh(tx) == 0
        untag(tx, "tags", b)
    assert said(stocked) == exact
    with stocked.transaction(SITE) as tx:
        assert summaries.refresh(tx, ["cal"]) == 0
        assert summaries.refresh(tx) == 1
    assert said(stocked) == exact - {("tags", "bias", "instrument", "B")}
    forget_all(stocked)
    with stocked.transaction(SITE) as tx:
        assert summaries.refresh(tx) == 5
        biases(tx, "r2", "A", 0)
    assert said(stocked) == exact - {("tags", "bias", "instrument", "B")} | {
        ("r2", "bias", "instrument", "A")
    }


def test_a_users_schema_summarizes_what_it_adds_of_others_datasets(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = biases(tx, "r1", "A", 0, 1)
        tag(tx, "tags", ids[:1])
    with stocked.transaction("alice") as tx:
        tag(tx, "tags", ids[1:])
        make(tx, "mine", "TAGGED")
        tag(tx, "mine", ids)
        assert summaries.refresh(tx) == 0
    assert said(stocked, "alice") == {(name, "bias", "instrument", "A") for name in ("tags", "mine")}
    assert summaries.read(stocked, ["tags"])["tags"].types == {"bias": {"instrument": frozenset("A")}}


def test_what_is_said_of_datasets_that_are_unknown_here_is_kept(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = biases(tx, "r1", "A", 0)
    with stocked.transaction("alice") as tx:
        make(tx, "mine", "TAGGED")
        tag(tx, "mine", ids)
    with stocked.database.write(SITE) as connection:  # as when a replica is dropped
        for table in ("ds_bias", "dataset"):
            connection.execute(sa.text(f'DELETE FROM "{SITE}"."{table}"'))
    with stocked.transaction("alice") as tx:
        assert summaries.refresh(tx) == 0
    assert said(stocked, "alice") == {("mine", "bias", "instrument", "A")}


def test_a_removed_collection_leaves_no_summary(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        biases(tx, "r1", "A", 0)
        remove_collection(tx, "r1", purge=True)
        make(tx, "r1", "RUN")
        biases(tx, "r1", "B", 0)
    assert said(stocked) == {("r1", "bias", "instrument", "B")}
