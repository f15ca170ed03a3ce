"""Local statements that need no engine give what the engine gives."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from federation.execution.local_engine import LocalEngine
from federation.execution.small_statements import run_small
from federation.model.logical import LogicalType
from federation.planner.plan import OutputColumn
from federation.wire.arrow import arrow_schema, rows_to_batch

KINDS = {
    "id": LogicalType.UUID,
    "n": LogicalType.INT64,
    "m": LogicalType.INT64,
    "x": LogicalType.FLOAT64,
    "s": LogicalType.STRING,
    "t": LogicalType.TIMESTAMP,
    "b": LogicalType.BOOL,
}
SCHEMA = arrow_schema(KINDS.items())
OUTPUTS = tuple(OutputColumn(name, kind) for name, kind in KINDS.items())
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(0, 5).map(lambda number: uuid.UUID(int=number << 120)),
    "n": st.integers(0, 3),
    "m": st.integers(-(2**63), 2**63 - 1),
    "x": st.sampled_from([0.0, -0.0, 1.5, float("inf"), float("nan")]),
    "s": st.sampled_from(["", "a", "A", "é", "it's"]),
    "t": st.integers(0, 3),
    "b": st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Up to twelve rows; in some tables any value may be missing."""
    may_lack = draw(st.booleans())
    rows = draw(
        st.lists(st.tuples(*(st.none() | one if may_lack else one for one in VALUES.values())), max_size=12)
    )
    return pa.Table.from_batches([rows_to_batch(rows, SCHEMA)], schema=SCHEMA)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine("512MB")
    yield made
    made.close()


def rows_of(table: pa.Table, *, is_ordered: bool = False) -> list[str]:
    """The rows with zeros of one sign, as text, in which NaN equals itself."""
    rows = [
        repr(tuple(value + 0.0 if isinstance(value, float) else value for value in row))
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]
    return rows if is_ordered else sorted(rows)


def same(engine: LocalEngine, held: dict[str, pa.Table], sql: str, *, is_ordered: bool = False) -> bool:
    """Whether it was run without the engine; it must have given what the engine gives then."""
    small = run_small(held, sql, OUTPUTS)
    whole = engine.run(dict(held), sql, OUTPUTS)
    if small is None:
        return False
    assert small.schema == whole.schema
    assert rows_of(small, is_ordered=is_ordered) == rows_of(whole, is_ordered=is_ordered)
    return True


def shown(alias: str) -> str:
    return ", ".join(f'"{alias}"."{name}" AS "{name}"' for name in KINDS)


@settings(max_examples=60, deadline=None)
@given(st.lists(tables(), min_size=1, max_size=3), st.permutations(list(KINDS)), st.data())
def test_tables_one_after_another(
    engine: LocalEngine, parts: list[pa.Table], names: list[str], data: st.DataObject
) -> None:
    held = {f"f{number}": part for number, part in enumerate(parts)}
    union = " UNION ALL ".join(f'SELECT {shown(name)} FROM "{name}" AS "{name}"' for name in held)
    count = data.draw(st.integers(0, len(names)), label="keys")
    first = f"DISTINCT ON ({', '.join(f'u.{name}' for name in names[:count])}) " if count else ""
    # all columns, so that equal rows are the same rows
    order = ", ".join(f"u.{name}{data.draw(st.sampled_from(['', ' DESC']))}" for name in names)
    limit = data.draw(st.sampled_from(["", " LIMIT 0", " LIMIT 4"]))
    sql = f"SELECT {first}{shown('u')} FROM ({union}) AS u ORDER BY {order}{limit}"
    was_small = same(engine, held, sql, is_ordered=True)
    values = [value for part in parts for column in part.columns for value in column.to_pylist()]
    assert was_small == all(value is not None and value == value for value in values)


@settings(max_examples=60, deadline=None)
@given(tables(), tables(), st.sets(st.sampled_from(["id", "n", "s", "t"]), min_size=1), st.booleans())
def test_a_join_of_two_tables(
    engine: LocalEngine, left: pa.Table, right: pa.Table, names: set[str], is_filtered: bool
) -> None:
    on = " AND ".join(f'"r"."{name}" = "l"."{name}"' for name in sorted(names))
    where = ' WHERE "l"."s" = \'it\'\'s\' AND "r"."n" = 2' if is_filtered else ""
    sql = f'SELECT {shown("l")} FROM "f1" AS "l" JOIN "f2" AS "r" ON {on}{where}'
    assert same(engine, {"f1": left, "f2": right}, sql)


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT {} FROM "f1" AS "l" LEFT JOIN "f2" AS "r" ON "l"."n" = "r"."n"',
        'SELECT {} FROM "f1" AS "l" JOIN "f2" AS "r" ON "l"."x" = "r"."x"',
        'SELECT {} FROM "f1" AS "l" JOIN "f2" AS "r" ON "l"."n" < "r"."n"',
        'SELECT DISTINCT {} FROM "f1" AS "l"',
        'SELECT DISTINCT ON ("l"."n") {} FROM "f1" AS "l" ORDER BY "l"."s"',
        'SELECT {} FROM "f1" AS "l" ORDER BY "l"."s" || \'a\'',
        'SELECT {} FROM "f1" AS "l" WHERE "l"."n" + 1 > 1',
        'SELECT {} FROM "f1" AS "l" WHERE "l"."n" = 1 OR "l"."n" = 2',
        'SELECT {} FROM "f1" AS "l" WHERE "l"."b"',
        'SELECT {} FROM "f1" AS "l" LIMIT 1 OFFSET 1',
        'WITH "l" AS (SELECT * FROM "f1") SELECT {} FROM "l" AS "l"',
        'SELECT {} FROM (SELECT * FROM "f1" UNION SELECT * FROM "f2") AS "l"',
    ],
)
def test_everything_else_is_left_to_the_engine(sql: str) -> None:
    table = SCHEMA.empty_table()
    assert run_small({"f1": table, "f2": table}, sql.format(shown("l")), OUTPUTS) is None
