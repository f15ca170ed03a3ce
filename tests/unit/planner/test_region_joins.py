"""Joins on regions give the rows that testing every pair gives, and do not test every pair."""

# ruff: noqa: E501
from __future__ import annotations

import duckdb
import pytest
from planner_federation import ALICE, BASE, NCSA, SUMMIT
from planner_oracle import World

from federation.execution.region_functions import register_region_functions
from federation.planner import PlanOptions, plan

OVERLAP = "region_overlaps(v.region, p.region)"
#: statements, with how many of their conditions are answered by pairs that are found first
STATEMENTS = {
    f"SELECT v.id, p.id AS patch FROM visit v JOIN patch p ON {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch FROM visit v, patch p WHERE {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch FROM visit v JOIN patch p ON v.id = p.tract AND {OVERLAP}": 1,
    "SELECT v.id, p.id AS patch FROM patch p JOIN visit v ON region_overlaps(p.region, v.region) WHERE v.name LIKE '%a%' AND p.id < 6": 1,
    f"SELECT v.id, p.id AS patch FROM visit v LEFT JOIN patch p ON {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch FROM visit v LEFT JOIN patch p ON {OVERLAP} AND p.id > 3 WHERE p.id IS NULL OR v.id < 5": 1,
    f"SELECT v.id, p.id AS patch FROM visit v LEFT JOIN patch p ON v.id = p.id WHERE {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch FROM visit v LEFT JOIN patch p ON v.id = p.id WHERE {OVERLAP} OR p.id IS NULL": 0,
    f"SELECT v.id, p.id AS patch FROM visit v RIGHT JOIN patch p ON {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch FROM visit v RIGHT JOIN patch p ON v.id = p.id AND {OVERLAP}": 1,
    "SELECT a.id, b.id AS other FROM visit a JOIN visit b ON a.id < b.id AND region_overlaps(a.region, b.region)": 1,
    "SELECT v.id FROM visit v WHERE EXISTS (SELECT 1 FROM patch p WHERE region_overlaps(p.region, v.region))": 1,
    "SELECT v.id FROM visit v WHERE NOT EXISTS (SELECT 1 FROM patch p WHERE region_overlaps(p.region, v.region))": 1,
    "SELECT v.id FROM visit v WHERE v.id IN (SELECT p.id FROM patch p WHERE region_overlaps(p.region, v.region))": 1,
    f"SELECT c.dataset_id, v.id, p.id AS patch FROM calexp c JOIN visit v ON v.id = c.visit AND v.instrument = c.instrument JOIN patch p ON {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch, q.id AS other FROM visit v JOIN patch p ON {OVERLAP} JOIN patch q ON region_overlaps(p.region, q.region)": 2,
    f"SELECT v.id, p.id AS patch, q.id AS other FROM visit v JOIN patch p ON {OVERLAP} LEFT JOIN patch q ON region_overlaps(v.region, q.region) AND q.id <> p.id": 2,
    f"WITH w AS (SELECT id, region FROM visit WHERE name LIKE '%a%' OR id > 2) SELECT v.id, p.id AS patch FROM w v JOIN w p ON {OVERLAP}": 1,
    f"SELECT v.id, p.id AS patch FROM (SELECT id, region FROM visit ORDER BY id, instrument LIMIT 3) v JOIN patch p ON {OVERLAP}": 1,
    f"SELECT v.id, p.n FROM visit v JOIN (SELECT region, count(*) AS n FROM patch GROUP BY region) p ON {OVERLAP}": 1,
    f"SELECT v.id, count(*) AS n FROM visit v JOIN patch p ON {OVERLAP} GROUP BY v.id HAVING count(*) > 1": 1,
    "SELECT e.id, p.id AS patch FROM exposure e JOIN patch p ON region_contains(p.region, e.seq_num - e.tracking_ra, e.tracking_dec)": 1,
    "SELECT e.id, p.id AS patch FROM exposure e LEFT JOIN patch p ON region_contains(p.region, e.seq_num - e.tracking_ra, e.tracking_dec)": 1,
    "SELECT e.id, p.id AS patch FROM patch p LEFT JOIN exposure e ON region_contains(p.region, e.seq_num, 0.5)": 1,
    "SELECT e.id, p.id AS patch FROM exposure e JOIN patch p ON region_overlaps(circle(e.tracking_ra, e.tracking_dec, 2), p.region)": 1,
    "SELECT v.id, d.id AS pixel FROM visit v JOIN detector d ON region_overlaps_pixel('healpix1', 16 + d.id % 4, v.region)": 1,
    "SELECT id FROM visit WHERE region_overlaps(region, circle(359, 0, 3))": 0,
    "SELECT id, region_overlaps(region, circle(359, 0, 3)) AS hit, region_contains(region, 0.5, 1) AS holds FROM visit": 0,
    "SELECT id FROM visit WHERE region_overlaps_pixel('htm4', skypix_id('htm4', 2, 2), region)": 0,
    "SELECT id, skypix_id('healpix3', tracking_ra, tracking_dec) AS pixel FROM exposure": 0,
    f"SELECT v.id, p.id AS patch FROM visit v FULL JOIN patch p ON v.id <> p.id WHERE {OVERLAP}": 1,
}
CHAIN = (NCSA, ALICE, SUMMIT, BASE)


@pytest.fixture(scope="module")
def every_pair(world: World) -> duckdb.DuckDBPyConnection:
    """One database with everything, in which the functions are called for every pair of rows."""
    connection = world.oracle(CHAIN)
    register_region_functions(
        connection, "region_overlaps region_contains circle skypix_id skypix_region", []
    )
    connection.execute(
        "CREATE MACRO region_overlaps_pixel(s, p, r) AS region_overlaps(skypix_region(s, p), r)"
    )
    return connection


@pytest.mark.parametrize("sql", STATEMENTS)
def test_gives_the_rows_that_testing_every_pair_gives(
    sql: str, world: World, every_pair: duckdb.DuckDBPyConnection
) -> None:
    catalog = world.catalog("ncsa")

    answer = world.answer(sql, catalog, PlanOptions())

    expected = every_pair.execute(sql).fetchall()
    assert sorted(map(repr, answer)) == sorted(map(repr, expected))
    assert expected
    assert len(plan(sql, catalog, PlanOptions()).pair_tables) == STATEMENTS[sql]


def test_says_where_every_pair_is_tested(world: World) -> None:
    sql = f"SELECT v.id FROM visit v FULL JOIN patch p ON {OVERLAP}"

    made = plan(sql, world.catalog("ncsa"), PlanOptions())

    assert "region_overlaps is tested for every pair of rows: v.region and p.region" in made.decisions


def test_regions_are_read_for_a_test_and_never_tested_at_a_site(world: World) -> None:
    made = plan(f"SELECT v.id FROM visit v JOIN patch p ON {OVERLAP}", world.catalog("ncsa"), PlanOptions())

    assert all("region_overlaps" not in fragment.sql for fragment in made.fragments)
    assert all("region" in [column.name for column in fragment.columns] for fragment in made.fragments)
