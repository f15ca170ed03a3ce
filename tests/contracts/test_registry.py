"""What a registry promises, on each kind of database."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from federation.changelog import chain_hash, decode_changes, log_state, read_entries, stamp
from federation.errors import ConflictError, FederationError, NotFoundError, UserError
from federation.model.change import LogEntry, Operation
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetRef, DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.model.position import GENESIS, Position, SchemaId
from federation.model.timespan import Timespan
from federation.registry.artifacts import Artifact, record
from federation.registry.collections import certify, register, tag
from federation.registry.dataset_types import declare
from federation.registry.datasets import Inserted, NewDataset, insert_datasets
from federation.registry.dimensions import insert_records
from federation.registry.provenance import add_edges
from federation.registry.registry import Registry
from federation.storage import META_SCHEMA, Database

SITE = "base"
BASE = SchemaId("base", "base")
FLAT = DatasetType("flat", ("detector", "physical_filter"), "ExposureF", is_calibration=True)
RAW = DatasetType(
    "raw", ("exposure", "detector"), "Exposure", metadata=(Field("seeing", LogicalType.FLOAT64),)
)
RUN = Collection("run/a", CollectionType.RUN)


def instrument(tx: Any) -> None:
    insert_records(tx, "instrument", [{"name": "C"}])
    insert_records(tx, "physical_filter", [{"instrument": "C", "name": "r1", "band": "r"}])
    insert_records(tx, "detector", [{"instrument": "C", "id": i, "full_name": f"d{i}"} for i in range(4)])


def exposure(tx: Any, number: int = 7) -> None:
    insert_records(tx, "day_obs", [{"instrument": "C", "id": 20260101}])
    insert_records(tx, "group", [{"instrument": "C", "name": "g"}])
    insert_records(
        tx, "exposure",
        [
            {
                "instrument": "C", "id": number, "obs_id": f"o{number}", "physical_filter": "r1", "group": "g",
                "day_obs": 20260101,
            }
        ],
    )  # fmt: skip


def flats(tx: Any, *detectors: int, run: str = "run/a", **rest: Any) -> Inserted:
    return insert_datasets(
        tx,
        [
            NewDataset(
                "flat", run, {"instrument": "C", "detector": i, "physical_filter": "r1"}, once=True, **rest
            )
            for i in detectors
        ],
    )


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """A registry with an instrument, the type flat, a RUN, a TAGGED and a CALIBRATION collection."""
    with registry.transaction(SITE) as tx:
        instrument(tx)
        declare(tx, FLAT)
        register(tx, RUN)
        register(tx, Collection("tags", CollectionType.TAGGED))
        register(tx, Collection("calib", CollectionType.CALIBRATION))
    return registry


def entries(registry: Registry, schema: SchemaId = BASE) -> list[LogEntry]:
    held = registry.get(schema)
    while stamp(registry.database, held.physical):
        pass
    with registry.database.read((held.physical,)) as connection:
        return read_entries(connection, held.physical, 0, 1 << 30)


def table_rows(registry: Registry, name: str) -> list[dict[str, Any]]:
    tables = tuple(registry.tables(BASE).values())
    with registry.database.read((SITE,)) as connection:
        table = registry.physical_tables(SITE, tables)[name]
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


# -- life ---------------------------------------------------------------------------------------------------------


def test_a_registry_starts_with_one_empty_schema_named_as_the_site(registry: Registry) -> None:
    assert [held.schema for held in registry.held()] == [BASE]
    position = registry.position(BASE)
    assert position == Position("base", "base", position.epoch, 0)
    assert len(position.epoch) == 16
    assert entries(registry) == []


def test_creating_again_opens_what_is_there(
    open_database: Callable[[], Database], universe: DimensionUniverse
) -> None:
    with Registry.create_in(open_database(), SITE, universe) as first:
        epoch = first.position(BASE).epoch
    with Registry.create_in(open_database(), SITE, universe) as second:
        assert second.position(BASE).epoch == epoch
    with Registry.open_in(open_database(), SITE) as third:
        assert third.universe.fingerprint == universe.fingerprint


def test_an_empty_database_holds_no_registry(open_database: Callable[[], Database]) -> None:
    with pytest.raises(NotFoundError, match="holds no registry") as raised:
        Registry.open_in(open_database(), SITE)
    assert "federation site init" in raised.value.hint


def test_another_sites_registry_is_not_opened(
    registry: Registry, open_database: Callable[[], Database]
) -> None:
    with pytest.raises(ConflictError, match="belongs to site 'base', not 'summit'"):
        Registry.open_in(open_database(), "summit")


def test_a_registry_keeps_its_universe(registry: Registry, open_database: Callable[[], Database]) -> None:
    other = DimensionUniverse.parse(registry.universe.source.replace("version = 8", "version = 9"))
    assert other.fingerprint != registry.universe.fingerprint
    with pytest.raises(ConflictError, match="another dimension universe"):
        Registry.create_in(open_database(), SITE, other)


def test_a_registry_of_another_format_is_not_opened(
    registry: Registry, open_database: Callable[[], Database]
) -> None:
    with registry.database.write(META_SCHEMA) as connection:
        connection.execute(
            sa.text(f"UPDATE \"{META_SCHEMA}\".registry_info SET value = '99' WHERE key = 'format'")
        )
    with pytest.raises(UserError, match="registry format 99"):
        Registry.open_in(open_database(), SITE)


def test_only_own_schemas_are_written(registry: Registry) -> None:
    registry.ensure_replica(SchemaId("summit", "summit"))
    with pytest.raises(NotFoundError, match="does not hold"), registry.transaction("summit"):
        pass
    assert registry.find(SchemaId("summit", "summit")) is not None
    assert registry.position(SchemaId("summit", "summit")).lsn == 0


# -- dimension records --------------------------------------------------------------------------------------------


def test_a_record_said_twice_is_there_once(registry: Registry) -> None:
    for _ in range(2):
        with registry.transaction(SITE) as tx:
            instrument(tx)
    assert len(table_rows(registry, "detector")) == 4
    assert len(entries(registry)) == 1


def test_a_derived_record_follows_from_the_one_that_names_it(stocked: Registry) -> None:
    assert [row["name"] for row in table_rows(stocked, "band")] == ["r"]


def test_a_record_that_says_more_completes_the_one_there(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        assert insert_records(tx, "detector", [{"instrument": "C", "id": 1, "raft": "R0"}]) == 1
    (row,) = [row for row in table_rows(stocked, "detector") if row["id"] == 1]
    assert (row["full_name"], row["raft"]) == ("d1", "R0")


def test_a_record_that_says_otherwise_is_a_conflict(stocked: Registry) -> None:
    with (
        pytest.raises(ConflictError, match="full_name is 'd1' here and 'x'"),
        stocked.transaction(SITE) as tx,
    ):
        insert_records(tx, "detector", [{"instrument": "C", "id": 1, "full_name": "x"}])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instrument": "D", "id": 1}, "refers to instrument name='D', which is not known"),
        ({"instrument": "C"}, "lacks id"),
        ({"instrument": "C", "id": 1, "colour": "red"}, "has no column colour"),
    ],
)
def test_an_incomplete_record_is_refused(stocked: Registry, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message), stocked.transaction(SITE) as tx:
        insert_records(tx, "detector", [row])
    assert len(entries(stocked)) == 1


def test_an_unknown_element_is_named(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="telescope"), registry.transaction(SITE) as tx:
        insert_records(tx, "telescope", [{"name": "x"}])


def test_a_users_schema_refers_to_records_of_the_main_one(stocked: Registry) -> None:
    stocked.create_schema("alice")
    with stocked.transaction("alice") as tx:
        insert_records(tx, "day_obs", [{"instrument": "C", "id": 20260101}])
    assert len(entries(stocked, SchemaId(SITE, "alice"))) == 1


# -- dataset types ------------------------------------------------------------------------------------------------


def test_a_declared_type_has_closed_dimensions_and_a_table(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        closed = declare(tx, FLAT).dimensions
    assert set(closed) == {"instrument", "band", "physical_filter", "detector"}
    assert closed == stocked.universe.sort(closed)
    assert "flat" in stocked.tables(BASE)
    assert len(entries(stocked)) == 1


@pytest.mark.parametrize(
    "other",
    [
        DatasetType("flat", ("detector",), "ExposureF", is_calibration=True),
        DatasetType("flat", FLAT.dimensions, "Other", is_calibration=True),
        DatasetType("flat", FLAT.dimensions, "ExposureF"),
        DatasetType("flat", FLAT.dimensions, "ExposureF", True, (Field("x", LogicalType.INT64),)),
    ],
    ids=["dimensions", "storage class", "calibration", "metadata"],
)
def test_a_type_declared_otherwise_is_a_conflict(stocked: Registry, other: DatasetType) -> None:
    with pytest.raises(ConflictError, match="declared otherwise"), stocked.transaction(SITE) as tx:
        declare(tx, other)


@pytest.mark.parametrize("name", ["visit", "dataset", "Flat"])
def test_a_type_may_not_hide_a_table(stocked: Registry, name: str) -> None:
    with pytest.raises(ConflictError, match="would hide"), stocked.transaction(SITE) as tx:
        declare(tx, DatasetType(name, (), "X"))


def test_a_type_may_have_no_dimensions(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        declare(tx, DatasetType("packages", (), "Packages"))
        assert len(insert_datasets(tx, [NewDataset("packages", "run/a", {}, once=True)]).new) == 1
    assert len(table_rows(stocked, "packages")) == 1


def test_a_declaration_that_is_rolled_back_leaves_no_table(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.transaction(SITE) as tx:  # noqa: PT012 - it leaves the block
        declare(tx, FLAT)
        raise ZeroDivisionError
    assert "flat" not in registry.tables(BASE)
    with registry.transaction(SITE) as tx:
        declare(tx, FLAT)


# -- collections --------------------------------------------------------------------------------------------------


def test_a_collection_has_one_type(stocked: Registry) -> None:
    with pytest.raises(ConflictError, match="'tags' is TAGGED"), stocked.transaction(SITE) as tx:
        register(tx, Collection("tags", CollectionType.RUN))


def test_a_chain_keeps_its_order_and_can_be_shortened(stocked: Registry) -> None:
    for children in (("tags", "run/a", "elsewhere"), ("run/a", "tags")):
        with stocked.transaction(SITE) as tx:
            assert register(tx, Collection("all", CollectionType.CHAINED, children=children))
            assert not register(tx, Collection("all", CollectionType.CHAINED, children=children))
        found = sorted((row["position"], row["child"]) for row in table_rows(stocked, "collection_chain"))
        assert tuple(child for _, child in found) == children


def test_a_chain_never_contains_itself(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        register(tx, Collection("a", CollectionType.CHAINED, children=("b",)))
        register(tx, Collection("b", CollectionType.CHAINED, children=("c",)))
    for children in (("c",), ("a",), ("tags", "b")):
        name = children[-1] if children == ("c",) else "c"
        with pytest.raises(UserError, match="would contain itself"), stocked.transaction(SITE) as tx:
            register(tx, Collection(name, CollectionType.CHAINED, children=children))


def test_tagging_twice_adds_once(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = [ref.id for ref in flats(tx, 0, 1).refs]
        assert tag(tx, "tags", [*ids, ids[0]]) == 2
        assert tag(tx, "tags", ids) == 0
    assert len(table_rows(stocked, "collection_member")) == 2


def test_only_known_datasets_enter_tagged_collections(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (ref,) = flats(tx, 0).refs
    for name, ids, message in (
        ("tags", [uuid.UUID(int=1)], "not known"),
        ("nowhere", [ref.id], "no collection 'nowhere'"),
        ("run/a", [ref.id], "is RUN, not TAGGED"),
    ):
        with pytest.raises(UserError, match=message), stocked.transaction(SITE) as tx:
            tag(tx, name, ids)


def test_validity_ranges_of_one_data_id_never_overlap(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        register(tx, Collection("run/b", CollectionType.RUN))
        (zero, one), (other,) = flats(tx, 0, 1).refs, flats(tx, 0, run="run/b").refs
        assert certify(tx, "calib", Timespan(0, 100), [zero.id, one.id]) == 2
        assert certify(tx, "calib", Timespan(0, 100), [zero.id]) == 0
        assert certify(tx, "calib", Timespan(100, None), [other.id]) == 1
    for span in (Timespan(50, 60), Timespan(None, 1), Timespan(99, 100), Timespan(None, None)):
        with pytest.raises(ConflictError, match="two valid datasets"), stocked.transaction(SITE) as tx:
            certify(tx, "calib", span, [other.id])
    with stocked.transaction(SITE) as tx:
        assert certify(tx, "calib", Timespan(None, 0), [other.id]) == 1
    with pytest.raises(ConflictError), stocked.transaction(SITE) as tx:
        certify(tx, "calib", Timespan(-200, -100), [zero.id])


def test_a_users_schema_certifies_calibrations_of_the_main_one(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = [ref.id for ref in flats(tx, 0, 1).refs]
    stocked.create_schema("alice")
    with stocked.transaction("alice") as tx:
        register(tx, Collection("mine", CollectionType.CALIBRATION))
        assert certify(tx, "mine", Timespan(0, 10), ids) == 2


# -- datasets -----------------------------------------------------------------------------------------------------


def test_inserting_twice_changes_nothing(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        first = flats(tx, 0, 1, 2)
    with stocked.transaction(SITE) as tx:
        second = flats(tx, 0, 1, 2)
        assert tx.changes == []
    assert first.refs == second.refs
    assert (len(first.new), len(second.new)) == (3, 0)
    assert len(entries(stocked)) == 2


def test_implied_values_are_filled_from_the_records(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        exposure(tx)
        declare(tx, RAW)
        data_id = {"instrument": "C", "exposure": 7, "detector": 2}
        insert_datasets(tx, [NewDataset("raw", "run/a", data_id, metadata={"seeing": 0.7})])
    (row,) = table_rows(stocked, "raw")
    assert (row["physical_filter"], row["band"], row["day_obs"], row["seeing"]) == ("r1", "r", 20260101, 0.7)


def test_ids_that_follow_from_the_data_id_are_the_butlers(stocked: Registry) -> None:
    butler = pytest.importorskip("lsst.daf.butler")
    universe = butler.DimensionUniverse()
    theirs_type = butler.DatasetType(
        "flat", universe.conform(FLAT.dimensions), "ExposureF", isCalibration=True
    )
    with stocked.transaction(SITE) as tx:
        ours = flats(tx, 0, 3).refs
    for ref in ours:
        data_id = butler.DataCoordinate.standardize(dict(ref.data_id), universe=universe)
        mode = butler.DatasetIdGenEnum.DATAID_TYPE_RUN
        assert ref.id == butler.DatasetIdFactory().makeDatasetId("run/a", theirs_type, data_id, mode)


def test_new_ids_are_ordered_by_time(stocked: Registry) -> None:
    assert {stocked.new_id().version for _ in range(5)} == {7}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"dataset_type": "bias"}, NotFoundError, "'bias' is not declared"),
        ({"run": "run/z"}, NotFoundError, "'run/z' is not registered"),
        ({"run": "tags"}, NotFoundError, "'tags' is TAGGED"),
        ({"data_id": {"instrument": "C", "detector": 0}}, UserError, "lacks physical_filter"),
        (
            {"data_id": {"instrument": "C", "detector": 9, "physical_filter": "r1"}},
            UserError,
            "no detector record instrument='C', detector=9",
        ),
        (
            {"data_id": {"instrument": "C", "detector": "0", "physical_filter": "r1"}},
            UserError,
            "no detector has full_name '0'",
        ),
        (
            {"data_id": {"instrument": "C", "detector": 0, "physical_filter": "r1", "band": "g"}},
            UserError,
            "band is given as 'g', but its records imply 'r'",
        ),
        ({"metadata": {"colour": 1}}, UserError, "metadata of dataset type flat has no column colour"),
        ({"metadata": {"run": "run/b"}}, UserError, "metadata of dataset type flat has no column run"),
    ],
)
def test_a_wrong_dataset_is_refused(
    stocked: Registry, changed: dict[str, Any], error: type[UserError], message: str
) -> None:
    good: dict[str, Any] = {
        "dataset_type": "flat", "run": "run/a",
        "data_id": {"instrument": "C", "detector": 0, "physical_filter": "r1"},
    }  # fmt: skip
    with pytest.raises(error, match=message), stocked.transaction(SITE) as tx:
        insert_datasets(tx, [NewDataset(**(good | changed))])
    assert table_rows(stocked, "dataset") == []


def test_a_run_holds_one_dataset_for_a_data_id(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        flats(tx, 0)
    data_id = {"instrument": "C", "detector": 0, "physical_filter": "r1"}
    with pytest.raises(ConflictError, match="is dataset"), stocked.transaction(SITE) as tx:
        insert_datasets(tx, [NewDataset("flat", "run/a", data_id)])
    twice = [NewDataset("flat", "run/a", data_id | {"detector": 1}) for _ in range(2)]
    with pytest.raises(ConflictError, match="given twice"), stocked.transaction(SITE) as tx:
        insert_datasets(tx, twice)


def test_an_id_stands_for_one_dataset(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (ref,) = flats(tx, 0).refs
        register(tx, Collection("run/b", CollectionType.RUN))
        declare(tx, DatasetType("dark", ("detector",), "ExposureF", is_calibration=True))
    data_id = {"instrument": "C", "detector": 1, "physical_filter": "r1"}
    for other in (
        NewDataset("flat", "run/a", data_id, id=ref.id),
        NewDataset("flat", "run/b", data_id | {"detector": 0}, id=ref.id),
        NewDataset("dark", "run/a", {"instrument": "C", "detector": 0}, id=ref.id),
    ):
        with pytest.raises(ConflictError, match=str(ref.id)), stocked.transaction(SITE) as tx:
            insert_datasets(tx, [other])
    new = uuid.UUID(int=5)
    with pytest.raises(ConflictError, match=str(new)), stocked.transaction(SITE) as tx:
        insert_datasets(tx, [NewDataset("flat", "run/a", data_id | {"detector": i}, id=new) for i in (2, 3)])


def test_metadata_of_a_dataset_does_not_change(stocked: Registry) -> None:
    data_id = {"instrument": "C", "exposure": 7, "detector": 2}
    with stocked.transaction(SITE) as tx:
        exposure(tx)
        declare(tx, RAW)
        insert_datasets(tx, [NewDataset("raw", "run/a", data_id, once=True, metadata={"seeing": 0.7})])
    with pytest.raises(ConflictError, match=r"seeing=0\.7, not 0\.8"), stocked.transaction(SITE) as tx:
        insert_datasets(tx, [NewDataset("raw", "run/a", data_id, once=True, metadata={"seeing": 0.8})])


# -- provenance and artifacts -------------------------------------------------------------------------------------


def test_provenance_is_kept_once_and_never_circular_in_one_step(stocked: Registry) -> None:
    elsewhere = uuid.UUID(int=9)
    with stocked.transaction(SITE) as tx:
        zero, one = (ref.id for ref in flats(tx, 0, 1).refs)
        assert add_edges(tx, [(zero, one, "combine"), (zero, elsewhere, None)]) == 2
        assert add_edges(tx, [(zero, one, "combine")]) == 0
    with pytest.raises(UserError, match="made from itself"), stocked.transaction(SITE) as tx:
        add_edges(tx, [(zero, zero, "t")])


def test_a_file_that_was_absent_becomes_present_and_stays_so(stocked: Registry) -> None:
    checksum = "sha256:" + "0" * 64
    with stocked.transaction(SITE) as tx:
        (ref,) = flats(tx, 0).refs
        assert record(tx, [Artifact(ref.id, "a/b")]) == 1
        assert record(tx, [Artifact(ref.id, "a/b", 3, checksum)]) == 1
        assert record(tx, [Artifact(ref.id, "a/b", 3, checksum)]) == 0
        assert record(tx, [Artifact(ref.id, "a/b")]) == 0
    (row,) = table_rows(stocked, "artifact")
    assert (row["present"], row["size_bytes"], row["site"]) == (True, 3, SITE)


def test_one_dataset_has_one_content(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (ref,) = flats(tx, 0).refs
        record(tx, [Artifact(ref.id, "a/b", 3, "sha256:" + "0" * 64)])
    with pytest.raises(ConflictError, match="has checksum"), stocked.transaction(SITE) as tx:
        record(tx, [Artifact(ref.id, "a/b", 3, "sha256:" + "1" * 64)])


# -- the log ------------------------------------------------------------------------------------------------------


def replay(log: list[LogEntry], registry: Registry) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Tables that the log makes when it is applied to nothing."""
    tables = registry.tables(BASE)
    out: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for entry in log:
        for change in decode_changes(entry.body):
            rows = out.setdefault(change.table, {})
            for values in change.rows:
                row = dict(zip(change.columns, values, strict=True))
                key = tuple(row[name] for name in tables[change.table].key)
                if change.operation is Operation.PUT:
                    rows[key] = row
                else:
                    del rows[key]
    return out


def test_the_log_says_exactly_what_the_tables_hold(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        exposure(tx)
        declare(tx, RAW)
        zero, one = (ref.id for ref in flats(tx, 0, 1).refs)
        data_id = {"instrument": "C", "exposure": 7, "detector": 2}
        insert_datasets(tx, [NewDataset("raw", "run/a", data_id, metadata={"seeing": 0.1 + 0.2})])
        tag(tx, "tags", [zero])
        certify(tx, "calib", Timespan(None, 1_900_000_000_000_000_001), [zero, one])
        add_edges(tx, [(zero, one, "combine")])
        record(tx, [Artifact(zero, "ä/b", 3, "sha256:" + "0" * 64)])
        insert_records(tx, "skymap", [{"name": "s", "hash": b"\x00\xff"}])
        register(tx, Collection("all", CollectionType.CHAINED, children=("a", "b", "c")))
    with stocked.transaction(SITE) as tx:
        register(tx, Collection("all", CollectionType.CHAINED, children=("c",)))
    made = replay(entries(stocked), stocked)
    for name, table in stocked.tables(BASE).items():
        # the log has a UUID as its bytes
        found = [
            {column: getattr(value, "bytes", value) for column, value in row.items()}
            for row in table_rows(stocked, name)
        ]
        held = {tuple(row[column] for column in table.key): row for row in found}
        assert made.get(name, {}) == held, name
    assert len(made["raw"]) == 1


def test_entries_are_numbered_from_one_and_chained(stocked: Registry) -> None:
    for detector in range(3):
        with stocked.transaction(SITE) as tx:
            flats(tx, detector)
    log = entries(stocked)
    assert [entry.lsn for entry in log] == [1, 2, 3, 4]
    chain = GENESIS
    for entry in log:
        chain = chain_hash(chain, entry.digest)
        assert entry.chain == chain
        assert entry.row_count == sum(len(change.rows) for change in decode_changes(entry.body))
    with stocked.database.read((SITE,)) as connection:
        state = log_state(connection, SITE)
    assert (state.lsn, state.chain) == (4, chain)


def test_what_is_rolled_back_leaves_neither_rows_nor_entry(stocked: Registry) -> None:
    before = entries(stocked)
    with pytest.raises(ZeroDivisionError), stocked.transaction(SITE) as tx:  # noqa: PT012 - it leaves the block
        flats(tx, 0)
        raise ZeroDivisionError
    with pytest.raises(FederationError), stocked.transaction(SITE) as tx:  # noqa: PT012 - the first succeeds
        flats(tx, 0)
        flats(tx, 9)
    assert table_rows(stocked, "dataset") == []
    assert entries(stocked) == before


def test_a_transaction_that_changes_nothing_writes_no_entry(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        instrument(tx)
        declare(tx, FLAT)
        register(tx, RUN)
    assert len(entries(stocked)) == 1


def test_writers_at_once_leave_no_gap_in_the_log(stocked: Registry) -> None:
    """Four writers and a sequencer that numbers while they write: no entry is lost, none comes in behind a reader."""
    writers, each = 4, 15
    with stocked.transaction(SITE) as tx:
        for writer in range(writers):
            register(tx, Collection(f"run/{writer}", CollectionType.RUN))
        insert_records(tx, "detector", [{"instrument": "C", "id": 100 + n} for n in range(each)])
    done = threading.Event()
    seen: list[int] = []

    def follow() -> None:
        last = 0
        while True:
            finished = done.is_set()
            stamp(stocked.database, SITE)
            with stocked.database.read((SITE,)) as connection:
                found = read_entries(connection, SITE, last, 1 << 20)
            seen.extend(entry.lsn for entry in found)
            last = seen[-1] if seen else 0
            if finished and not found:
                return

    def write(writer: int) -> list[DatasetRef]:
        refs: list[DatasetRef] = []
        for number in range(each):
            with stocked.transaction(SITE) as tx:
                refs.extend(flats(tx, 100 + number, run=f"run/{writer}").refs)
        return refs

    with ThreadPoolExecutor(writers + 1) as pool:
        follower = pool.submit(follow)
        try:
            refs = [ref for written in pool.map(write, range(writers)) for ref in written]
        finally:
            done.set()
        follower.result()
    assert seen == list(range(1, writers * each + 3))
    logged = {key[0] for key in replay(entries(stocked), stocked)["dataset"]}
    stored = {row["dataset_id"].bytes for row in table_rows(stocked, "dataset")}
    assert logged == {ref.id.bytes for ref in refs} == stored


def test_changes_survive_being_opened_again(stocked: Registry, open_database: Callable[[], Database]) -> None:
    with stocked.transaction(SITE) as tx:
        flats(tx, 0)
        changes = [(change.table, change.columns, change.rows) for change in tx.changes]
    with Registry.open_in(open_database(), SITE) as again:
        assert len(table_rows(again, "flat")) == 1
        logged = decode_changes(entries(again)[-1].body)
        assert [(change.table, change.columns, change.rows) for change in logged] == changes
