"""A replica that a filter has left rows out of stands for its owner only in tables that it has whole."""

from __future__ import annotations

import attrs
import pytest
from planner_federation import RAW, SUMMIT, SUMMIT_OWN, federation, tables

from federation.errors import UnavailableError
from federation.model.catalog import FederationCatalog
from federation.model.log_filter import LogFilter
from federation.planner import PlanOptions, plan

FRESH = PlanOptions(max_staleness_s=60)


def _filtered(wanted: LogFilter, **down: str) -> FederationCatalog:
    """Base has only what ``wanted`` admits of the summit's schema."""
    catalog = federation(home="base", **down)
    partial = wanted.partial_tables(SUMMIT_OWN.tables)

    def as_held(held: object) -> object:
        is_replica = held.schema == SUMMIT and held.staleness_s
        return attrs.evolve(held, partial_tables=partial) if is_replica else held  # type: ignore[type-var]

    sites = tuple(attrs.evolve(site, schemas=tuple(map(as_held, site.schemas))) for site in catalog.sites)
    return attrs.evolve(catalog, sites=sites)


def _sites(sql: str, catalog: FederationCatalog, options: PlanOptions = FRESH) -> list[str]:
    return [fragment.site for fragment in plan(sql, catalog, options).fragments]


NIGHT = LogFilter(collections=("night/*",))


def test_whole_tables_are_read_from_it() -> None:
    assert _sites("SELECT name FROM summit.instrument", _filtered(NIGHT)) == ["base"]
    assert _sites("SELECT exposure FROM summit.raw", _filtered(LogFilter(dataset_types=("raw",)))) == ["base"]


@pytest.mark.parametrize("table", ["raw", "dataset", "metric"])
def test_tables_that_lack_rows_are_read_at_the_owner(table: str) -> None:
    assert _sites(f"SELECT * FROM summit.{table}", _filtered(NIGHT)) == ["summit"]


def test_rows_are_not_missing_in_silence_when_the_owner_does_not_answer() -> None:
    catalog = _filtered(NIGHT, summit="connection refused")
    for sql in ("SELECT * FROM summit.raw", "SELECT * FROM raw"):
        with pytest.raises(UnavailableError, match="site summit does not answer") as caught:
            plan(sql, catalog, FRESH)
        assert "accepts the replica" not in caught.value.hint
    made = plan("SELECT * FROM raw", catalog, PlanOptions(max_staleness_s=60, partial=True))
    assert [(one.site, one.table) for one in made.missing] == [("summit", "raw")]
    assert made.fragments == ()


def test_metrics_that_it_may_lack_are_not_missing_in_silence() -> None:
    catalog = _filtered(NIGHT, summit="connection refused")
    with pytest.raises(UnavailableError, match=r"table (metric|calexp)"):
        plan("SELECT visit FROM ncsa.calexp WHERE source_count > 3 AND seeing > 1", catalog, FRESH)


def test_which_tables_a_filter_leaves_whole() -> None:
    known = tables(RAW)
    assert LogFilter().partial_tables(known) == frozenset()
    assert LogFilter(("*",), ("*",), ("*",)).partial_tables(known) == frozenset()
    by_type = LogFilter(dataset_types=("raw",)).partial_tables(known)
    assert {"dataset", "artifact", "calibration", "metric", "provenance", "collection_summary"} <= by_type
    assert not {"raw", "collection", "collection_chain", "dataset_type", "exposure", "user_table"} & by_type
    by_run = NIGHT.partial_tables(known)
    assert {"raw", "dataset", "collection_member"} <= by_run
    assert not {"collection", "collection_summary", "activity"} & by_run
    by_table = LogFilter(tables=("raw", "activity_dataset")).partial_tables(known)
    assert {"artifact", "metric", "conflict"} <= by_table
    assert not {"raw", "dataset", "activity", "exposure", "dataset_type", "schema_grant"} & by_table
