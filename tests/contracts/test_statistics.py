"""Statistics of columns that a site publishes, beside what its rows are; and what of them is certain."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import pytest

from federation.model.catalog import TableStats
from federation.model.statistics import ColumnStats
from federation.registry import row_counts, sampling
from federation.registry.access import Access
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.registry.statistics import StatisticsSource
from federation.services.statistics_keeper import StatisticsKeeper


def put_detectors(registry: Registry, instrument: str, first: int, count: int) -> None:
    with registry.transaction("base") as tx:
        rows = [
            {"instrument": instrument, "id": n, "full_name": f"{instrument}-{n}", "purpose": "SCIENCE"}
            for n in range(first, first + count)
        ]
        tx.put("detector", rows)


def table(source: CatalogSource, name: str = "detector") -> TableStats:
    (schema,) = source.catalog().schemas
    return schema.stats[name]


@pytest.fixture
def statistics(registry: Registry) -> StatisticsSource:
    return StatisticsSource(registry)


@pytest.fixture
def source(registry: Registry, statistics: StatisticsSource) -> CatalogSource:
    return CatalogSource(registry, statistics)


def test_columns_are_as_the_rows_are(
    registry: Registry, statistics: StatisticsSource, source: CatalogSource
) -> None:
    put_detectors(registry, "Cam", 0, 30)
    put_detectors(registry, "Dam", 100, 10)
    assert not table(source).columns
    statistics.refresh()
    found = table(source)
    assert (found.row_count, found.is_exact, found.is_current) == (40, True, True)
    assert found.columns["instrument"] == ColumnStats(
        2.0, 0.0, "Cam", "Dam", True, (("Cam", 0.75), ("Dam", 0.25)), 3.0, True
    )
    ids = found.columns["id"]
    assert (ids.distinct_count, ids.low, ids.high, ids.is_exact) == (40, 0, 109, True)
    assert found.columns["purpose"].common == (("SCIENCE", 1.0),)
    assert found.columns["raft"].null_fraction == 1.0
    assert "region" not in found.columns


def test_what_is_certain_holds_at_its_position_only(
    registry: Registry, statistics: StatisticsSource, source: CatalogSource
) -> None:
    put_detectors(registry, "Cam", 0, 5)
    statistics.refresh()
    before = source.catalog()
    put_detectors(registry, "Cam", 50, 1)
    found = table(source)
    # the statistics are still of use, but nothing of them is certain
    assert (found.row_count, found.is_current, found.columns["id"].high) == (6, False, 4)
    assert source.catalog().statistics == before.statistics
    assert source.catalog().version != before.version
    statistics.refresh()
    found = table(source)
    assert (found.is_current, found.columns["id"].high, found.columns["id"].is_exact) == (True, 50, True)
    assert source.catalog().statistics != before.statistics
    assert source.catalog().layout == before.layout


def test_a_large_table_is_sampled_and_its_bounds_are_still_certain(
    registry: Registry, statistics: StatisticsSource, source: CatalogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "SAMPLE_ROWS", 200)
    put_detectors(registry, "Cam", 0, 4000)
    statistics.refresh()
    found = table(source).columns
    assert (found["id"].low, found["id"].high, found["id"].is_exact) == (0, 3999, True)
    assert found["instrument"].is_complete
    assert found["id"].distinct_count == pytest.approx(4000, rel=0.3)
    assert not found["full_name"].is_exact


def test_tables_that_hardly_change_are_not_sampled_again(
    registry: Registry, statistics: StatisticsSource, source: CatalogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_detectors(registry, "Cam", 0, 100)
    statistics.refresh()
    with registry.transaction("base") as tx:
        tx.put("detector", [{"instrument": "Cam", "id": 500, "purpose": "GUIDER"}])
    assert statistics.refresh() == 1
    assert table(source).columns["purpose"].common == (("SCIENCE", 1.0),)
    assert table(source).columns["id"].high == 500
    put_detectors(registry, "Cam", 1000, 100)
    statistics.refresh()
    assert dict(table(source).columns["purpose"].common)["GUIDER"] == pytest.approx(1 / 201)
    assert statistics.refresh() == 0


def test_identities_are_counted_and_not_told(
    registry: Registry, statistics: StatisticsSource, source: CatalogSource
) -> None:
    with registry.transaction("base") as tx:
        tx.put(
            "dataset",
            [
                {"dataset_id": uuid.UUID(int=n + 2**120), "dataset_type": "raw", "run": "r", "ingest_date": n}
                for n in range(20)
            ],
        )
    statistics.refresh()
    found = table(source, "dataset").columns
    assert found["dataset_id"] == ColumnStats(20.0, width=16.0)
    assert (found["ingest_date"].low, found["ingest_date"].high) == (0, 19)


def test_a_large_count_is_kept_for_a_while_and_an_empty_table_is_never_missed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_counts, "KEPT_ROWS_MIN", 10)
    source = CatalogSource(registry)
    put_detectors(registry, "Cam", 0, 20)
    assert (table(source).row_count, table(source).is_exact) == (20, True)
    put_detectors(registry, "Cam", 100, 5)
    assert (table(source).row_count, table(source).is_exact) == (20, False)
    assert table(source, "visit") == TableStats(0, table(source, "visit").row_bytes)
    monkeypatch.setattr(row_counts, "_RECOUNTED_LOOKS", 0)
    put_detectors(registry, "Cam", 200, 1)
    assert (table(source).row_count, table(source).is_exact) == (26, True)


def test_values_are_told_to_those_only_who_may_read_them(registry: Registry) -> None:
    schema = registry.create_schema("alice")
    with registry.transaction("alice") as tx:
        tx.put("detector", [{"instrument": "Secret", "id": 1}])
    statistics = StatisticsSource(registry)
    statistics.refresh()
    catalog = CatalogSource(registry, statistics).catalog()
    access = Access(registry)
    assert "Secret" in repr(access.catalog_for("", catalog))
    for_bob = access.catalog_for("bob", catalog)
    assert "Secret" not in repr(for_bob)
    held = for_bob.schema(schema.schema)
    assert held is not None
    assert held.forbidden is not None
    # and what he is told has versions of its own
    assert not {for_bob.version, for_bob.layout, for_bob.statistics} & {
        catalog.version,
        catalog.layout,
        catalog.statistics,
    }


def test_a_keeper_looks_again_after_the_catalog_was_asked_for(
    registry: Registry, statistics: StatisticsSource, source: CatalogSource
) -> None:
    keeper = StatisticsKeeper(statistics, pause_s=0.0)
    put_detectors(registry, "Cam", 0, 3)
    keeper.start()

    def looks(high: int) -> bool:
        keeper.notice(source.catalog().version)
        found = table(source)
        return found.is_current and found.columns["id"].high == high

    _eventually(lambda: looks(2))
    put_detectors(registry, "Cam", 50, 1)
    _eventually(lambda: looks(50))
    keeper.stop()
    assert keeper.problem == ""


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
