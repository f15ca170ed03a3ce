"""Which statements are answered by the first row of each key as rows come, and what that needs."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_federation import BIAS, SUMMIT, owned

from federation.execution.direct import direct_rows, direct_schema
from federation.execution.local_engine import LocalEngine
from federation.model.catalog import FederationCatalog, SiteCatalog
from federation.model.dataset import DatasetType
from federation.planner import FindFirst, Plan, plan
from federation.wire.arrow import arrow_schema, rows_to_batch

DARK = DatasetType("dark", ("detector",), "Exposure")
CASE = "CASE run WHEN 'b' THEN 0 WHEN 'a' THEN 1 WHEN 'c' THEN 2 END"
ENGINE = LocalEngine()


def catalog(*, in_process: bool = True) -> FederationCatalog:
    site = SiteCatalog(
        "summit",
        "v",
        (owned(SUMMIT, {"bias": 1000, "dark": 1000, "detector": 9, "dataset": 9}, BIAS, DARK),),
        is_in_process=in_process,
    )
    return FederationCatalog("summit", (site,))


def statement(
    *,
    key: str = "instrument, detector",
    order: str = CASE,
    where: str = "run IN ('a', 'b', 'c')",
    table: str = "dark",
    outer: str = "WHERE place = 1",
    columns: str = "dataset_id, run, detector",
) -> str:
    return (
        f"SELECT {columns} FROM (SELECT dataset_id, run, instrument, detector, row_number() OVER "
        f"(PARTITION BY {key} ORDER BY {order}) AS place FROM {table} WHERE {where}) AS ranked {outer}"
    )


def test_rows_come_in_order_of_the_runs() -> None:
    made = plan(statement(), catalog())
    assert made.find_first == FindFirst(
        "f1", ("instrument", "detector"), "#place", 2, ("dataset_id", "run", "detector")
    )
    (fragment,) = made.fragments
    assert fragment.sql.endswith('ORDER BY "#place"')
    assert "WHEN 'b' THEN 0 WHEN 'a' THEN 1 WHEN 'c' THEN 2" in fragment.sql


@pytest.mark.parametrize(
    "changed",
    [
        {"order": "CASE WHEN run = 'b' THEN 0 WHEN run = 'a' THEN 1 WHEN 'c' = run THEN 2 END, dataset_id"},
        {"order": "CASE run WHEN 'c' THEN -1 WHEN 'a' THEN 5 WHEN 'b' THEN 7 END DESC".replace("-1", "1")},
        {"where": "run = 'a'"},
        {"where": "run IN ('a', 'c') AND detector > 3 AND instrument = 'Cam'"},
        {"outer": "WHERE 1 = ranked.place LIMIT 4"},
        {"key": "detector, instrument"},
    ],
)
def test_the_same_written_otherwise(changed: dict[str, str]) -> None:
    assert plan(statement(**changed), catalog()).find_first is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"key": "detector"},  # two rows of one run may have the key
        {"key": "instrument, detector, dataset_id"},  # of a type that is not compared here
        {"order": "CASE run WHEN 'b' THEN 0 WHEN 'a' THEN 0 WHEN 'c' THEN 2 END"},
        {"order": "CASE run WHEN 'b' THEN 0 WHEN 'a' THEN 1 END"},
        {"order": "CASE run WHEN 'b' THEN 0 WHEN 'a' THEN 1 ELSE 2 END"},
        {"order": "run"},
        {"order": "CASE origin WHEN 'b' THEN 0 WHEN 'a' THEN 1 WHEN 'c' THEN 2 END"},
        {"where": "run LIKE 'a%'"},
        {"where": "run IN ('a', 'b') OR detector = 1"},
        {"where": "run IN ('a', 'b', 'c') AND detector % 2 = 1"},
        {"outer": "WHERE place = 2"},
        {"outer": "WHERE place = 1 AND run = 'a'"},
        {"outer": "WHERE place = 1 ORDER BY detector"},
        {"outer": "WHERE place = 1 LIMIT 4 OFFSET 2"},
        {"columns": "detector, place"},
        {"columns": "DISTINCT detector"},
        {"columns": "count(*) AS n"},
        {"columns": "detector + 1 AS n"},
    ],
)
def test_what_is_left_to_the_local_engine(changed: dict[str, str]) -> None:
    assert plan(statement(**changed), catalog()).find_first is None


def test_a_site_that_can_choose_sends_only_what_is_chosen() -> None:
    sql = (
        "SELECT detector FROM (SELECT detector, row_number() OVER (PARTITION BY instrument, detector "
        "ORDER BY place, dataset_id) AS n FROM (SELECT dataset_id, instrument, detector, "
        "CASE WHEN run = 'a' THEN 0 WHEN run = 'b' THEN 1 END AS place FROM dark WHERE run IN ('a', 'b')) AS d) AS q "
        "WHERE n = 1"
    )
    assert plan(sql, catalog()).find_first is not None
    far = plan(sql, catalog(in_process=False))
    assert far.find_first is None
    assert far.fragments[0].columns == far.columns


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["C", "D", "É"]), st.integers(-3, 3)),
    unique=True,
    max_size=40,
)


def fragment_batches(made: Plan, rows: list[tuple[int, str, int]], size: int) -> list[pa.RecordBatch]:
    """What the site would send of (place, instrument, detector), in batches of ``size``."""
    (fragment,) = made.fragments
    values: dict[str, Any] = {}
    ordered = []
    for number, (place, instrument, detector) in enumerate(sorted(rows, key=lambda row: row[0])):
        values = {
            "dataset_id": uuid.UUID(int=number),
            "run": "bac"[place],
            "instrument": instrument,
            "detector": detector,
            "#place": place,
        }
        ordered.append(tuple(values[column.name] for column in fragment.columns))
    schema = arrow_schema((column.name, column.type) for column in fragment.columns if column.type)
    return [rows_to_batch(ordered[start : start + size], schema) for start in range(0, len(ordered), size)]


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(1, 9))
def test_gives_the_rows_of_the_local_statement(rows: list[tuple[int, str, int]], size: int) -> None:
    made = plan(statement(), catalog())
    batches = fragment_batches(made, rows, size)
    schema = arrow_schema((column.name, column.type) for column in made.fragments[0].columns if column.type)
    table = pa.Table.from_batches(batches, schema)
    by_engine = ENGINE.run({"f1": table}, made.local_sql, made.columns)
    streamed = pa.Table.from_batches(direct_rows(made, batches), direct_schema(made))
    assert streamed.schema == by_engine.schema
    key = [("detector", "ascending"), ("run", "ascending")]
    found, wanted = (sorted(map(str, t.sort_by(key).to_pylist())) for t in (streamed, by_engine))
    assert found == wanted
