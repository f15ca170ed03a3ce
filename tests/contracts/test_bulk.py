"""Columns of values arrive in the tables, and in the log, as they were given: by every way of writing them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.changelog import decode_changes, encode_changes
from federation.errors import ConflictError, CorruptionError, UserError
from federation.model.change import Change, Operation
from federation.model.logical import ColumnDef, LogicalType
from federation.model.user_table import UserTable
from federation.registry.bulk import COPY_ROWS_MIN
from federation.registry.registry import Registry

T = LogicalType
TABLE = UserTable(
    "all_types",
    (
        ColumnDef("n", T.INT64, nullable=False, key_determined=True),
        ColumnDef("i", T.INT64),
        ColumnDef("f", T.FLOAT64),
        ColumnDef("b", T.BOOL),
        ColumnDef("s", T.STRING),
        ColumnDef("x", T.BYTES),
        ColumnDef("u", T.UUID),
        ColumnDef("t", T.TIMESTAMP),
    ),
    ("n",),
)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6)
VALUES = (
    INT64,
    st.floats(allow_nan=False),
    st.booleans(),
    st.one_of(st.sampled_from(["", "r", "i", "ü"]), TEXT),
    st.one_of(st.sampled_from([b"", b"\0\xff"]), st.binary(max_size=5)),
    st.uuids(),
    INT64,
)
NULLABLE = st.tuples(*(st.none() | value for value in VALUES))
# few rows, many of any shapes, and many of one shape: each takes another way into PostgreSQL
MANY = st.one_of(
    st.lists(NULLABLE, max_size=COPY_ROWS_MIN + 20),
    st.builds(lambda row, count: [row] * count, NULLABLE, st.integers(COPY_ROWS_MIN, 400)),
)


def stored(registry: Registry) -> list[tuple[Any, ...]]:
    tables = registry.tables(registry.held()[0].schema)
    with registry.database.read(("base",)) as connection:
        physical = registry.physical_tables("base", tuple(tables.values()))["all_types"]
        return [tuple(row) for row in connection.execute(sa.select(physical).order_by(physical.c.n))]


def put(registry: Registry, rows: list[tuple[Any, ...]], *, fresh: bool) -> tuple[Change, ...]:
    with registry.transaction("base") as tx:
        if "all_types" not in tx.tables:
            tx.add_table(TABLE.table())
            tx.put("user_table", [TABLE.to_row()])
        names = [column.name for column in TABLE.columns]
        whole = [(n, *row) for n, row in enumerate(rows)]
        columns = {name: [row[place] for row in whole] for place, name in enumerate(names)}
        tx.put_columns("all_types", columns, fresh=fresh)
        return decode_changes(encode_changes(tx.changes))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=MANY, second=MANY)
def test_values_arrive_unchanged_in_table_and_log(
    registry: Registry, first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]
) -> None:
    with registry.transaction("base") as tx:
        if "all_types" in tx.tables:
            tx.delete("all_types", [{"n": row[0]} for row in stored(registry)])
    expected = [(n, *row) for n, row in enumerate(first)]
    log = put(registry, first, fresh=True)
    assert stored(registry) == expected
    logged = [change for change in log if change.table == "all_types"]
    assert [row for change in logged for row in change.rows] == [
        tuple(value.bytes if isinstance(value, uuid.UUID) else value for value in row) for row in expected
    ]
    put(registry, second, fresh=False)
    assert stored(registry) == [(n, *row) for n, row in enumerate([*second, *first[len(second) :]])]


def test_a_row_that_was_promised_to_be_new_and_is_there_is_a_conflict(registry: Registry) -> None:
    rows = [(1, 0.5, True, "a", b"b", uuid.UUID(int=1), 3)] * 60
    put(registry, rows, fresh=True)
    with pytest.raises(ConflictError, match="all_types are there already"):
        put(registry, rows, fresh=True)
    assert len(stored(registry)) == 60


def test_signs_and_types_of_equal_numbers_are_kept_in_the_log() -> None:
    values = ([0.0, -0.0, 0.0], [1, True, 1], [1.0, 1.0, 1.0], [None, None, None])
    (change,) = decode_changes(encode_changes([Change("t", Operation.PUT, ("a", "b", "c", "d"), values)]))
    assert [list(map(repr, column)) for column in change.values] == [
        list(map(repr, column)) for column in values
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\5abc",
        b"\2\x91\x95\xa1t\xa3put\x91\xa1a\x03\x91\x93\x01\x02\xc4\x01x",  # three values of two bytes in one byte
        b"\2\x91\x95\xa1t\xa3put\x92\xa1a\xa1b\x01\x91\x92\x00\x01",  # two names, one column
        b"\2\x91\x95\xa1t\xa3bad\x91\xa1a\x01\x91\x92\x00\x01",
        b"\3not zstd",
    ],
)
def test_damaged_bodies_are_told(body: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_changes(body)


def test_a_column_without_values_of_its_type_is_refused_before_anything_is_written(
    registry: Registry,
) -> None:
    from federation.registry.dimensions import insert_records

    for rows, message in [
        ([{"name": 5}], "name=5 is not of type str"),
        ([{"name": "a\0b"}], "no database keeps"),
        ([{"name": "a", "detector_max": 1 << 63}], "does not fit in 64 bits"),
        ([{"name": "a", "detector_max": True}], "is not of type int"),
        ([{"name": "a", "colour": 1}], "no column colour"),
        ({"name": ["a", "b"], "detector_max": [1]}, "different lengths"),
    ]:
        with pytest.raises(UserError, match=message), registry.transaction("base") as tx:
            insert_records(tx, "instrument", rows)


@pytest.mark.parametrize("count", [1, COPY_ROWS_MIN + 50])
def test_deleting_takes_the_rows_with_the_keys_and_no_others(registry: Registry, count: int) -> None:
    rows = [(n, 0.5, None, "a", None, uuid.UUID(int=n), None) for n in range(count + 10)]
    put(registry, rows, fresh=True)
    with registry.transaction("base") as tx:
        tx.delete_keys("all_types", [(n,) for n in range(count)])
    assert [row[0] for row in stored(registry)] == list(range(count, count + 10))
