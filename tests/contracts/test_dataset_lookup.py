"""Point lookups: one dataset by id, or by type, data ID and collections."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetRef, DatasetType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry.lookup import DatasetLookup
from federation.registry.registry import Registry

CAM = {"instrument": "Cam"}


@pytest.fixture
def lookup(registry: Registry) -> DatasetLookup:
    """Lookups in a registry with two detectors, three runs of biases and a few collections over them."""
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(
            tx, "detector", [{**CAM, "id": i, "full_name": f"D{i:02d}", "raft": "R1"} for i in (1, 2)]
        )
        dimensions.insert_records(tx, "physical_filter", [{**CAM, "name": "r_01", "band": "r"}])
        dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
        dataset_types.declare(tx, DatasetType("flat", ("detector", "physical_filter"), "Exposure"))
        for run in ("a", "b", "c"):
            collections.register(tx, Collection(run, CollectionType.RUN))
        for name, kind in (("tagged", CollectionType.TAGGED), ("calib", CollectionType.CALIBRATION)):
            collections.register(tx, Collection(name, kind))
        chain(tx, "inner", "b", "c")
        chain(tx, "outer", "a", "inner")
    return DatasetLookup(registry)


def chain(tx: Any, name: str, *children: str) -> None:
    collections.register(tx, Collection(name, CollectionType.CHAINED, children=children))


def insert(
    registry: Registry, name: str, run: str, data_id: Mapping[str, Any], schema: str = "base"
) -> uuid.UUID:
    with registry.transaction(schema) as tx:
        done = datasets.insert_many(tx, name, run, [{**CAM, **data_id}])
    return uuid.UUID(bytes=done.ids[0])


def bias(registry: Registry, run: str, detector: int = 1, schema: str = "base") -> uuid.UUID:
    return insert(registry, "bias", run, {"detector": detector}, schema)


def found(
    lookup: DatasetLookup, names: str | list[str], timespan: Timespan | None = None
) -> uuid.UUID | None:
    ref = lookup.find_dataset("bias", {**CAM, "detector": 1}, names, timespan=timespan)
    return None if ref is None else ref.id


def test_finds_a_dataset_by_its_id(lookup: DatasetLookup, registry: Registry) -> None:
    one, two = bias(registry, "a"), insert(registry, "flat", "b", {"detector": 2, "physical_filter": "r_01"})
    for _ in range(2):  # also when the type is the one that is not expected
        ref = lookup.get_dataset(one)
        assert ref is not None
        assert (ref.dataset_type, ref.run, dict(ref.data_id)) == ("bias", "a", {**CAM, "detector": 1})
        ref = lookup.get_dataset(two)
        assert ref is not None
        assert dict(ref.data_id) == {**CAM, "detector": 2, "physical_filter": "r_01"}
    assert lookup.get_dataset(uuid.uuid4()) is None


def test_an_id_that_is_no_uuid_is_refused(lookup: DatasetLookup) -> None:
    with pytest.raises(UserError, match="'abc' is not a UUID"):
        lookup.get_dataset("abc")  # type: ignore[arg-type]


def test_finds_a_dataset_in_a_run(lookup: DatasetLookup, registry: Registry) -> None:
    one = bias(registry, "a")
    assert lookup.find_dataset("bias", {**CAM, "detector": 1}, "a") == DatasetRef(
        one,
        "bias",
        lookup.get_dataset(one).data_id,
        "a",  # type: ignore[union-attr]
    )
    assert found(lookup, "b") is None


def test_the_first_collection_that_has_one_wins(lookup: DatasetLookup, registry: Registry) -> None:
    last = bias(registry, "c")
    assert found(lookup, "outer") == last
    middle = bias(registry, "b")
    assert found(lookup, "outer") == middle
    assert found(lookup, ["c", "outer"]) == last
    first = bias(registry, "a")
    assert found(lookup, "outer") == first
    assert found(lookup, ["inner", "a"]) == middle


def test_a_changed_chain_is_seen_at_once(lookup: DatasetLookup, registry: Registry) -> None:
    one, two = bias(registry, "b"), bias(registry, "c")
    assert found(lookup, "inner") == one
    with registry.transaction("base") as tx:
        chain(tx, "inner", "c", "b")
    assert found(lookup, "inner") == two
    with registry.transaction("base") as tx:
        chain(tx, "inner", "a")
    assert found(lookup, "inner") is None


def test_what_is_declared_later_is_found(lookup: DatasetLookup, registry: Registry) -> None:
    bias(registry, "a")
    assert found(lookup, "a") is not None
    with pytest.raises(NotFoundError, match="dataset type 'dark' is not declared at base"):
        lookup.find_dataset("dark", {**CAM, "detector": 1}, "a")
    with registry.transaction("base") as tx:
        dataset_types.declare(tx, DatasetType("dark", ("detector",), "Exposure"))
        collections.register(tx, Collection("d", CollectionType.RUN))
    dark = insert(registry, "dark", "d", {"detector": 1})
    assert lookup.get_dataset(dark) is not None
    assert lookup.find_dataset("dark", {**CAM, "detector": 1}, "d") is not None


def test_finds_a_tagged_dataset_before_those_of_later_runs(lookup: DatasetLookup, registry: Registry) -> None:
    one, two = bias(registry, "a"), bias(registry, "b")
    with registry.transaction("base") as tx:
        collections.tag(tx, "tagged", [two])
    assert found(lookup, ["tagged", "a"]) == two
    assert found(lookup, ["a", "tagged"]) == one
    assert lookup.find_dataset("bias", {**CAM, "detector": 2}, "tagged") is None


def test_finds_the_calibration_that_is_valid(lookup: DatasetLookup, registry: Registry) -> None:
    old, new = bias(registry, "a"), bias(registry, "b")
    with registry.transaction("base") as tx:
        collections.certify(tx, "calib", Timespan(None, 100), [old])
        collections.certify(tx, "calib", Timespan(100, 200), [new])
    assert found(lookup, "calib", Timespan(99, 100)) == old
    assert found(lookup, "calib", Timespan(100, 101)) == new
    assert found(lookup, "calib", Timespan(200, 201)) is None
    assert found(lookup, ["calib", "c"]) is None


def test_a_timespan_that_two_calibrations_are_valid_in_is_ambiguous(
    lookup: DatasetLookup, registry: Registry
) -> None:
    old, new = bias(registry, "a"), bias(registry, "b")
    with registry.transaction("base") as tx:
        collections.certify(tx, "calib", Timespan(0, 100), [old])
        collections.certify(tx, "calib", Timespan(100, 200), [new])
    with pytest.raises(ConflictError) as caught:
        found(lookup, "calib", Timespan(50, 150))
    assert str(old) in caught.value.message
    assert str(new) in caught.value.message
    assert "calib" in caught.value.message


def test_calibrations_need_a_timespan(lookup: DatasetLookup) -> None:
    with pytest.raises(UserError, match="calib, where datasets have validity ranges") as caught:
        found(lookup, "calib")
    assert "timespan=" in caught.value.hint
    with pytest.raises(UserError, match="empty"):
        found(lookup, "calib", Timespan(5, 5))


def test_an_unknown_collection_is_named(lookup: DatasetLookup) -> None:
    with pytest.raises(NotFoundError, match="no collection 'nosuch' at base"):
        found(lookup, ["a", "nosuch"])


@pytest.mark.parametrize(
    "data_id",
    [
        {"instrument": "Cam", "detector.full_name": "D02"},
        {"instrument": "Cam", "full_name": "D02"},
        {"instrument": "Cam", "detector": "D02"},
        {"full_name": "D02"},
        {"detector": 2},
        {"detector": 2, "raft": "R1"},
        {"instrument": "Cam", "detector": 2, "band": "r"},
        {"instrument": "Cam", "detector": np.int64(2)},
    ],
)
def test_a_data_id_may_be_given_by_what_determines_it(
    lookup: DatasetLookup, registry: Registry, data_id: dict[str, Any]
) -> None:
    bias(registry, "a", 1)
    wanted = bias(registry, "a", 2)
    ref = lookup.find_dataset("bias", data_id, "a")
    assert ref is not None
    assert (ref.id, dict(ref.data_id)) == (wanted, {**CAM, "detector": 2})


@pytest.mark.parametrize(
    ("data_id", "error", "message"),
    [
        ({"instrument": "Cam"}, UserError, "lacks detector"),
        ({**CAM, "raft": "R1"}, UserError, r"detector.raft='R1' is ambiguous: detector may be 1, 2"),
        (
            {**CAM, "detector.full_name": "D99"},
            NotFoundError,
            "no detector has full_name 'D99' with instrument='Cam'",
        ),
        ({**CAM, "colour": 1}, NotFoundError, "'colour' is neither a dimension nor a column of records"),
        ({**CAM, "detector": 1, "full_name": "D02"}, UserError, "detector.full_name='D02' is of detector 2"),
        ({**CAM, "detector": 1.5}, UserError, "detector=1.5 is not of type int"),
        (
            {**CAM, "detector.nosuch": 1},
            NotFoundError,
            "'detector.nosuch' is neither a dimension nor a column",
        ),
        ({**CAM, "full_name": 3}, UserError, "full_name=3 is not of type str"),
    ],
)
def test_a_data_id_that_determines_nothing_is_refused(
    lookup: DatasetLookup, data_id: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lookup.find_dataset("bias", data_id, "a")


def test_an_implied_value_that_contradicts_the_records_is_refused(
    lookup: DatasetLookup, registry: Registry
) -> None:
    insert(registry, "flat", "a", {"detector": 1, "physical_filter": "r_01"})
    data_id = {**CAM, "detector": 1, "physical_filter": "r_01"}
    assert lookup.find_dataset("flat", {**data_id, "band": "r"}, "a") is not None
    with pytest.raises(UserError, match="band is given as 'g', but its records imply 'r'"):
        lookup.find_dataset("flat", {**data_id, "band": "g"}, "a")


def test_the_nearest_schema_comes_first(lookup: DatasetLookup, registry: Registry) -> None:
    common = bias(registry, "a")
    assert found(lookup, "a") == common
    registry.create_schema("alice")
    with registry.transaction("alice") as tx:
        dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
        collections.register(tx, Collection("a", CollectionType.RUN))
        collections.register(tx, Collection("mine", CollectionType.TAGGED))
        collections.tag(tx, "mine", [common])
    own = bias(registry, "a", schema="alice")
    assert found(lookup, "a") == common
    assert found(DatasetLookup(registry, ["alice"]), "a") == own
    assert found(DatasetLookup(registry, ["alice@base"]), "a") == own
    assert found(lookup, "mine") == common
    assert lookup.get_dataset(own) is not None
    with pytest.raises(NotFoundError, match="no schema 'bob'"):
        found(DatasetLookup(registry, ["bob"]), "a")


def test_more_schemas_than_sqlite_attaches_at_once_are_searched(
    lookup: DatasetLookup, registry: Registry
) -> None:
    common = bias(registry, "a")
    for number in range(12):
        registry.create_schema(f"user{number:02d}")
    with registry.transaction("user11") as tx:
        dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
        collections.register(tx, Collection("far", CollectionType.RUN))
        collections.register(tx, Collection("far_tags", CollectionType.TAGGED))
        collections.tag(tx, "far_tags", [common])
    far = bias(registry, "far", schema="user11")
    assert found(lookup, ["far", "a"]) == far
    assert found(lookup, "far_tags") == common
    assert lookup.get_dataset(far) is not None


def test_replicas_are_searched_too(lookup: DatasetLookup, registry: Registry) -> None:
    bias(registry, "a")
    registry.ensure_replica(SchemaId("summit", "summit"))
    assert found(lookup, "a") is not None


def test_a_type_without_dimensions_is_found(lookup: DatasetLookup, registry: Registry) -> None:
    with registry.transaction("base") as tx:
        dataset_types.declare(tx, DatasetType("config", (), "Dict"))
        (one,) = datasets.insert_many(tx, "config", "a", [{}]).ids
    ref = lookup.find_dataset("config", {}, "a")
    assert ref is not None
    assert ref.id.bytes == one
