"""Conflicts: refused, recorded or ignored where they arise, found between schemas, resolved by decision."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from federation.changelog import LogState, log_state, read_entries
from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.position import GENESIS, SchemaId
from federation.registry.artifacts import Artifact, record, record_columns
from federation.registry.collections import register
from federation.registry.conflict_search import find_across
from federation.registry.conflicts import conflict_id, list_open, note_conflict, read, resolve
from federation.registry.dataset_types import declare
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.dimensions import insert_records
from federation.registry.registry import Registry
from federation.replication.apply import apply_entries
from federation.replication.snapshots import stamp_all
from federation.replication.state import Apply
from federation.storage import SqliteDatabase

OURS, OTHER = "sha256:" + "0a" * 32, "sha256:" + "0b" * 32


def stock(registry: Registry, *, detector: int = 1, dataset_id: uuid.UUID | None = None) -> uuid.UUID:
    """One raw, whose id follows from its data ID unless given."""
    with registry.transaction(registry.site) as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        insert_records(tx, "detector", [{"instrument": "C", "id": i, "full_name": f"d{i}"} for i in range(3)])
        declare(tx, DatasetType("raw", ("detector",), "Exposure"))
        register(tx, Collection("raw/all", CollectionType.RUN))
        data_id = {"instrument": "C", "detector": detector}
        new = NewDataset("raw", "raw/all", data_id, dataset_id, once=dataset_id is None)
        return insert_datasets(tx, [new]).refs[0].id


def store(
    registry: Registry, dataset_id: uuid.UUID, checksum: str | None, size: int = 7, **options: Any
) -> int:
    with registry.transaction(registry.site) as tx:
        return record(tx, [Artifact(dataset_id, f"{registry.site}.fits", size, checksum)], **options)


def artifacts(registry: Registry) -> dict[uuid.UUID, Any]:
    schema = SchemaId(registry.site, registry.site)
    with registry.database.read((registry.site,)) as connection:
        table = registry.physical_tables(registry.site, tuple(registry.tables(schema).values()))["artifact"]
        return {row.dataset_id: row for row in connection.execute(sa.select(table))}


@pytest.fixture
def summit(tmp_path: Path, universe: DimensionUniverse) -> Iterator[Registry]:
    with Registry.create_in(SqliteDatabase(tmp_path / "summit"), "summit", universe) as registry:
        yield registry


def replicate(source: Registry, target: Registry) -> None:
    """Make ``target`` a replica of all that the source's own schema has logged."""
    schema = SchemaId(source.site, source.site)
    held = source.get(schema)
    stamp_all(source, held)
    with source.database.read((held.physical,)) as connection:
        entries = read_entries(connection, held.physical, 0, 1 << 30)
        state = log_state(connection, held.physical)
    step = Apply(LogState("", 0, GENESIS), tuple(entries), state)
    assert apply_entries(target, target.ensure_replica(schema), step)


# -- where they arise ---------------------------------------------------------------------------------------------


def test_another_content_is_refused(registry: Registry) -> None:
    raw = stock(registry)
    store(registry, raw, OURS)
    with pytest.raises(
        ConflictError, match=f"dataset {raw}: base.fits has checksum {OTHER}, recorded is {OURS}"
    ):
        store(registry, raw, OTHER)
    assert artifacts(registry)[raw].checksum == OURS
    assert list_open(registry) == []


def test_another_content_is_recorded_on_demand_and_the_first_stays(registry: Registry) -> None:
    raw = stock(registry)
    store(registry, raw, OURS)
    for _ in range(2):
        assert store(registry, raw, OTHER, on_conflict="record") == 0
    (conflict,) = list_open(registry)
    assert (conflict.dataset_id, conflict.dataset_type, conflict.run) == (raw, "raw", "raw/all")
    assert (conflict.kind, conflict.recorded, conflict.offered) == ("checksum", OURS, OTHER)
    assert (conflict.uri, conflict.site) == ("base.fits", "base")
    assert artifacts(registry)[raw].checksum == OURS


def test_another_content_is_ignored_on_demand(registry: Registry) -> None:
    raw = stock(registry)
    store(registry, raw, OURS)
    assert store(registry, raw, OTHER, on_conflict="ignore") == 0
    assert list_open(registry) == []
    with pytest.raises(UserError, match="on_conflict='perhaps' is unknown"):
        store(registry, raw, OTHER, on_conflict="perhaps")


def test_checksums_of_two_kinds_conflict_only_where_sizes_differ(registry: Registry) -> None:
    raw = stock(registry)
    store(registry, raw, OURS)
    assert store(registry, raw, "md5:" + "a" * 32, size=7) == 1
    with pytest.raises(ConflictError, match="recorded is md5"):
        store(registry, raw, OTHER, size=8)


def test_a_file_that_is_absent_becomes_present_and_stays_so(registry: Registry) -> None:
    raw = stock(registry)
    assert store(registry, raw, None) == 1
    assert store(registry, raw, OURS) == 1
    assert store(registry, raw, OURS) == 0
    assert store(registry, raw, None) == 0
    assert artifacts(registry)[raw].present


def test_columns_are_recorded_as_rows_are(registry: Registry) -> None:
    raw = stock(registry)
    columns = {
        "dataset_id": [raw.bytes, raw.bytes], "uri": ["a", "b"], "size_bytes": [1, 1],
        "checksum": [OURS, OTHER], "formatter": [None, None],
    }  # fmt: skip
    with pytest.raises(ConflictError, match="b has checksum"), registry.transaction("base") as tx:
        record_columns(tx, columns)
    with registry.transaction("base") as tx:
        assert record_columns(tx, columns, on_conflict="record") == 1
    assert artifacts(registry)[raw].uri == "a"
    assert len(list_open(registry)) == 1


def test_a_replicas_content_counts_where_files_are_recorded(registry: Registry, summit: Registry) -> None:
    raw = stock(summit)
    store(summit, raw, OTHER)
    replicate(summit, registry)
    assert stock(registry) == raw
    with pytest.raises(ConflictError, match=f"recorded is {OTHER}"):
        store(registry, raw, OURS)


# -- between schemas ----------------------------------------------------------------------------------------------


def test_two_sites_contents_of_one_identity_are_found_when_replicas_meet(
    registry: Registry, summit: Registry
) -> None:
    raw = stock(registry)
    assert stock(summit) == raw
    store(registry, raw, OURS)
    store(summit, raw, OTHER)
    assert find_across(registry) == []
    replicate(summit, registry)
    (found,) = find_across(registry)
    assert (found.recorded, found.offered, found.uri) == (OURS, OTHER, "summit:summit.fits")
    assert (found.dataset_id, found.dataset_type, found.run) == (raw, "raw", "raw/all")
    assert find_across(registry) == [found] == list_open(registry)
    replicate(registry, summit)
    assert [one.conflict_id for one in find_across(summit)] == [found.conflict_id]


def test_equal_contents_at_two_sites_are_no_conflict(registry: Registry, summit: Registry) -> None:
    for one in (registry, summit):
        store(one, stock(one), OURS)
    replicate(summit, registry)
    assert find_across(registry) == []


def test_two_replicas_that_differ_are_found_by_a_third_site(
    registry: Registry, summit: Registry, tmp_path: Path, universe: DimensionUniverse
) -> None:
    with Registry.create_in(SqliteDatabase(tmp_path / "ncsa"), "ncsa", universe) as ncsa:
        store(summit, stock(summit), OURS)
        store(ncsa, stock(ncsa), OTHER)
        replicate(summit, registry)
        replicate(ncsa, registry)
    (found,) = find_across(registry, record=False)
    assert {found.recorded, found.offered} == {OURS, OTHER}
    assert found.site == "base"
    assert list_open(registry) == []


def test_one_id_for_two_data_ids_is_found(registry: Registry, summit: Registry) -> None:
    same = uuid.UUID(int=77)
    stock(registry, dataset_id=same)
    stock(summit, detector=2, dataset_id=same)
    replicate(summit, registry)
    (found,) = find_across(registry)
    assert (found.kind, found.dataset_id) == ("definition", same)
    assert found.recorded == "{instrument='C', detector=1}"
    assert found.offered == "{instrument='C', detector=2}"


# -- resolution ---------------------------------------------------------------------------------------------------


def conflicting(registry: Registry) -> uuid.UUID:
    raw = stock(registry)
    store(registry, raw, OURS)
    store(registry, raw, OTHER, on_conflict="record")
    return list_open(registry)[0].conflict_id


def test_keeping_the_recorded_content_closes_the_conflict_for_good(registry: Registry) -> None:
    identity = conflicting(registry)
    with registry.transaction("base") as tx:
        assert resolve(tx, identity, "recorded").resolution == "recorded"
        resolve(tx, identity, "recorded")
    assert list_open(registry) == []
    (kept,) = artifacts(registry).values()
    store(registry, kept.dataset_id, OTHER, on_conflict="record")
    assert list_open(registry) == []
    assert kept.checksum == OURS
    with (
        pytest.raises(ConflictError, match="is resolved already: recorded"),
        registry.transaction("base") as tx,
    ):
        resolve(tx, identity, "offered")


def test_the_offered_content_takes_the_place_of_the_recorded(registry: Registry) -> None:
    identity = conflicting(registry)
    with registry.transaction("base") as tx:
        resolve(tx, identity, "offered", size_bytes=9, present=True)
    (row,) = artifacts(registry).values()
    assert (row.checksum, row.size_bytes, row.present) == (OTHER, 9, True)


def test_giving_up_ones_own_content_ends_the_conflict_of_two_sites(
    registry: Registry, summit: Registry
) -> None:
    for one, checksum in ((registry, OURS), (summit, OTHER)):
        store(one, stock(one), checksum)
    replicate(summit, registry)
    (found,) = find_across(registry)
    with registry.transaction("base") as tx:
        resolve(tx, found.conflict_id, "offered")
    (row,) = artifacts(registry).values()
    assert (row.present, row.checksum) == (False, None)
    assert find_across(registry) == [] == list_open(registry)


def test_another_sites_conflict_is_resolved_here_by_a_record_of_ones_own(
    registry: Registry, summit: Registry
) -> None:
    identity = conflicting(summit)
    replicate(summit, registry)
    assert [one.site for one in list_open(registry)] == ["summit"]
    with registry.transaction("base") as tx:
        resolve(tx, identity, "recorded")
    assert list_open(registry) == []
    assert [one.resolution for one in read(registry)] == ["recorded"]


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        ("mine", UserError, "can't be resolved by 'mine'"),
        ("offered", UserError, "is about the definition of dataset .*, which can't be exchanged"),
    ],
)
def test_a_resolution_that_cannot_be_is_refused(
    registry: Registry, keep: Any, error: type[UserError], message: str
) -> None:
    with registry.transaction("base") as tx:
        identity = note_conflict(tx, uuid.UUID(int=1), "raw", "r", "definition", "a", "b")
    with pytest.raises(error, match=message), registry.transaction("base") as tx:
        resolve(tx, identity, keep)
    assert len(list_open(registry)) == 1


def test_an_unknown_conflict_is_named(registry: Registry) -> None:
    with (
        pytest.raises(NotFoundError, match=f"no conflict {uuid.UUID(int=3)} at base"),
        registry.transaction("base") as tx,
    ):
        resolve(tx, uuid.UUID(int=3), "recorded")


def test_a_conflict_is_one_whoever_notices_it() -> None:
    one = conflict_id(uuid.UUID(int=1), "checksum", "a", "b")
    assert one == conflict_id(uuid.UUID(int=1), "checksum", "b", "a")
    assert one != conflict_id(uuid.UUID(int=2), "checksum", "a", "b")
