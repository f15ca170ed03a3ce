"""A site whose database the planner's own process reads: what the local engine does better is left to it."""

from __future__ import annotations

import attrs
import pytest
from planner_federation import BASE, BIAS, SUMMIT, owned

from federation.model.catalog import FederationCatalog, SiteCatalog
from federation.planner import plan

WINDOW = (
    "SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY day_obs ORDER BY id) AS n FROM exposure) AS q "
    "WHERE n = 1"
)
RANGES = (
    "SELECT e.id, c.dataset_id FROM exposure AS e JOIN calibration AS c ON c.timespan_begin < e.timespan_end "
    "AND e.timespan_begin < c.timespan_end "
    "JOIN bias AS b ON b.dataset_id = c.dataset_id AND b.instrument = e.instrument"
)


def catalog(*, rows: int, in_process: bool = True) -> FederationCatalog:
    counts = {"exposure": rows, "calibration": rows, "bias": rows}
    site = SiteCatalog("summit", "v", (owned(SUMMIT, counts, BIAS),), is_in_process=in_process)
    return FederationCatalog("summit", (site,))


@pytest.mark.parametrize("sql", [WINDOW, RANGES])
@pytest.mark.parametrize(
    ("rows", "in_process", "alone"), [(100_000, True, False), (100_000, False, True), (1000, True, True)]
)
def test_windows_and_range_joins_over_large_tables_are_finished_locally(
    sql: str, rows: int, in_process: bool, alone: bool
) -> None:
    made = plan(sql, catalog(rows=rows, in_process=in_process))
    answered_alone = len(made.fragments) == 1 and made.fragments[0].columns == made.columns
    assert answered_alone == alone
    assert any("the local engine is quicker" in decision for decision in made.decisions) != alone


def test_tables_of_a_range_join_are_read_apart() -> None:
    made = plan(RANGES, catalog(rows=100_000))
    assert sorted(table for fragment in made.fragments for _, table in fragment.sources) == [
        "bias",
        "calibration",
        "exposure",
    ]
    assert len(made.fragments) == 3


def test_a_range_join_of_few_rows_is_the_sites() -> None:
    made = plan(
        RANGES + " WHERE e.id = 5 AND e.instrument = 'Cam' AND c.collection = 'calib'", catalog(rows=100_000)
    )
    assert len(made.fragments) == 1


def test_nothing_changes_where_other_sites_take_part() -> None:
    near = catalog(rows=100_000)
    far = SiteCatalog("base", "v", (owned(BASE, {"exposure": 100_000}),))
    made = plan("SELECT id FROM exposure", attrs.evolve(near, sites=(*near.sites, far)))
    assert {fragment.site for fragment in made.fragments} == {"summit", "base"}
