"""The query interface of Python gives what plain SQL in DuckDB finds in the fetched tables."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from astropy.time import Time
from lsst.sphgeom import Angle, Circle, LonLat, Region, UnitVector3d

from federation.errors import NotFoundError, QueryError, UnavailableError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.data_id import DataId, ExpandedDataId
from federation.model.dataset import DatasetRef, DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.model.region import circle, overlaps
from federation.model.skypix import skypix_id
from federation.model.timespan import Timespan
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry.registry import Registry
from federation.registry.transaction import Transaction
from federation.session import Session
from federation.storage import PostgresDatabase, SqliteDatabase
from federation.wire.client import SiteClient

UNIVERSE = DimensionUniverse.default()
SECOND = 1_000_000_000
CAMERAS = ("Cam", "Hyper'Cam")
EXPOSURES, DETECTORS = 8, 3


def fill_dimensions(tx: Transaction) -> None:
    for camera in CAMERAS:
        dimensions.insert_records(tx, "instrument", [{"name": camera}])
        filters = [{"instrument": camera, "name": f"{band}_1", "band": band} for band in "gr"]
        dimensions.insert_records(tx, "physical_filter", filters)
        dimensions.insert_records(tx, "day_obs", [{"instrument": camera, "id": 20250101}])
        dimensions.insert_records(tx, "group", [{"instrument": camera, "name": "first"}])
        names = [{"instrument": camera, "id": d, "full_name": f"R0{d}_S1%"} for d in range(DETECTORS)]
        dimensions.insert_records(tx, "detector", names)
        exposures, visits = [], []
        for n in range(EXPOSURES):
            common = {
                "instrument": camera, "id": n, "day_obs": 20250101, "physical_filter": "gr"[n % 2] + "_1",
                "target_name": f"field_{n % 3}", "timespan_begin": n * SECOND, "timespan_end": (n + 1) * SECOND,
            }  # fmt: skip
            exposures.append(
                {
                    **common,
                    "obs_id": f"O{n}",
                    "group": "first",
                    "exposure_time": 1.5 * n,
                    "can_see_sky": n > 4,
                }
            )
            visits.append(
                {**common, "name": f"v{n}", "exposure_time": 10.0 * n, "region": circle(5 * n, 0, 1)}
            )
        dimensions.insert_records(tx, "exposure", exposures)
        dimensions.insert_records(tx, "visit", visits)
        pairs = [{"instrument": camera, "visit": n, "exposure": n} for n in range(EXPOSURES)]
        dimensions.insert_records(tx, "visit_definition", pairs)
        regions = [
            {"instrument": camera, "visit": n, "detector": d, "region": circle(5 * n + 0.4 * d, 0, 0.2)}
            for n in range(EXPOSURES)
            for d in range(DETECTORS)
        ]
        dimensions.insert_records(tx, "visit_detector_region", regions)
    dimensions.insert_records(tx, "skymap", [{"name": "sky", "hash": b"h"}])
    dimensions.insert_records(tx, "tract", [{"skymap": "sky", "id": 0, "region": circle(20, 0, 40)}])
    patches = [
        {"skymap": "sky", "tract": 0, "id": p, "cell_x": p, "cell_y": 0, "region": circle(5 * p, 0, 1)}
        for p in range(4)
    ]
    dimensions.insert_records(tx, "patch", patches)


def run(tx: Transaction, name: str, type_: CollectionType = CollectionType.RUN, children: Any = ()) -> None:
    collections.register(tx, Collection(name, type_, children=tuple(children)))


def calexps(tx: Transaction, name: str, visits: range) -> list[uuid.UUID]:
    run(tx, name)
    made = datasets.insert_datasets(
        tx,
        [
            datasets.NewDataset(
                "calexp",
                name,
                {"instrument": camera, "visit": v, "detector": d},
                metadata={"nrows": 100 * v + d},
            )
            for camera in CAMERAS
            for v in visits
            for d in range(DETECTORS)
        ],
    )
    return [ref.id for ref in made.refs]


@contextlib.contextmanager
def two_sites(databases: dict[str, Any]) -> Iterator[Session]:
    """``summit`` owns raws and calibrations, ``base`` what was made of them."""
    with contextlib.ExitStack() as closing:
        sites = {}
        for name, database in databases.items():
            registry = Registry.create_in(database, name, UNIVERSE)
            closing.callback(registry.close)
            sites[name] = registry
        with sites["summit"].transaction("summit") as tx:
            fill_dimensions(tx)
            dataset_types.declare(tx, DatasetType("raw", ("exposure", "detector"), "Exposure"))
            dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
            dataset_types.declare(tx, DatasetType("order", (), "Dict"))
            run(tx, "it's raw")
            data_ids = [
                {"instrument": camera, "exposure": e, "detector": d}
                for camera in CAMERAS
                for e in range(EXPOSURES)
                for d in range(DETECTORS)
            ]
            datasets.insert_many(tx, "raw", "it's raw", data_ids)
            datasets.insert_many(tx, "order", "it's raw", [{}])
            run(tx, "calib", CollectionType.CALIBRATION)
            for number in range(2):
                run(tx, f"bias/{number}")
                new = [
                    datasets.NewDataset("bias", f"bias/{number}", {"instrument": "Cam", "detector": d})
                    for d in range(DETECTORS)
                ]
                made = datasets.insert_datasets(tx, new)
                valid = Timespan(None, 4 * SECOND) if number == 0 else Timespan(4 * SECOND, None)
                collections.certify(tx, "calib", valid, [ref.id for ref in made.refs])
        with sites["base"].transaction("base") as tx:
            fill_dimensions(tx)
            type_ = DatasetType(
                "calexp", ("visit", "detector"), "Exposure", metadata=(Field("nrows", LogicalType.INT64),)
            )
            dataset_types.declare(tx, type_)
            dataset_types.declare(tx, DatasetType("coverage", ("htm7",), "Map"))
            calexps(tx, "run/old", range(EXPOSURES))
            new_ids = calexps(tx, "run/new", range(3))
            run(tx, "best", CollectionType.TAGGED)
            collections.tag(tx, "best", new_ids[:2])
            run(tx, "empty", CollectionType.CHAINED)
            run(tx, "inner", CollectionType.CHAINED, ["run/new", "empty"])
            run(tx, "all", CollectionType.CHAINED, ["inner", "run/old", "it's raw", "calib"])
            run(tx, "sky")
            pixels = [{"htm7": skypix_id("htm7", 5.0, 0.0)}, {"htm7": skypix_id("htm7", 200.0, 50.0)}]
            datasets.insert_many(tx, "coverage", "sky", pixels)
        clients = {name: LocalSite(registry) for name, registry in sites.items()}
        coordinator = closing.enter_context(Coordinator("base", clients))
        yield Session(coordinator, UNIVERSE, contextlib.ExitStack())


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root: Path = tmp_path_factory.mktemp("query_api")
    with two_sites({name: SqliteDatabase(root / name) for name in ("base", "summit")}) as session:
        yield session


@pytest.fixture(scope="module")
def oracle(session: Session) -> Any:
    """DuckDB with everything in it."""
    connection = duckdb.connect(":memory:")
    tables = (
        "raw",
        "calexp",
        "bias",
        "coverage",
        "dataset",
        "calibration",
        "collection_member",
        *UNIVERSE.element_names,
    )
    for name in tables:
        connection.register("arriving", session.query(f'SELECT * FROM "{name}"').table)
        connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM arriving')
    return connection


def found(query: Any) -> list[tuple[Any, ...]]:
    table: pa.Table = query.to_arrow()
    return sorted(
        tuple(str(value) for value in row.values())
        for row in table.select(table.column_names[: 2 + len(query._statement().group.required)]).to_pylist()
    )


def expected(oracle: Any, sql: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(str(value) for value in row) for row in oracle.execute(sql).fetchall())


RAW = "SELECT r.dataset_id, r.run, r.instrument, r.detector, r.exposure FROM raw r"
OF_EXPOSURE = " JOIN exposure e ON e.instrument = r.instrument AND e.id = r.exposure"

RAW_CASES = (
    ("instrument = 'Cam' AND exposure IN (1..5:2, 7) AND detector <> 0",
     " WHERE instrument = 'Cam' AND exposure IN (1, 3, 5, 7) AND detector <> 0"),
    ("instrument = 'Hyper''Cam' AND NOT (detector = 1 OR detector = 2)",
     " WHERE instrument = 'Hyper''Cam' AND detector = 0"),
    ("exposure.exposure_time * 2 > 9 AND band = 'r'", OF_EXPOSURE + " WHERE e.exposure_time > 4.5 AND r.band = 'r'"),
    ("exposure_time BETWEEN 3 AND 6", OF_EXPOSURE + " WHERE e.exposure_time BETWEEN 3 AND 6"),
    ("can_see_sky AND exposure.obs_id LIKE 'O_' AND instrument = 'Cam'",
     OF_EXPOSURE + " WHERE e.can_see_sky AND r.instrument = 'Cam'"),
    ("exposure.can_see_sky IS NOT TRUE", OF_EXPOSURE + " WHERE NOT e.can_see_sky"),
    ("target_name GLOB 'field_[12]'", OF_EXPOSURE + " WHERE e.target_name IN ('field_1', 'field_2')"),
    ("GLOB(exposure.target_name, 'fie*2')", OF_EXPOSURE + " WHERE e.target_name = 'field_2'"),
    ("detector.full_name IN ('R00_S1%', 'R02_S1%') AND instrument = 'Cam'",
     " WHERE detector IN (0, 2) AND instrument = 'Cam'"),
    ("instrument IN ('Cam') AND (exposure = 3 OR exposure > 6)", " WHERE instrument = 'Cam' AND exposure IN (3, 7)"),
    ("exposure.timespan OVERLAPS (T'1970-01-01T00:00:02', T'1970-01-01T00:00:03.5/tai')",
     " WHERE r.exposure IN (2, 3)"),
    ("exposure.timespan OVERLAPS T'1970-01-01T00:00:02.5'", " WHERE r.exposure = 2"),
    ("exposure.timespan.begin >= T'1970-01-01T00:00:06'", " WHERE r.exposure >= 6"),
    ("visit.exposure_time > 40", " JOIN visit_definition d ON d.exposure = r.exposure AND d.instrument = r.instrument"
     " WHERE d.visit > 4"),
    ("visit.region OVERLAPS POINT(10, 0.5) AND instrument = 'Cam'",
     " WHERE r.instrument = 'Cam' AND r.exposure = 2"),
    ("raw.ingest_date > T'2000-01-01' AND raw.run = 'it''s raw'", ""),
    ("ingest_date IS NULL", " WHERE FALSE"),
    ("exposure.group = 'first' AND exposure.tracking_ra IS NULL", ""),
    ("(exposure - 1) % 2 = 0 AND -exposure < -4", " WHERE exposure IN (5, 7)"),
    ("exposure IN (0..100000:5)", " WHERE exposure IN (0, 5)"),
)  # fmt: skip


@pytest.mark.parametrize(("where", "sql"), RAW_CASES)
def test_an_expression_finds_what_sql_finds(session: Session, oracle: Any, where: str, sql: str) -> None:
    # with one governor value fixed by the expression or none needed
    fixed = "exposure = " in where or "exposure IN" in where or "(exposure" in where
    needs = fixed and "instrument" not in where
    query = session.datasets("raw", where=where, **({"instrument": list(CAMERAS)} if needs else {}))

    answer = expected(oracle, RAW + sql)

    assert found(query) == answer
    assert query.count() == len(answer) == len(list(query))
    assert query.exists() is query.any() is bool(answer)


def test_references_are_objects_of_the_model(session: Session) -> None:
    refs = list(session.datasets("raw", where="exposure = 3", instrument="Cam", order_by=["-detector"]))

    assert [ref.data_id for ref in refs] == [
        DataId(("instrument", "detector", "exposure"), ("Cam", d, 3)) for d in (2, 1, 0)
    ]
    assert all(isinstance(ref, DatasetRef) and ref.dataset_type == "raw" for ref in refs)
    one = session.datasets("raw", where={"dataset_id": refs[0].id})
    assert list(one) == refs[:1]
    assert hash(refs[0].data_id) == hash(next(iter(one)).data_id)
    assert list(session.datasets("raw", where=refs[1].data_id)) == [refs[1]]


def test_bound_values_stand_for_names(session: Session) -> None:
    query = session.datasets(
        "raw",
        where="instrument = cam AND exposure IN (wanted) AND detector IN (:some, 2) AND exposure.timespan OVERLAPS :t",
        bind={"cam": "Cam", "wanted": range(1, 6), "some": [0], "t": Timespan(2 * SECOND, 4 * SECOND)},
    )
    later = query.where("exposure.timespan.begin >= :t", bind={"t": Time(3.0, format="unix_tai")})

    assert {(r.data_id["exposure"], r.data_id["detector"]) for r in query} == {(2, 0), (2, 2), (3, 0), (3, 2)}
    assert {r.data_id["exposure"] for r in later} == {3}
    assert not session.datasets(
        "raw", where="exposure IN (none)", bind={"none": []}, instrument="Cam"
    ).exists()


@pytest.mark.parametrize(
    "region",
    [
        Circle(UnitVector3d(LonLat.fromDegrees(5, 0)), Angle.fromDegrees(0.5)),
        LonLat.fromDegrees(5, 0.5),
        Region.from_ivoa_pos("POLYGON 4.5 -0.5 5.5 -0.5 5.5 0.5 4.5 0.5"),
    ],
)
def test_a_region_of_the_program_can_be_bound(session: Session, region: Any) -> None:
    query = session.dimension_records(
        "visit", "visit.region OVERLAPS here", bind={"here": region}, instrument="Cam"
    )

    assert [record["id"] for record in query] == [1]


def test_a_query_is_never_changed(session: Session) -> None:
    query = session.datasets("raw", instrument="Cam")
    narrowed = query.where("exposure = 1").order_by("detector").limit(2)

    assert query.count() == EXPOSURES * DETECTORS
    assert [ref.data_id["detector"] for ref in narrowed] == [0, 1]
    assert narrowed.count() == 2
    assert narrowed.limit(0).count() == 0
    assert not narrowed.limit(0).exists()
    assert list(narrowed.limit(0)) == []
    assert narrowed.limit(0).to_arrow().column_names[:2] == ["dataset_id", "run"]
    assert narrowed.limit(None).count() == DETECTORS


def test_the_sql_of_a_query_gives_its_rows(session: Session) -> None:
    query = session.datasets("calexp", "all", "calexp.nrows > 100", order_by="-nrows", instrument="Cam")

    assert session.query(query.sql).table == query.to_arrow()
    assert pa.Table.from_batches(query.batches()) == query.to_arrow()
    assert [fragment.site for fragment in query.explain().fragments] == ["base"]
    assert query.to_arrow().column_names[-1] == "nrows"


# -- collections ----------------------------------------------------------------------------------------------------


def test_the_first_collection_wins_for_each_data_id(session: Session, oracle: Any) -> None:
    first = (
        "SELECT dataset_id, run, instrument, detector, visit FROM (SELECT *, row_number() OVER (PARTITION BY"
        " instrument, visit, detector ORDER BY run) AS n FROM calexp) WHERE n = 1"
    )

    assert found(session.datasets("calexp", "all")) == expected(oracle, first)
    assert found(session.datasets("calexp", ["run/*"])) == expected(oracle, first)
    assert found(session.datasets("calexp", ["run/old", "all"])) == expected(
        oracle, "SELECT dataset_id, run, instrument, detector, visit FROM calexp WHERE run = 'run/old'"
    )
    everything = expected(oracle, "SELECT dataset_id, run, instrument, detector, visit FROM calexp")
    assert found(session.datasets("calexp", "all", find_first=False)) == everything
    assert found(session.datasets("calexp")) == everything


def test_a_condition_on_the_dataset_does_not_bring_back_a_hidden_one(session: Session) -> None:
    hidden = session.datasets(
        "calexp", ["run/new", "run/old"], "calexp.run = 'run/old' AND visit < 3", instrument="Cam"
    )
    shown = hidden.where("visit < 3")

    assert not shown.exists()
    assert session.datasets("calexp", "all", "run = 'run/old'").count() == 2 * 5 * DETECTORS


def test_tagged_datasets_are_found_once(session: Session, oracle: Any) -> None:
    tagged = expected(
        oracle,
        "SELECT dataset_id, run, instrument, detector, visit FROM calexp WHERE dataset_id IN"
        " (SELECT dataset_id FROM collection_member)",
    )

    assert found(session.datasets("calexp", "best")) == tagged
    both = session.datasets("calexp", ["best", "run/new"], find_first=False)
    assert both.count() == len(list(both)) == 2 * 3 * DETECTORS
    assert session.datasets("calexp", ["best", "run/new"]).count() == 2 * 3 * DETECTORS
    assert session.datasets("calexp", ["best", "run/new"], "calexp.collection = 'best'").count() == 2
    in_any = session.datasets("calexp", ["best", "run/new"], "collection GLOB '*e*'", find_first=False)
    assert in_any.count() == 2 * 3 * DETECTORS


def test_calibrations_are_found_by_their_validity(session: Session) -> None:
    early = session.datasets("bias", "calib", "bias.timespan OVERLAPS T'1970-01-01T00:00:03'")
    both = session.datasets(
        "bias", "calib", "bias.timespan OVERLAPS :t", bind={"t": Timespan(0, 9 * SECOND)}, find_first=False
    )

    assert {ref.run for ref in early} == {"bias/0"}
    assert early.count() == DETECTORS
    assert both.count() == session.datasets("bias", "calib", find_first=False).count() == 2 * DETECTORS
    with pytest.raises(QueryError, match="depends on the time"):
        list(session.datasets("bias", "all"))
    with pytest.raises(QueryError, match="depends on this condition"):
        list(session.datasets("bias", "calib", "bias.timespan OVERLAPS exposure.timespan"))


def test_calibrations_are_joined_to_exposures_by_time(session: Session) -> None:
    query = session.data_ids(
        ["exposure", "detector"],
        "bias.timespan OVERLAPS exposure.timespan AND bias.run = 'bias/1'",
        datasets="bias",
        collections="calib",
        instrument="Cam",
    )

    assert {data_id["exposure"] for data_id in query} == {4, 5, 6, 7}
    assert query.count() == 4 * DETECTORS


def test_collections_that_hold_nothing_of_the_type_are_left_out(session: Session) -> None:
    query = session.datasets("calexp", "all")

    assert "raw" not in query.sql
    assert not session.datasets("raw", "run/*").exists()
    assert not session.datasets("raw", "nothing*").exists()
    assert session.datasets("raw", "it's raw").count() == len(CAMERAS) * EXPOSURES * DETECTORS


def test_a_dataset_type_without_dimensions_has_an_empty_data_id(session: Session) -> None:
    (ref,) = session.datasets("order", "it's raw")

    assert dict(ref.data_id) == {}
    assert session.datasets("order", ["it's raw", "run/*"]).count() == 1
    assert session.data_ids((), datasets="order").count() == 1


def test_what_is_known_of_collections_is_renewed_when_a_schema_changes(tmp_path: Path) -> None:
    with contextlib.ExitStack() as closing:
        registry = Registry.create_in(SqliteDatabase(tmp_path), "base", UNIVERSE)
        closing.callback(registry.close)
        coordinator = closing.enter_context(Coordinator("base", {"base": LocalSite(registry)}))
        session = Session(coordinator, UNIVERSE, contextlib.ExitStack())
        with registry.transaction("base") as tx:
            dataset_types.declare(tx, DatasetType("order", (), "Dict"))
        query = session.datasets("order", "late")
        with pytest.raises(NotFoundError, match="unknown collection 'late'"):
            query.count()
        with registry.transaction("base") as tx:
            run(tx, "late")
            datasets.insert_many(tx, "order", "late", [{}])

        assert query.count() == 1


# -- data IDs and records -------------------------------------------------------------------------------------------


def test_data_ids_are_joined_by_their_keys(session: Session) -> None:
    assert session.data_ids(["visit", "detector"]).count() == len(CAMERAS) * EXPOSURES * DETECTORS
    assert session.data_ids(["visit", "exposure"]).count() == len(CAMERAS) * EXPOSURES
    assert session.data_ids("skymap").to_arrow().to_pylist() == [{"skymap": "sky"}]
    (one,) = session.data_ids(["visit"], "visit = 3 AND instrument = 'Cam'").expanded()
    assert isinstance(one, ExpandedDataId)
    assert dict(one) == {
        "instrument": "Cam", "visit": 3, "band": "r", "physical_filter": "r_1", "day_obs": 20250101,
    }  # fmt: skip


def test_data_ids_are_those_for_which_there_are_datasets(session: Session, oracle: Any) -> None:
    both = session.data_ids(
        ["instrument", "visit", "exposure"], datasets=["raw", "calexp"], collections="all", detector=1
    )
    rows = expected(
        oracle,
        "SELECT DISTINCT d.instrument, d.visit, d.exposure FROM visit_definition d"
        " JOIN raw r ON r.instrument = d.instrument AND r.exposure = d.exposure"
        " JOIN calexp c ON c.instrument = d.instrument AND c.visit = d.visit AND c.detector = r.detector",
    )

    with pytest.raises(QueryError, match="means nothing without 'instrument'"):
        both.count()
    both = both.where(instrument=list(CAMERAS))
    assert sorted(tuple(map(str, data_id.values())) for data_id in both) == rows
    assert both.count() == len(rows)
    assert session.data_ids("visit", "calexp.nrows > 700", datasets="calexp").count() == 2


def test_visits_and_patches_are_related_by_their_regions(session: Session, oracle: Any) -> None:
    regions = oracle.execute(
        "SELECT visit, detector, region FROM visit_detector_region WHERE instrument = 'Cam'"
    )
    seen = regions.fetchall()
    patches = oracle.execute("SELECT id, region FROM patch").fetchall()
    pairs = {(v, d, p) for v, d, a in seen for p, b in patches if overlaps(a, b)}

    query = session.data_ids(["visit", "detector", "patch"], instrument="Cam")

    assert {(i["visit"], i["detector"], i["patch"]) for i in query} == pairs
    on_patch = session.datasets(
        "calexp", "run/old", "skymap = 'sky' AND tract = 0 AND patch = 2", instrument="Cam"
    )
    assert {(r.data_id["visit"], r.data_id["detector"]) for r in on_patch} == {
        (v, d) for v, d, p in pairs if p == 2
    }
    whole_visits = session.data_ids(
        ["visit", "detector", "patch"], "visit.region OVERLAPS patch.region", instrument="Cam"
    )
    assert {(i["visit"], i["patch"]) for i in whole_visits} == {(n, n) for n in range(4)}


def test_pixels_are_related_to_regions(session: Session) -> None:
    near, far = skypix_id("htm7", 5.0, 0.0), skypix_id("htm7", 200.0, 50.0)

    visits = session.data_ids(
        ["visit", "htm7"], "htm7 IN (pixels)", bind={"pixels": [near, far]}, instrument="Cam"
    )
    coverage = session.datasets("coverage", where="visit = 1 AND instrument = 'Cam'")

    assert [(i["visit"], i["htm7"]) for i in visits] == [(1, near)]
    assert [ref.data_id["htm7"] for ref in coverage] == [near]
    assert session.data_ids(["visit", "htm7"], datasets="coverage", instrument="Cam").count() == 1
    with pytest.raises(QueryError, match="nothing gives values of 'htm7'"):
        session.data_ids(["visit", "htm7"]).count()


def test_records_are_mappings_with_regions_and_timespans(session: Session) -> None:
    (record,) = session.dimension_records("visit", "name = 'v2'", instrument="Cam")
    (filter_,) = session.dimension_records("physical_filter", "band = 'g'", instrument="Cam")

    assert (record["id"], record.id, record.target_name) == (2, 2, "field_2")
    assert record.timespan == Timespan(2 * SECOND, 3 * SECOND)
    assert record.region == Region.decode(record["region"])
    assert dict(filter_) == {"instrument": "Cam", "name": "g_1", "band": "g"}
    assert filter_.timespan is None
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        _ = record.nothing
    assert session.dimension_records("detector", "exposure = 1 AND instrument = 'Cam'").count() == DETECTORS


def test_results_are_ordered_by_any_field_of_theirs(session: Session) -> None:
    by_time = session.datasets(
        "raw", order_by=["-exposure.timespan.begin", "instrument", "detector"], limit=2
    )
    joined = session.datasets(
        "raw", where="visit > 5", order_by=["-obs_id", "instrument", "-detector"], instrument="Cam"
    )

    assert [(r.data_id["exposure"], r.data_id["detector"]) for r in by_time] == [(7, 0), (7, 1)]
    assert [r.data_id["exposure"] for r in joined] == [7] * 3 + [6] * 3
    with pytest.raises(QueryError, match=r"several values of 'visit\.name'"):
        list(joined.order_by("visit.name"))


def test_postgresql_answers_as_sqlite_does(
    session: Session, fresh_postgres_database: str, tmp_path: Path
) -> None:
    def answers(asked: Session) -> list[Any]:
        chosen = (
            asked.datasets("calexp", "all", "nrows > 100 AND visit.target_name GLOB 'field_[12]'"),
            asked.datasets("calexp", ["best", "run/new"], "visit.timespan OVERLAPS T'1970-01-01T00:00:01'"),
            asked.datasets("calexp", "run/*", "instrument < 'D' AND instrument LIKE 'C%'", limit=7),
            asked.data_ids(["visit", "detector", "patch"], "visit.exposure_time BETWEEN 10 AND 20"),
            asked.data_ids(["visit", "detector"], datasets="calexp", collections="best"),
            asked.dimension_records("visit", "instrument = 'Cam' AND name IN ('v1', 'v2')"),
        )
        keys = ("instrument", "visit", "detector", "patch", "nrows", "run", "id", "name")
        return [
            [
                tuple(row.get(key) for key in keys)
                for row in query.order_by("-visit", *order).to_arrow().to_pylist()
            ]
            for query, order in zip(
                chosen, [["instrument", "detector"]] * 3 + [["patch"], [], ["instrument"]], strict=True
            )
        ]

    databases = {
        "base": PostgresDatabase(fresh_postgres_database, label="base"),
        "summit": SqliteDatabase(tmp_path / "summit"),
    }
    with two_sites(databases) as on_postgresql:
        found_there = answers(on_postgresql)
    found_here = answers(session)

    assert all(found_here)
    assert [sorted(map(str, rows)) for rows in found_there] == [sorted(map(str, rows)) for rows in found_here]


def test_a_partial_answer_says_what_is_missing(tmp_path: Path) -> None:
    with contextlib.ExitStack() as closing:
        registry = Registry.create_in(SqliteDatabase(tmp_path), "base", UNIVERSE)
        closing.callback(registry.close)
        with registry.transaction("base") as tx:
            dataset_types.declare(tx, DatasetType("order", (), "Dict"))
            run(tx, "here")
            datasets.insert_many(tx, "order", "here", [{}])
        down = closing.enter_context(SiteClient("summit", "127.0.0.1:1"))
        clients = {"base": LocalSite(registry), "summit": down}
        coordinator = closing.enter_context(Coordinator("base", clients))
        session = Session(coordinator, UNIVERSE, contextlib.ExitStack())

        with pytest.raises(UnavailableError, match="summit"):
            session.datasets("order").count()
        partial = session.datasets("order", "here", partial=True)
        assert partial.count() == 1
        assert {missing.site for missing in partial.result().missing} == {"summit"}


def test_the_examples_of_the_documentation_run(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
    examples = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)

    for example in examples:
        exec(example, {"session": session})
        assert capsys.readouterr().out.strip() not in {"", "0", "[]"}


# -- errors ---------------------------------------------------------------------------------------------------------

ERRORS = (
    ("exposure = 5", "exposure", "a value of 'exposure' means nothing without 'instrument'", "Cam, Hyper'Cam"),
    ("instrument = 'Cam' OR exposure = 5", "exposure", "means nothing without 'instrument'", "instrument = "),
    ("detector.full_name = 'R'", "detector", "means nothing without 'instrument'", "instrument = "),
    ("exposur = 5", "exposur", "unknown name 'exposur'", "did you mean exposure"),
    ("exposure.tim > 5", "exposure.tim", "'exposure' has no field 'tim'", "exposure has: "),
    ("raw.nrows > 5", "raw.nrows", "'raw' has no field 'nrows'", "ingest_date"),
    ("calexp.nrows > 5", "calexp", "unknown name 'calexp'", "dataset types"),
    ("instrument = 5", "5", "int64 can't be compared with string", "single quotes"),
    ("exposure.exposure_time > 'long'", "'long'", "string can't be compared with float64", "without quotes"),
    ("exposure.timespan = 5", "exposure.timespan", "exposure.timespan is a timespan", "OVERLAPS"),
    ("exposure.timespan.begin > 'soon'", "'soon'", "'soon' is not a moment", "T'2025-"),
    ("instrument = NULL", "NULL", "a comparison with NULL is never true", "IS NULL"),
    ("exposure_time", "exposure_time", "exposure_time is no condition", "compare it"),
    ("visit.region OVERLAPS exposure.timespan", "visit.region", "a region and a timespan can't overlap", "one kind"),
    ("visit.timespan OVERLAPS detector", "detector", "OVERLAPS needs regions or timespans", "POINT(ra, dec)"),
    ("visit.region OVERLAPS CIRCLE(1, 2)", "CIRCLE", "CIRCLE takes 3 numbers, not 2", "radius"),
    ("visit.region OVERLAPS REGION 'SQUARE 1'", "REGION", "'SQUARE 1' is not a region", "POLYGON"),
    ("dataset_id = 'abc'", "'abc'", "'abc' is not a UUID", "32"),
    ("raw.collection = 'x'", None, "raw.collection is known only of datasets in collections", "collections="),
    ("exposure IN (:values)", ":values", "no value for :values", "bind="),
    ("visit_definition = 1", "visit_definition", "is a relation and has no value", "exposure"),
)  # fmt: skip


@pytest.mark.parametrize(("where", "at", "message", "hint"), ERRORS)
def test_an_error_points_at_the_place(
    session: Session, where: str, at: str | None, message: str, hint: str
) -> None:
    with pytest.raises(QueryError) as caught:
        session.datasets("raw", where=where).count()

    assert message in caught.value.message
    assert hint in caught.value.hint
    if at is not None:
        assert caught.value.sql == where
        assert caught.value.position == where.index(at)
        assert caught.value.marked().splitlines()[1].index("^") == where.index(at)


def test_unknown_names_say_what_there_is(session: Session) -> None:
    with pytest.raises(NotFoundError, match="unknown dataset type 'rav'") as caught:
        session.datasets("rav").count()
    assert caught.value.hint == "did you mean raw?"
    with pytest.raises(NotFoundError, match="unknown collection 'xyz'") as caught:
        session.datasets("raw", "xyz").count()
    assert "run/new" in caught.value.hint
    with pytest.raises(NotFoundError, match="unknown dimension 'visits'"):
        session.data_ids("visits")
    with pytest.raises(NotFoundError, match="'htm7' keeps no records"):
        session.dimension_records("htm7")
    with pytest.raises(UserError, match="limit -1 is not a number of rows"):
        session.datasets("raw").limit(-1)
    with pytest.raises(UserError, match="detector=None"):
        session.datasets("raw", detector=None)
    with pytest.raises(QueryError, match="has the name of a dimension"):
        session.datasets("raw", where="visit = 1", bind={"visit": 2})
    with pytest.raises(QueryError, match="'exposure_time' is ambiguous") as caught_query:
        session.data_ids(["visit", "exposure"], "exposure_time > 1").count()
    assert caught_query.value.hint == "write visit.exposure_time or exposure.exposure_time"
