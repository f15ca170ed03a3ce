"""A statement in the order of listed values is run value by value, and gives the same rows in the same order."""

from __future__ import annotations

import sqlite3

import pytest

from federation.execution.lowering import PhysicalTable, lower
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.logical import dataset_type_table

DARK = dataset_type_table(DimensionUniverse.default(), DatasetType("dark", ("detector",), "Exposure"))
TABLES = {("summit/summit", "dark"): PhysicalTable("main", DARK, "summit")}
CASE = "CASE run WHEN 'b' THEN 0 WHEN 'a' THEN 1 WHEN 'c' THEN 4 END"


def statement(
    columns: str = "detector, run",
    case: str = CASE,
    where: str = "run IN ('a', 'b', 'c')",
    rest: str = "ORDER BY place",
) -> str:
    return f'SELECT {columns}, {case} AS place FROM "summit/summit"."dark" WHERE {where} {rest}'


@pytest.fixture
def connection() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:")
    made.execute("CREATE TABLE ds_dark (dataset_id, run, instrument, detector)")
    rows = [(bytes(16), run, "Cam", n) for n in range(5) for run in "abcd"]
    made.executemany("INSERT INTO ds_dark VALUES (?, ?, ?, ?)", rows)
    return made


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        (statement(), 3),
        (statement(rest="ORDER BY place DESC"), 3),
        (statement(where="run = 'b'"), 1),
        (statement(where="run IN ('a', 'b') AND detector > 2 AND (run = 'b' OR detector = 3)"), 2),
        (
            statement(case="CASE WHEN run = 'a' THEN 3 WHEN 'b' = run THEN 2 END", where="run IN ('a', 'b')"),
            2,
        ),
        (statement(where="run IN ('a', 'b', 'd')"), 1),  # d has no place
        (statement(case=CASE.replace("END", "ELSE 7 END")), 1),
        (statement(rest="ORDER BY place, detector"), 1),
        (statement(rest="ORDER BY place LIMIT 4"), 1),
        (statement(rest="ORDER BY detector"), 1),
        (statement(columns="DISTINCT run"), 1),
        (statement(columns="count(*) AS n", rest="GROUP BY run ORDER BY place"), 1),
        (statement(where="run IN ('a', 'b') OR run = 'c'"), 1),
    ],
)
def test_rows_and_their_order_are_the_same(connection: sqlite3.Connection, sql: str, parts: int) -> None:
    whole = lower(sql, "sqlite", TABLES, {})
    lowered = lower(sql, "sqlite", TABLES, {}, for_reading=True)
    assert len(lowered.parts) == parts
    found = []
    for part in lowered.parts:
        for row in connection.execute(part.sql):
            fetched = iter(row)
            count = len(lowered.column_names)
            found.append(
                tuple(part.constants[n] if n in part.constants else next(fetched) for n in range(count))
            )
    wanted = connection.execute(whole.sql).fetchall()
    place = lowered.column_names.index("place")
    assert [row[place] for row in found] == [row[place] for row in wanted]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def test_each_part_fetches_only_what_differs() -> None:
    lowered = lower(statement(), "postgresql", TABLES, {}, for_reading=True)
    assert [dict(part.constants) for part in lowered.parts] == [
        {1: "b", 2: 0},
        {1: "a", 2: 1},
        {1: "c", 2: 4},
    ]
    assert all("ORDER BY" not in part.sql for part in lowered.parts)


def test_as_many_values_as_a_sort_is_cheaper_for_stay_together() -> None:
    runs = [f"r{n}" for n in range(200)]
    case = "CASE run " + " ".join(f"WHEN '{run}' THEN {n}" for n, run in enumerate(runs)) + " END"
    sql = statement(case=case, where="run IN (" + ", ".join(f"'{run}'" for run in runs) + ")")
    assert len(lower(sql, "sqlite", TABLES, {}, for_reading=True).parts) == 1
