"""Spatial joins over two sites find what lsst-sphgeom finds pair by pair, at right ascension 0 and at the pole too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import attrs
import pyarrow as pa
import pytest

from federation.errors import LimitError, QueryError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.region import overlaps, polygon
from federation.model.skypix import pixel_region, skypix_id
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase

Sites = tuple[Registry, Registry]

#: where visits point: over right ascension 0, at the pole, elsewhere
POINTINGS = {1: (359.9, 0.0), 2: (0.3, 0.2), 3: (120.0, 89.8), 4: (77.0, -30.0)}
DETECTORS = {0: (-0.3, -0.3), 1: (0.3, -0.3), 2: (0.0, 0.3)}


def square(ra: float, dec: float, half: float) -> bytes:
    """A small square on the sky, also where a step in right ascension is no distance."""
    if dec > 85:
        return polygon([(ra + turn, 90 - abs(90 - dec) - half) for turn in (0, 90, 180, 270)])
    return polygon(
        [(ra - half, dec - half), (ra + half, dec - half), (ra + half, dec + half), (ra - half, dec + half)]
    )


FOOTPRINTS = {
    (visit, detector): square(ra + dx, dec + dy, 0.25)
    for visit, (ra, dec) in POINTINGS.items()
    for detector, (dx, dy) in DETECTORS.items()
}
PATCHES = {
    **{n: square(359.2 + 0.4 * n, 0.1, 0.2) for n in range(6)},
    6: square(10.0, 89.5, 0.3),
    7: square(77.1, -30.2, 0.2),
    8: square(200.0, 10.0, 0.2),
}


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory, universe: DimensionUniverse
) -> Iterator[tuple[Registry, Registry]]:
    root = tmp_path_factory.mktemp("sites")
    with (
        Registry.create_in(SqliteDatabase(root / "summit"), "summit", universe) as summit,
        Registry.create_in(SqliteDatabase(root / "base"), "base", universe) as base,
    ):
        with summit.transaction("summit") as tx:
            dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
            dimensions.insert_records(tx, "day_obs", [{"instrument": "Cam", "id": 1}])
            dimensions.insert_records(
                tx, "physical_filter", [{"instrument": "Cam", "name": "r_1", "band": "r"}]
            )
            dimensions.insert_records(
                tx, "detector", [{"instrument": "Cam", "id": n, "full_name": f"S{n}"} for n in DETECTORS]
            )
            dimensions.insert_records(
                tx,
                "visit",
                [
                    {
                        "instrument": "Cam", "id": n, "name": f"v{n}", "day_obs": 1, "physical_filter": "r_1",
                        "region": square(ra, dec, 0.6), "zenith_angle": dec,
                    }
                    for n, (ra, dec) in POINTINGS.items()
                ],
            )  # fmt: skip
            dimensions.insert_records(
                tx,
                "visit_detector_region",
                [
                    {"instrument": "Cam", "visit": visit, "detector": detector, "region": region}
                    for (visit, detector), region in FOOTPRINTS.items()
                ],
            )
        with base.transaction("base") as tx:
            dimensions.insert_records(tx, "skymap", [{"name": "sky"}])
            dimensions.insert_records(tx, "tract", [{"skymap": "sky", "id": 0}])
            dimensions.insert_records(
                tx,
                "patch",
                [
                    {"skymap": "sky", "tract": 0, "id": n, "cell_x": n, "cell_y": 0, "region": region}
                    for n, region in PATCHES.items()
                ],
            )
            dataset_types.declare(tx, DatasetType("shard", ("htm7", "healpix3"), "Catalogue"))
            collections.register(tx, Collection("shards", CollectionType.RUN))
            shards = {(skypix_id("htm7", *at), skypix_id("healpix3", *at)) for at in POINTINGS.values()}
            datasets.insert_many(
                tx, "shard", "shards", [{"htm7": htm, "healpix3": healpix} for htm, healpix in sorted(shards)]
            )
        yield summit, base


@pytest.fixture(scope="module")
def coordinator(sites: tuple[Registry, Registry]) -> Iterator[Coordinator]:
    with Coordinator("base", {site.site: LocalSite(site) for site in reversed(sites)}) as coordinator:
        yield coordinator


EXPECTED = sorted(
    (visit, detector, patch)
    for (visit, detector), footprint in FOOTPRINTS.items()
    for patch, region in PATCHES.items()
    if overlaps(footprint, region)
)


def test_what_is_expected_is_over_right_ascension_0_and_the_pole() -> None:
    assert {visit for visit, _, _ in EXPECTED} == {1, 2, 3, 4}
    assert len(EXPECTED) > 12


def test_two_families_are_joined_by_their_regions(coordinator: Coordinator) -> None:
    found = coordinator.query(
        "SELECT v.visit, v.detector, p.id AS patch FROM visit_detector_region v"
        " JOIN patch p ON region_overlaps(v.region, p.region) ORDER BY 1, 2, 3"
    )

    assert [tuple(row.values()) for row in found.to_pylist()] == EXPECTED
    assert {fragment.site for fragment in found.plan.fragments} == {"summit", "base"}
    assert len(found.plan.pair_tables) == 1


FROM = "FROM visit_detector_region v JOIN patch p ON region_overlaps(v.region, p.region)"
#: statements of which the pairs are the rows
MATCHED = [
    f"SELECT v.visit, v.detector, p.id AS patch {FROM}",
    f"SELECT v.region AS r, p.id, p.cell_x, v.visit, v.visit AS again {FROM} WHERE v.visit > 1 AND p.id <> 7",
    f"SELECT p.region, v.detector {FROM} AND v.detector IN (0, 2)",
    "SELECT p.id, d.id AS d, p.skymap FROM patch p CROSS JOIN visit d WHERE region_overlaps(p.region, d.region)",
    "SELECT p.id AS patch, v.id FROM patch p JOIN visit v ON region_contains(p.region, v.zenith_angle, v.zenith_angle)",
    f"SELECT v.visit, p.id {FROM} WHERE v.visit > 100",
]
#: and others, which are joined by the engine
JOINED = [
    f"SELECT v.visit, p.id {FROM} ORDER BY v.visit",
    f"SELECT DISTINCT v.visit {FROM}",
    f"SELECT v.visit + 1 AS n {FROM}",
    f"SELECT count(*) AS n {FROM}",
    f"SELECT v.visit {FROM} LIMIT 3",
    f"SELECT v.visit, p.id {FROM} AND v.visit > p.id",
    f"SELECT v.visit, p.id {FROM} WHERE v.visit > 1 OR p.id = 2",
    "SELECT v.visit, p.id FROM visit_detector_region v LEFT JOIN patch p ON region_overlaps(v.region, p.region)",
    "SELECT a.id, b.id AS b FROM patch a JOIN visit b ON NOT region_overlaps(a.region, b.region)",
    f"SELECT v.visit, p.id, d.name {FROM} JOIN visit d ON d.id = v.visit",
    "SELECT a.id, b.id AS b FROM patch a JOIN patch b ON region_overlaps(a.region, b.region)",
]


@pytest.mark.parametrize("sql", [*MATCHED, *JOINED])
def test_rows_are_the_same_whether_the_engine_joins_the_pairs_or_not(sql: str, sites: Sites) -> None:
    clients = {site.site: LocalSite(site) for site in reversed(sites)}
    with Coordinator("base", clients) as matching, Coordinator("base", clients) as joining:
        vary = joining._options
        joining._options = lambda *given: attrs.evolve(  # type: ignore[method-assign]
            vary(*given), rules_off=frozenset({"match_regions"})
        )
        found, expected = matching.query(sql), joining.query(sql)
        assert (found.plan.region_match is not None) == (sql in MATCHED)
        assert expected.plan.region_match is None
        with matching.stream(sql) as batches:
            streamed = pa.Table.from_batches(batches, batches.schema)
    assert found.table.schema == expected.table.schema == streamed.schema
    rows = [Counter(map(repr, table.to_pylist())) for table in (found.table, expected.table, streamed)]
    assert rows[0] == rows[1] == rows[2] or " LIMIT " in sql


def test_pairs_are_limited_as_other_rows_are(coordinator: Coordinator) -> None:
    with pytest.raises(LimitError, match="more than 3 rows"):
        coordinator.query(MATCHED[0], row_count_max=3)
    cut = coordinator.query(MATCHED[0], row_count_max=3, on_limit="truncate")
    assert (cut.row_count, cut.is_truncated) == (3, True)


def test_a_left_join_keeps_what_overlaps_nothing(coordinator: Coordinator) -> None:
    found = coordinator.query(
        "SELECT p.id, count(v.visit) AS n FROM patch p LEFT JOIN visit_detector_region v"
        " ON region_overlaps(v.region, p.region) GROUP BY p.id ORDER BY p.id"
    )

    counted = {n: sum(patch == n for _, _, patch in EXPECTED) for n in PATCHES}
    assert {row["id"]: row["n"] for row in found.to_pylist()} == counted
    assert counted[8] == 0


@pytest.mark.parametrize(
    ("condition", "visits"),
    [
        ("region_overlaps(region, circle(0, 0, 0.01))", [1, 2]),
        ("region_overlaps(region, circle(300, 90, 0.01))", [3]),
        ("region_overlaps(region, polygon(76, -31, 78, -31, 78, -29, 76, -29))", [4]),
        ("region_contains(region, 0.05, 0.1)", [1, 2]),
        ("region_contains(region, 720.05, 0.1)", [1, 2]),
        ("region_contains(region, zenith_angle + 0.55, 0.1)", [2]),
        ("region_overlaps(region, circle(-0.4, zenith_angle, 0.1)) AND id < 3", [1, 2]),
        ("region_overlaps(region, NULL)", []),
        ("NOT region_overlaps(region, circle(0, 0, 170))", []),
    ],
)
def test_regions_are_compared_with_places(
    condition: str, visits: list[int], coordinator: Coordinator
) -> None:
    found = coordinator.query(f"SELECT id FROM visit WHERE {condition} ORDER BY id")

    assert [row["id"] for row in found.to_pylist()] == visits


def test_datasets_of_pixels_of_two_systems_are_joined_with_regions(coordinator: Coordinator) -> None:
    found = coordinator.query(
        "SELECT v.id, s.htm7, s.healpix3 FROM visit v JOIN shard s ON region_overlaps_pixel('htm7', s.htm7, v.region)"
        " AND region_overlaps_pixel('healpix3', s.healpix3, v.region)"
    ).to_pylist()

    assert {row["id"] for row in found} == set(POINTINGS)
    for row in found:
        ra, dec = POINTINGS[row["id"]]
        assert overlaps(pixel_region("htm7", row["htm7"]), square(ra, dec, 0.6))
        assert overlaps(pixel_region("healpix3", row["healpix3"]), square(ra, dec, 0.6))


def test_the_pixel_of_a_constant_place_is_found_at_the_site(coordinator: Coordinator) -> None:
    found = coordinator.query("SELECT htm7 FROM shard WHERE htm7 = skypix_id('htm7', 77, -30)")

    assert found.to_pylist() == [{"htm7": skypix_id("htm7", 77, -30)}]
    assert found.plan.fragments[0].sql.endswith(f'"htm7" = {skypix_id("htm7", 77, -30)}')


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT circle(id, 100 * id, 1) FROM visit WHERE id = 1", "declination 100.0 is not between"),
        ("SELECT skypix_region('htm7', id) FROM visit WHERE id = 1", "htm7 has no pixel 1"),
        (
            "SELECT v.id FROM visit v JOIN patch p ON region_overlaps(circle(v.id, 95, 1), p.region)",
            "declination 95.0 is not between",
        ),
    ],
)
def test_a_value_that_is_no_place_is_an_error_of_one_line(
    sql: str, message: str, coordinator: Coordinator
) -> None:
    with pytest.raises(QueryError) as caught:
        coordinator.query(sql)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_what_is_no_region_is_refused_when_it_is_inserted(sites: tuple[Registry, Registry]) -> None:
    summit, _ = sites
    record = {"instrument": "Cam", "id": 9, "name": "v9", "day_obs": 1, "physical_filter": "r_1"}
    with (
        summit.transaction("summit") as tx,
        pytest.raises(UserError, match="region of 7 bytes starting"),
    ):
        dimensions.insert_records(tx, "visit", [{**record, "region": b"p" + b"\0" * 6}])
