"""Sizes that are estimated from statistics, beside those that counting gives."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
import pytest
from sqlglot import exp, parse_one

from federation.model.logical import ColumnDef, LogicalType, TableDef, TableKind
from federation.model.position import SchemaId
from federation.model.statistics import ColumnStats
from federation.model.timespan import parse_tai
from federation.planner.draft import Arm, Relation
from federation.planner.estimate import (
    estimate_distinct,
    estimate_matches,
    estimate_rows,
    estimate_size,
    estimate_width,
)
from federation.planner.selectivity import selectivity
from federation.registry.sampling import column_stats

L = LogicalType
RANDOM = random.Random(7)
BANDS = RANDOM.choices(["g", "r", "i", None], [0.5, 0.3, 0.15, 0.05], k=10_000)
#: table, its key, and by column the type and all values
TABLES: dict[str, tuple[tuple[str, ...], dict[str, tuple[LogicalType, list[Any]]]]] = {
    "raw": (
        ("id",),
        {
            "id": (L.INT64, list(range(10_000))),
            "exposure": (L.INT64, [n // 10 for n in range(10_000)]),
            "detector": (L.INT64, [n % 10 for n in range(10_000)]),
            "band": (L.STRING, BANDS),
            "taken": (L.TIMESTAMP, [parse_tai("2026-01-01") + n * 10**9 for n in range(10_000)]),
        },
    ),
    "exposure": (
        ("id",),
        {"id": (L.INT64, list(range(1000))), "day": (L.INT64, [n // 100 for n in range(1000)])},
    ),
    "good": (("exposure",), {"exposure": (L.INT64, list(range(0, 1000, 100)))}),
}


def relation(name: str, *, arms: int = 1) -> Relation:
    key, columns = TABLES[name]
    definition = TableDef(
        name,
        TableKind.DIMENSION,
        tuple(ColumnDef(column, type_) for column, (type_, _) in columns.items()),
        key,
        name,
    )
    count = len(next(iter(columns.values()))[1])
    stats = {
        column: column_stats(values, type_, count, True, is_key=key == (column,))
        for column, (type_, values) in columns.items()
    }
    made = tuple(
        Arm(SchemaId(f"s{n}", f"s{n}"), definition, n, f"s{n}", row_count=count, stats=stats)
        for n in range(arms)
    )
    return Relation(name, name, definition.columns, key, made, True, None)


RELATIONS = {name: relation(name) for name in TABLES}


def query(sql: str) -> exp.Expr:
    return parse_one(sql, read="postgres")


@pytest.mark.parametrize(
    ("condition", "keeps"),
    [
        ("r.band = 'g'", lambda row: row["band"] == "g"),
        ("r.band <> 'g'", lambda row: row["band"] not in (None, "g")),
        ("r.band IN ('r', 'i', 'nowhere')", lambda row: row["band"] in ("r", "i")),
        ("r.band IS NULL", lambda row: row["band"] is None),
        ("NOT r.band IS NULL", lambda row: row["band"] is not None),
        ("r.band LIKE 'g%'", lambda row: row["band"] == "g"),
        ("r.exposure = 17", lambda row: row["exposure"] == 17),
        ("17 = r.exposure", lambda row: row["exposure"] == 17),
        ("r.exposure < 250", lambda row: row["exposure"] < 250),
        ("250 > r.exposure", lambda row: row["exposure"] < 250),
        ("r.exposure BETWEEN 100 AND 199", lambda row: 100 <= row["exposure"] <= 199),
        ("r.exposure >= 900 OR r.detector = 3", lambda row: row["exposure"] >= 900 or row["detector"] == 3),
        ("r.detector = 3 AND r.exposure < 100", lambda row: row["detector"] == 3 and row["exposure"] < 100),
        (
            "r.taken >= CAST('2026-01-01 01:00:00' AS TIMESTAMP)",
            lambda row: row["taken"] >= parse_tai("2026-01-01 01:00:00"),
        ),
    ],
)
def test_conditions_keep_about_as_many_rows_as_counted(condition: str, keeps: Any) -> None:
    columns = TABLES["raw"][1]
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*(values for _, values in columns.values()), strict=True)
    ]
    counted = sum(map(keeps, rows))
    estimated = estimate_rows(query(f"SELECT r.id FROM raw AS r WHERE {condition}"), RELATIONS)
    assert estimated == pytest.approx(counted, rel=0.1, abs=12)


@pytest.mark.parametrize("condition", ["r.exposure = 5000", "r.band = 'nowhere'", "r.exposure > 2000"])
def test_values_that_do_not_occur_keep_hardly_a_row(condition: str) -> None:
    assert estimate_rows(query(f"SELECT r.id FROM raw AS r WHERE {condition}"), RELATIONS) in (0, 1)


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        # a raw has one exposure; a tenth of the exposures are of one day; one in a hundred is good
        ("SELECT r.id FROM raw AS r JOIN exposure AS e ON e.id = r.exposure", 10_000),
        ("SELECT r.id FROM raw AS r JOIN exposure AS e ON e.id = r.exposure WHERE e.day = 3", 1000),
        ("SELECT r.id FROM raw AS r JOIN good AS g ON g.exposure = r.exposure", 100),
        (
            "SELECT r.id FROM raw AS r JOIN exposure AS e ON e.id = r.exposure"
            " JOIN good AS g ON g.exposure = e.id",
            100,
        ),
        ("SELECT r.id FROM raw AS r LEFT JOIN good AS g ON g.exposure = r.exposure", 10_000),
        ("SELECT e.id FROM exposure AS e WHERE e.id IN (SELECT g.exposure FROM good AS g)", 10),
        ("SELECT e.id FROM exposure AS e WHERE NOT e.id IN (SELECT g.exposure FROM good AS g)", 990),
        ("SELECT r.exposure FROM raw AS r GROUP BY r.exposure", 1000),
        ("SELECT r.exposure, r.detector FROM raw AS r GROUP BY r.exposure, r.detector", 10_000),
        ("SELECT DISTINCT r.detector FROM raw AS r", 10),
        ("SELECT count(*) FROM raw AS r", 1),
        ("SELECT e.day FROM exposure AS e UNION SELECT r.detector FROM raw AS r", 20),
        ("SELECT e.day FROM exposure AS e UNION ALL SELECT r.detector FROM raw AS r", 11_000),
        ("SELECT x.n FROM (SELECT r.exposure AS n FROM raw AS r LIMIT 7) AS x", 7),
        ("WITH w AS (SELECT e.id FROM exposure AS e WHERE e.day = 3) SELECT w.id FROM w AS w", 100),
    ],
)
def test_rows_of_a_query(sql: str, rows: int) -> None:
    assert estimate_rows(query(sql), RELATIONS) == pytest.approx(rows, rel=0.05)


def test_distinct_values_widths_and_matches() -> None:
    raws = query("SELECT r.exposure, r.detector, r.band FROM raw AS r")
    assert estimate_distinct(raws, ["detector"], RELATIONS) == 10
    assert estimate_distinct(raws, ["exposure", "detector"], RELATIONS) == 10_000
    assert estimate_width(raws, RELATIONS) == pytest.approx(17)
    assert estimate_size(raws, RELATIONS) == pytest.approx(170_000)
    assert estimate_matches(raws, ["exposure"], 10, RELATIONS) == 100
    assert estimate_matches(raws, ["exposure"], 5000, RELATIONS) == 10_000
    few = query("SELECT r.exposure FROM raw AS r WHERE r.exposure < 100")
    assert estimate_distinct(few, ["exposure"], RELATIONS) == pytest.approx(100, rel=0.1)


def test_a_table_without_a_count_has_no_estimate() -> None:
    unknown = relation("raw")
    unknown.arms = tuple(attrs.evolve(arm, row_count=None) for arm in unknown.arms)
    assert estimate_rows(query("SELECT r.id FROM raw AS r"), {"raw": unknown}) is None
    assert estimate_size(query("SELECT r.id FROM raw AS r"), {"raw": unknown}) is None


def test_schemas_add_up() -> None:
    two = {"raw": relation("raw", arms=2)}
    assert estimate_rows(query("SELECT r.id FROM raw AS r WHERE r.detector = 3"), two) == 2000
    assert estimate_distinct(query("SELECT r.detector FROM raw AS r"), ["detector"], two) == 10


def test_every_share_is_between_none_and_all() -> None:
    stats = ColumnStats(5.0, 0.5, 1, 9, True, ((1, 0.3), (9, 0.2)))
    texts = ["c = 1", "c <> 1", "NOT c = 1", "c IN (1, 9, 1)", "c < -5", "c > 100", "c BETWEEN 9 AND 1"]
    texts += ["c = 'text'", "c < 'text'", "c LIKE 'a%'", "c + 1 = 2", "c = d", "c IS NULL", "c = 1 OR c = 9"]
    shares = [selectivity(parse_one(text, read="postgres"), lambda _: stats) for text in texts]
    assert all(0.0 <= share <= 1.0 for share in shares)


@pytest.mark.parametrize(("distinct", "rows"), [(100, 200_000), (20_000, 200_000), (200_000, 200_000)])
def test_a_sample_tells_about_how_many_values_there_are(distinct: int, rows: int) -> None:
    source = random.Random(3)
    sample = [source.randrange(distinct) for _ in range(10_000)]
    if distinct == rows:
        sample = source.sample(range(rows), 10_000)
    found = column_stats(sample, L.INT64, rows, False)
    assert found.distinct_count == pytest.approx(distinct, rel=0.15)
    assert not found.is_exact


def test_common_values_are_those_that_are_more_common_than_others() -> None:
    source = random.Random(5)
    values = [None] * 1000 + ["often"] * 3000 + [f"v{source.randrange(5000)}" for _ in range(6000)]
    found = column_stats(values, L.STRING, 100_000, False)
    assert found.null_fraction == pytest.approx(0.1)
    assert found.common[0][0] == "often"
    assert found.common[0][1] == pytest.approx(0.3)
    assert all(share < 0.01 for _, share in found.common[1:])
    counted = Counter(values)
    assert found.width == pytest.approx(sum(len(v) * n for v, n in counted.items() if v is not None) / 9000)


def test_bounds_and_lists_are_certain_only_where_every_row_was_seen() -> None:
    whole = column_stats([3, 1, 2, 2], L.INT64, 4, True)
    assert (whole.low, whole.high, whole.is_exact, whole.is_complete) == (1, 3, True, True)
    part = column_stats([3, 1, 2, 2], L.INT64, 400, False)
    assert (part.is_exact, part.is_complete) == (False, False)
    assert column_stats([], L.INT64, 0, True).distinct_count == 0
    assert column_stats([None, None], L.STRING, 2, True).null_fraction == 1
