"""Filters on both databases: a follower gets the rows it wants, and whatever they refer to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from publishing_sites import Site
from replicated_rows import SUMMIT, database_of, open_registry, rows

from federation.changelog.replica_source import replica_source, set_filter
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.log_filter import LogFilter
from federation.model.timespan import Timespan
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions, provenance
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry

FLATS = LogFilter(dataset_types=("fl*",))
NIGHT = LogFilter(collections=("night/*",))


@attrs.define
class Pair:
    summit: Site
    laptop: Site
    address: str


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """The summit with two dataset types in two runs, and a laptop, whose registry is always SQLite."""
    url = request.getfixturevalue("fresh_postgres_database") if request.param == "postgresql" else ""
    with (
        open_registry(database_of(request.param, tmp_path / "summit", url), "summit") as source,
        open_registry(database_of("sqlite", tmp_path / "laptop"), "laptop") as here,
    ):
        summit, laptop = Site(source), Site(here)
        _fill(source, 1)
        yield Pair(summit, laptop, summit.serve())
        laptop.end()
        summit.end()


def _fill(registry: Registry, number: int) -> None:
    """A flat and a dark in each of two runs, with all that can be said about them, in two transactions."""
    made: list[uuid.UUID] = []
    with registry.transaction("summit") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(
            tx, "detector", [{"instrument": "Cam", "id": number, "full_name": f"d{number}"}]
        )
        for kind in ("flat", "dark"):
            dataset_types.declare(tx, DatasetType(kind, ("detector",), "Exposure", True))
        for run in ("night/1", "day/1"):
            collections.register(tx, Collection(run, CollectionType.RUN))
        for cal in ("cal/night", "cal/day"):
            collections.register(tx, Collection(cal, CollectionType.CALIBRATION))
        collections.register(tx, Collection("best", CollectionType.TAGGED))
        for kind in ("flat", "dark"):
            for run in ("night/1", "day/1"):
                new = datasets.NewDataset(kind, run, {"instrument": "Cam", "detector": number})
                made += [ref.id for ref in datasets.insert_datasets(tx, [new]).refs]
    with registry.transaction("summit") as tx:  # what refers to datasets of an earlier entry
        collections.certify(tx, "cal/night", Timespan(number, number + 1), made[::2])
        collections.certify(tx, "cal/day", Timespan(number, number + 1), made[1::2])
        collections.tag(tx, "best", [made[0], made[3]])
        for one in made:
            artifacts.record(tx, [artifacts.Artifact(one, f"{one}.fits", 10, "sha256:00")])
        tx.put("metric", [{"dataset_id": one, "name": "seeing", "value": 1.0} for one in made])
        # the flat of the night was made from the dark of the night, and from another site's dataset
        provenance.add_edges(tx, [(made[0], made[2], "t"), (made[0], uuid.UUID(int=number), "t")])


def _expected(pair: Pair, admits: LogFilter) -> dict[str, set[tuple[object, ...]]]:
    """Rows of the summit that a filter keeps, told from whole tables."""
    found = rows(pair.summit.registry, SUMMIT)
    names = {name: table.stored_names for name, table in pair.summit.registry.tables(SUMMIT).items()}
    known = {row[0]: admits.admits(row[1], row[2]) for row in found["dataset"]}

    def is_kept(table: str, row: tuple[object, ...]) -> bool:
        values = dict(zip(names[table], row, strict=True))
        if table == "collection_summary":
            return admits.admits_type(str(values["dataset_type"]))
        about = [values[name] for name in ("dataset_id", "input_id") if name in values]
        return all(known.get(one, True) for one in about)

    return {table: {row for row in values if is_kept(table, row)} for table, values in found.items()}


@pytest.mark.parametrize("wanted", [FLATS, NIGHT, LogFilter(("*",), ("dark",), ("day/?",))])
def test_entries_come_with_the_rows_of_wanted_datasets_only(pair: Pair, wanted: LogFilter) -> None:
    status = pair.laptop.follower(pair.address, filter=wanted).run_once()
    assert (status.lsn, status.filter, pair.summit.publisher.copies) == (2, wanted, 0)
    assert rows(pair.laptop.registry, SUMMIT) == _expected(pair, wanted)
    assert pair.laptop.registry.position(SUMMIT) == pair.summit.registry.position(SUMMIT)
    _fill(pair.summit.registry, 2)
    assert pair.laptop.follower(pair.address, filter=wanted).run_once().lsn == 4
    assert rows(pair.laptop.registry, SUMMIT) == _expected(pair, wanted)
    assert pair.summit.publisher.copies == 0


def test_a_filter_leaves_something_out_and_keeps_something(pair: Pair) -> None:
    pair.laptop.follower(pair.address, filter=FLATS).run_once()
    here, there = rows(pair.laptop.registry, SUMMIT), rows(pair.summit.registry, SUMMIT)
    for table in ("dataset", "artifact", "metric", "calibration", "provenance", "collection_summary"):
        assert set() < here[table] < there[table], table
    assert here["dark"] == set()
    assert here["flat"] == there["flat"]
    assert here["collection"] == there["collection"]
    assert here["detector"] == there["detector"]


def test_tables_that_are_not_wanted_stay_empty(pair: Pair) -> None:
    wanted = LogFilter(tables=("flat", "activity_dataset"))
    pair.laptop.follower(pair.address, filter=wanted).run_once()
    here, there = rows(pair.laptop.registry, SUMMIT), rows(pair.summit.registry, SUMMIT)
    for table in ("flat", "dataset", "collection", "detector"):
        assert here[table] == there[table], table
    for table in ("dark", "artifact", "metric", "calibration", "provenance"):
        assert here[table] == set(), table


def test_deleted_datasets_are_deleted_in_a_filtered_replica(pair: Pair) -> None:
    follower = pair.laptop.follower(pair.address, filter=FLATS)
    follower.run_once()
    with pair.summit.registry.transaction("summit") as tx:
        for table in ("metric", "artifact", "calibration", "collection_member", "provenance", "flat"):
            names = tx.table(table).key
            every = list(tx.connection.execute(tx.physical(table).select()).mappings())
            tx.delete_keys(table, [tuple(row[name] for name in names) for row in every])
        gone = tx.select("dataset", ("dataset_type",), [("flat",)])
        tx.delete("dataset", gone)
    pair.laptop.follower(pair.address, filter=FLATS).run_once()
    assert rows(pair.laptop.registry, SUMMIT) == _expected(pair, FLATS)
    assert rows(pair.laptop.registry, SUMMIT)["dataset"] == set()


@pytest.mark.parametrize("later", [NIGHT, LogFilter()])
def test_another_filter_copies_the_rows_anew(pair: Pair, later: LogFilter) -> None:
    pair.laptop.follower(pair.address, filter=FLATS).run_once()
    assert pair.laptop.follower(pair.address, filter=later).run_once().lsn == 2
    assert pair.summit.publisher.copies == 1
    assert rows(pair.laptop.registry, SUMMIT) == _expected(pair, later)
    pair.laptop.follower(pair.address, filter=later).run_once()
    assert pair.summit.publisher.copies == 1


def test_a_first_copy_is_filtered_as_entries_are(pair: Pair) -> None:
    held = pair.summit.registry.get(SUMMIT)
    from federation.changelog.retention import count_entries, trim

    pair.laptop.follower(pair.address).run_once()  # numbers what there is
    count_entries(pair.summit.registry.database, held.physical)
    assert trim(pair.summit.registry.database, held.physical, 2) == 1
    other = pair.laptop.registry.ensure_replica(SUMMIT)
    with pair.laptop.registry.database.write(other.physical) as connection:
        connection.exec_driver_sql(f'UPDATE "{other.physical}".log_state SET lsn = 0, chain = zeroblob(16)')
    pair.laptop.follower(pair.address, filter=NIGHT).run_once()
    assert rows(pair.laptop.registry, SUMMIT) == _expected(pair, NIGHT)


def test_the_catalog_names_tables_that_lack_rows(pair: Pair) -> None:
    pair.laptop.follower(pair.address, filter=FLATS).run_once()
    source = CatalogSource(pair.laptop.registry)
    found = source.catalog().schema(SUMMIT)
    assert found is not None
    assert {"dataset", "dark", "artifact", "metric"} <= found.partial_tables
    assert not {"flat", "collection", "detector", "dataset_type"} & found.partial_tables
    held = pair.laptop.registry.get(SUMMIT)
    with pair.laptop.registry.database.write(held.physical) as connection:
        set_filter(connection, held.physical, NIGHT, is_copied=False)
        assert replica_source(connection, held.physical).filter == FLATS
    # while the filter is changed, by the one or the other
    changing = source.catalog().schema(SUMMIT)
    assert changing is not None
    assert "flat" in changing.partial_tables
    assert "dark" in changing.partial_tables
