"""Scans that SQLite packs give the rows that they give row by row."""

from __future__ import annotations

import sqlite3
import uuid
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import QueryError
from federation.execution import packed_reading
from federation.execution.lowering import LoweredPart, PhysicalTable, lower
from federation.execution.packed_reading import lies_in_order, packed_rows
from federation.model.logical import ColumnDef, LogicalType, TableDef, TableKind
from federation.wire.arrow import arrow_schema, rows_to_batch

KINDS = {
    "dataset_id": LogicalType.UUID,
    "visit": LogicalType.INT64,
    "detector": LogicalType.INT64,
    "band": LogicalType.STRING,
    "begin": LogicalType.TIMESTAMP,
    "day_obs": LogicalType.INT64,
    "is_good": LogicalType.BOOL,
}
NULLABLE = ("band", "day_obs", "is_good")
TABLE = TableDef(
    "raw",
    TableKind.DATASET_TYPE,
    (
        ColumnDef("run", LogicalType.STRING, nullable=False),
        ColumnDef("instrument", LogicalType.STRING, nullable=False),
        *(ColumnDef(name, kind, nullable=name in NULLABLE) for name, kind in KINDS.items()),
        ColumnDef("seeing", LogicalType.FLOAT64),
    ),
    key=("dataset_id",),
    physical_name="ds_raw",
    clustering=("run", "instrument", "visit", "detector"),
)
TABLES = {("base/base", "raw"): PhysicalTable("main", TABLE, "base")}
NAMES = tuple(KINDS)
TEXTS = st.one_of(
    st.none(), st.text(max_size=5), st.sampled_from(['"', "a,b", "\\", "[]", "\x00", "\n", "é"])
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def statement(names: tuple[str, ...], where: str = "run = 'a'") -> LoweredPart:
    (part,) = lower(
        f'SELECT {", ".join(names)} FROM "base/base"."raw" WHERE {where}',
        "sqlite",
        TABLES,
        {},
        for_reading=True,
    ).parts
    return part


def filled(rows: list[tuple[Any, ...]]) -> sqlite3.Cursor:
    """A table with these values of `KINDS`; ids are made."""
    cursor = sqlite3.connect(":memory:").cursor()
    columns = ", ".join(f'"{column.name}"' for column in TABLE.columns)
    cursor.execute(
        f"CREATE TABLE ds_raw ({columns}, PRIMARY KEY (run, instrument, visit, detector)) WITHOUT ROWID"
    )
    cursor.executemany(
        f"INSERT OR IGNORE INTO ds_raw VALUES ('a', 'Cam', {', '.join('?' * len(KINDS))}, 0.5)",
        [(uuid.UUID(int=number).bytes, *row) for number, row in enumerate(rows)],
    )
    return cursor


def read(
    cursor: sqlite3.Cursor, names: tuple[str, ...], where: str = "run = 'a'"
) -> tuple[pa.Table, pa.Table]:
    """(packed, row by row), in the order of the key, and which of them came."""
    part = statement(names, where)
    assert part.scan is not None
    assert lies_in_order(cursor, part.scan)
    schema = arrow_schema([(name, KINDS[name]) for name in names])
    batches = list(packed_rows(cursor, part.scan, schema, 20, 30))
    cursor.execute(part.sql + " ORDER BY instrument, visit, detector")
    return pa.Table.from_batches(batches, schema), pa.Table.from_batches(
        [rows_to_batch(cursor.fetchall(), schema)]
    )


@st.composite
def groups(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Rows of visits that have few or many detectors."""
    rows = []
    for visit in draw(st.lists(INTEGERS, min_size=1, max_size=6, unique=True)):
        count = draw(st.sampled_from([1, 2, 9, 25, 70]))
        varied = draw(
            st.lists(st.tuples(TEXTS, INTEGERS, st.none() | INTEGERS, st.sampled_from([None, 0, 1])))
        )
        varied = varied or [(None, 0, None, 1)]
        rows += [(visit, detector, *varied[detector % len(varied)]) for detector in range(count)]
    return rows


@settings(max_examples=60, deadline=None)
@given(groups(), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_packed_rows_are_the_rows(rows: list[tuple[Any, ...]], names: list[str]) -> None:
    chosen = tuple(names)
    if set(chosen) <= {"visit"}:
        assert statement(chosen).scan is None
        return
    packed, plain = read(filled(rows), chosen)
    assert packed.equals(plain)


def test_groups_that_are_large_come_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    unpacked = packed_reading._unpacked

    def counting(groups: Any, *rest: Any) -> pa.RecordBatch:
        batch = unpacked(groups, *rest)
        taken.append(batch.num_rows)
        return batch

    monkeypatch.setattr(packed_reading, "_unpacked", counting)
    large = filled([(visit, detector, "r", 0, None, 1) for visit in range(9) for detector in range(15)])
    packed, plain = read(large, NAMES)
    assert packed.equals(plain)
    # all but the first visit, which tells how large the groups are
    assert sum(taken) == 8 * 15
    taken.clear()
    small = filled([(visit, detector, "r", 0, None, 1) for visit in range(90) for detector in range(2)])
    packed, plain = read(small, NAMES)
    assert packed.equals(plain)
    assert not taken


@pytest.mark.parametrize("bound", [100, 400])
def test_a_group_that_is_too_long_for_a_text_comes_row_by_row(
    bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_reading, "_TEXT_BYTES_MAX", bound)
    sizes = [15, 15, 9, 60, 15, 3]
    cursor = filled([(visit, n, "r", 0, None, 1) for visit, size in enumerate(sizes) for n in range(size)])
    limit = cursor.connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
    packed, plain = read(cursor, ("detector", "visit", "begin"))
    assert packed.num_rows == sum(sizes)
    assert packed.equals(plain)
    assert cursor.connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == limit


def test_conditions_hold_in_every_part_of_a_scan() -> None:
    cursor = filled([(visit, n, "gr"[n % 2], n, None, 1) for visit in range(9) for n in range(50)])
    packed, plain = read(cursor, NAMES, "run = 'a' AND visit > 2 AND (band = 'r' OR detector = 4)")
    assert packed.num_rows == 6 * 26
    assert packed.equals(plain)


@pytest.mark.parametrize("column", ["detector", "begin", "day_obs"])
def test_a_value_of_another_type_is_an_error_with_its_column(column: str) -> None:
    cursor = filled([(visit, n, "r", 0, 0, 1) for visit in range(9) for n in range(20)])
    cursor.execute(f"UPDATE ds_raw SET {column} = 'none' WHERE visit = 7 AND detector = 3")
    with pytest.raises(QueryError, match=f"column '{column}' holds a value that is no"):
        read(cursor, NAMES)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT visit, seeing FROM {}",
        "SELECT visit + 1 AS n FROM {}",
        "SELECT visit FROM {} GROUP BY visit",
        "SELECT detector FROM {} LIMIT 3",
        "SELECT a.detector FROM {} AS a JOIN {} AS b ON a.visit = b.visit",
        "SELECT detector FROM {} ORDER BY begin",
        "SELECT run FROM {} WHERE instrument = 'Cam'",
    ],
)
def test_more_than_a_scan_and_what_texts_do_not_hold_is_read_row_by_row(sql: str) -> None:
    text = sql.replace("{}", '"base/base"."raw"')
    assert [part.scan for part in lower(text, "sqlite", TABLES, {}, for_reading=True).parts] == [None]


def test_a_scan_along_another_index_is_not_sorted_for_this() -> None:
    cursor = filled([(visit, n, "r", 0, 0, 1) for visit in range(9) for n in range(20)])
    cursor.execute("CREATE UNIQUE INDEX by_id ON ds_raw (dataset_id)")
    part = statement(("detector", "visit"), f"dataset_id = CAST('{uuid.UUID(int=3)}' AS UUID)")
    assert part.scan is not None
    assert not lies_in_order(cursor, part.scan)
