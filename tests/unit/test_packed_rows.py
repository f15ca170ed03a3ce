"""Columns that repeat, and rows packed into a few parameters: what comes out is what went in."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from federation.model.coded import Coded
from federation.registry.packed_rows import PACKED_ROWS_MIN, packed

INTEGERS = st.integers(-(1 << 60), 1 << 60)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=5)
#: values of one column: few different ones, of one kind
KINDS = st.one_of(
    st.lists(st.integers(-3, 4000), min_size=1, max_size=9),
    st.lists(INTEGERS, min_size=1, max_size=3),
    st.lists(TEXT, min_size=1, max_size=5),
    st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.floats(allow_nan=False) | st.none(), min_size=1, max_size=1),
)


def read(columns: list[Any]) -> list[tuple[Any, ...]]:
    rows = packed(columns)
    assert rows is not None
    connection = sqlite3.connect(":memory:")
    return [row for one in rows.batches() for row in connection.execute(rows.select, one)]


@settings(deadline=None, max_examples=60)
@given(
    kinds=st.lists(KINDS, min_size=1, max_size=4),
    count=st.integers(PACKED_ROWS_MIN, 200),
    as_given=st.booleans(),
)
@example(kinds=[[""]], count=50, as_given=True)
def test_packed_rows_are_the_rows(kinds: list[list[Any]], count: int, *, as_given: bool) -> None:
    columns = [[values[row % len(values)] for row in range(count)] for values in kinds]
    given_as = [column if as_given else Coded.of(column) for column in columns]
    if packed(given_as) is not None:
        assert read(given_as) == list(zip(*columns, strict=True))


def test_rows_of_several_statements_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federation.registry.packed_rows._STATEMENT_ROWS", 70)
    columns: list[Any] = [list(range(200)), [f"t{row}" for row in range(200)], Coded.constant(None, 200)]
    assert read(columns) == list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    "column",
    [
        [1.5, 2.5],
        [True, False],
        [1, None],
        ["a", None],
        [b"a", b"bc"],
        ["a\1", "b"],
        ["x" * 65, "y"],
        [0, 1 << 62],
        [-(1 << 63), (1 << 63) - 1],
    ],
)
def test_other_columns_do_not_pack(column: list[Any]) -> None:
    assert packed([column * PACKED_ROWS_MIN]) is None
    assert packed([Coded.of(column * PACKED_ROWS_MIN)]) is None


def test_few_rows_do_not_pack() -> None:
    assert packed([[1] * (PACKED_ROWS_MIN - 1)]) is None


def test_integers_beyond_one_number_do_not_pack() -> None:
    wide = [0, (1 << 31) - 1] * PACKED_ROWS_MIN
    assert packed([wide, wide]) is not None
    assert packed([wide, wide, wide]) is None


@given(columns=st.lists(st.lists(st.integers(0, 6), min_size=30, max_size=30), max_size=5))
def test_columns_combine_to_the_tuples_of_their_rows(columns: list[list[int]]) -> None:
    rows = list(zip(*columns, strict=True)) or [()] * 30
    coded = [Coded.of(column) for column in columns]
    combined = Coded.combine(coded, 30)
    assert list(combined) == rows
    assert sorted(combined.values) == sorted(set(rows))
    assert Coded.are_distinct(coded, 30) is (len(set(rows)) == 30)
    assert list(combined.mapped([len(set(value)) for value in combined.values])) == [
        len(set(row)) for row in rows
    ]


def test_columns_of_more_combinations_than_numbers_combine() -> None:
    column = Coded.of(range(1 << 11))
    columns = [column] * 6
    assert Coded.are_distinct(columns, len(column))
    assert Coded.combine(columns, len(column))[7] == (7,) * 6


def test_a_coded_column_is_a_sequence() -> None:
    column = Coded.of(["r", "i", "r", None])
    assert list(column) == column.to_list() == ["r", "i", "r", None]
    assert (len(column), column[1], column[-2:], column.count("r"), column.index(None)) == (
        4,
        "i",
        ["r", None],
        2,
        3,
    )
    assert None in column
    assert "z" not in column
    assert list(column.rows([3, 0])) == [None, "r"]
    assert (list(Coded.of([])), list(Coded.constant("r", 0)), list(Coded.constant(1, 2))) == ([], [], [1, 1])
