"""Many datasets of one type at once: from any form of rows, and what becomes of those that are there."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType, deterministic_id
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.registry.artifacts import Artifact, record
from federation.registry.collections import register, tag
from federation.registry.dataset_types import declare
from federation.registry.datasets import insert_many
from federation.registry.dimensions import insert_records
from federation.registry.registry import Registry

TYPE = DatasetType("dark", ("detector",), "ExposureF", metadata=(Field("level", LogicalType.FLOAT64),))
ALL = [{"instrument": "C", "detector": number} for number in range(1500)]


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    with registry.transaction("base") as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        detectors = {
            "instrument": ["C"] * 1500,
            "id": list(range(1500)),
            "full_name": [f"d{n}" for n in range(1500)],
        }
        assert insert_records(tx, "detector", detectors) == 1500
        declare(tx, TYPE)
        register(tx, Collection("run/a", CollectionType.RUN))
        register(tx, Collection("tags", CollectionType.TAGGED))
    return registry


def rows(registry: Registry, table: str) -> dict[uuid.UUID, dict[str, Any]]:
    tables = registry.tables(registry.held()[0].schema)
    with registry.database.read(("base",)) as connection:
        physical = registry.physical_tables("base", tuple(tables.values()))[table]
        return {row.dataset_id: dict(row._mapping) for row in connection.execute(sa.select(physical))}


@pytest.mark.parametrize("form", ["mappings", "columns", "arrow"])
def test_data_ids_may_be_given_in_any_form(stocked: Registry, form: str) -> None:
    columns = {"instrument": ["C"] * 1500, "detector": list(range(1500))}
    given: Any = {"mappings": ALL, "columns": columns, "arrow": pa.table(columns)}[form]
    levels: Any = {"level": [n / 2 for n in range(1500)]}
    with stocked.transaction("base") as tx:
        done = insert_many(
            tx, "dark", "run/a", given, metadata=pa.table(levels) if form == "arrow" else levels
        )
    assert done.new_count == 1500
    assert [identity.version for identity in (ref.id for ref in done.refs())] == [7] * 1500
    assert list(done.ids) == sorted(done.ids)
    kept = rows(stocked, "dark")
    assert {(row["detector"], row["level"]) for row in kept.values()} == {(n, n / 2) for n in range(1500)}
    assert {ref.id: ref.data_id["detector"] for ref in done.refs()} == {
        i: r["detector"] for i, r in kept.items()
    }
    assert rows(stocked, "dataset").keys() == kept.keys()


def test_ids_that_the_data_id_determines_are_the_same_every_time(stocked: Registry) -> None:
    for expected in (1500, 0):
        with stocked.transaction("base") as tx:
            done = insert_many(tx, "dark", "run/a", ALL, once=True)
            assert done.new_count == expected
            assert bool(tx.changes) == bool(expected)
    assert done.ids[7] == deterministic_id("dark", "run/a", ALL[7]).bytes


def test_what_is_there_is_refused_ignored_or_replaced(stocked: Registry) -> None:
    with stocked.transaction("base") as tx:
        first = insert_many(tx, "dark", "run/a", ALL[:3])
        old = [ref.id for ref in first.refs()]
        tag(tx, "tags", old)
        record(tx, [Artifact(old[0], "a/b", 3, "sha256:" + "0" * 64)])
    with pytest.raises(ConflictError, match="detector=0 is dataset"), stocked.transaction("base") as tx:
        insert_many(tx, "dark", "run/a", ALL[:5])
    assert set(rows(stocked, "dark")) == set(old)

    with stocked.transaction("base") as tx:
        ignored = insert_many(tx, "dark", "run/a", ALL[:5], on_conflict="ignore")
    assert ignored.ids[:3] == first.ids[:3]
    assert list(ignored.new) == [False] * 3 + [True] * 2

    with stocked.transaction("base") as tx:
        replaced = insert_many(tx, "dark", "run/a", ALL[:2], on_conflict="replace")
    assert replaced.new_count == 2
    kept = {ref.id for ref in replaced.refs()} | {old[2], *(uuid.UUID(bytes=i) for i in ignored.ids[3:])}
    assert set(rows(stocked, "dark")) == set(rows(stocked, "dataset")) == kept
    assert set(rows(stocked, "collection_member")) == {old[2]}
    assert rows(stocked, "artifact") == {}


def test_replacing_many_reads_once_and_writes_once(stocked: Registry) -> None:
    with stocked.transaction("base") as tx:
        insert_many(tx, "dark", "run/a", ALL)
    with stocked.transaction("base") as tx:
        second = insert_many(tx, "dark", "run/a", ALL, on_conflict="replace")
        operations = [(change.table, change.operation.value, change.row_count) for change in tx.changes]
    assert [item for item in operations if item[0] == "dark"] == [
        ("dark", "del", 1500),
        ("dark", "put", 1500),
    ]
    assert set(rows(stocked, "dark")) == {ref.id for ref in second.refs()}


def test_an_identity_is_never_given_to_something_else_whatever_is_asked(stocked: Registry) -> None:
    identity = uuid.UUID(int=9)
    with stocked.transaction("base") as tx:
        insert_many(tx, "dark", "run/a", ALL[:1], ids=[identity])
    for policy in ("refuse", "ignore", "replace"):
        with pytest.raises(ConflictError, match=str(identity)), stocked.transaction("base") as tx:
            insert_many(tx, "dark", "run/a", ALL[1:2], ids=[identity], on_conflict=policy)


def test_saying_the_same_twice_is_saying_it_once(stocked: Registry) -> None:
    with stocked.transaction("base") as tx:
        done = insert_many(tx, "dark", "run/a", [ALL[0], ALL[1], ALL[0]], once=True)
    assert list(done.new) == [True, True, False]
    assert done.ids[0] == done.ids[2]
    with pytest.raises(ConflictError, match="given twice"), stocked.transaction("base") as tx:
        insert_many(tx, "dark", "run/a", [ALL[5], ALL[5]])
    with pytest.raises(ConflictError, match="level"), stocked.transaction("base") as tx:
        insert_many(tx, "dark", "run/a", [ALL[5], ALL[5]], once=True, metadata={"level": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset_type": "bias"}, NotFoundError, "'bias' is not declared"),
        ({"run": "run/z"}, NotFoundError, "'run/z' is not registered"),
        ({"data_ids": [{"instrument": "C"}]}, UserError, "lacks detector"),
        ({"data_ids": [{"instrument": "C", "detector": 1500}]}, UserError, "no detector record"),
        ({"data_ids": [{"instrument": "C", "detector": 1, "colour": 2}]}, NotFoundError, "colour"),
        ({"data_ids": [{"instrument": "C", "detector.full_name": "d9999"}]}, UserError, "d9999"),
        ({"data_ids": [{"instrument": "C", "detector": 1, "full_name": "d2"}]}, UserError, "full_name"),
        ({"ids": []}, UserError, "1 datasets of type dark have 0 ids"),
        ({"ids": [b"short"]}, UserError, "no UUID of 16 bytes"),
        ({"metadata": {"level": [1.0, 2.0]}}, UserError, "have 2 rows of metadata"),
        ({"metadata": {"level": ["high"]}}, UserError, "level='high' is not of type float"),
        ({"metadata": {"colour": [1]}}, UserError, "no column colour"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    stocked: Registry, arguments: dict[str, Any], error: type[UserError], message: str
) -> None:
    good: dict[str, Any] = {"dataset_type": "dark", "run": "run/a", "data_ids": ALL[:1]}
    with pytest.raises(error, match=message), stocked.transaction("base") as tx:
        insert_many(tx, **(good | arguments))
    assert rows(stocked, "dataset") == {}


@pytest.mark.parametrize("key", ["detector.full_name", "full_name", "detector"])
def test_alternate_keys_stand_for_dimensions(stocked: Registry, key: str) -> None:
    with stocked.transaction("base") as tx:
        done = insert_many(tx, "dark", "run/a", [{"instrument": "C", key: f"d{n}"} for n in (3, 5)])
        texts = pa.table({"instrument": ["C", "C"], key: ["d3", "d5"]})
        register(tx, Collection("run/b", CollectionType.RUN))
        again = insert_many(tx, "dark", "run/b", texts)
    for inserted in (done, again):
        assert [ref.data_id["detector"] for ref in inserted.refs()] == [3, 5]


def test_nothing_to_insert_is_nothing_done(stocked: Registry) -> None:
    with stocked.transaction("base") as tx:
        for nothing in (
            [],
            {"instrument": [], "detector": []},
            pa.table({"instrument": pa.array([], pa.string())}),
        ):
            assert insert_many(tx, "dark", "run/a", nothing).new_count == 0
        assert tx.changes == []
