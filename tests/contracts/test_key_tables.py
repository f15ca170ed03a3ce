"""Tables of keys at a site: every type, several columns, hostile values and names, and very many of them."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pytest

from federation.errors import CorruptionError, FederationError, NotFoundError, QueryError
from federation.execution.local_site import LocalSite
from federation.model.logical import LogicalType
from federation.planner import OutputColumn
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.wire.keys import COLUMNS_MAX, decode_keys, encode_keys

COUNT = 400
HOSTILE = [
    "it's 100%",
    'a "quote"',
    "back\\slash",
    "%s",
    "%(k.s)s",
    "{a,b}",
    "NULL",
    "",
    "é\n",
    "a\tb",
    "$1",
    "--",
]
TYPES = {
    "i": LogicalType.INT64,
    "f": LogicalType.FLOAT64,
    "b": LogicalType.BOOL,
    "s": LogicalType.STRING,
    "y": LogicalType.BYTES,
    "u": LogicalType.UUID,
    "t": LogicalType.TIMESTAMP,
}
NUMBERS = (OutputColumn("n", LogicalType.INT64),)
TABLE = '"base/alice"."mixed"'


def mixed() -> pa.Table:
    """Rows that differ in every column but one; each seventh has a NULL somewhere."""
    numbers = range(COUNT)

    def some(values: list[Any], position: int) -> list[Any]:
        return [None if n % 49 == position * 7 else value for n, value in enumerate(values)]

    return pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "i": pa.array(some([(1 << 62) + n for n in numbers], 0), pa.int64()),
            "f": pa.array(some([n / 3 for n in numbers], 1), pa.float64()),
            "b": pa.array(some([n % 2 == 0 for n in numbers], 2), pa.bool_()),
            "s": pa.array(some([f"{n // 12}{HOSTILE[n % 12]}" for n in numbers], 3), pa.string()),
            "y": pa.array(some([b"\0\xff" + n.to_bytes(4) for n in numbers], 4), pa.binary()),
            "u": pa.array(some([uuid.UUID(int=n << 64).bytes for n in numbers], 5), pa.uuid()),
            "t": pa.array(some([1_767_225_600_000_000_001 + n for n in numbers], 6), pa.timestamp("ns")),
        }
    )


@pytest.fixture
def site(registry: Registry) -> LocalSite:
    registry.create_schema("alice")
    create_table(registry, "alice", "mixed", mixed(), key=("n",))
    return LocalSite(registry)


def ask(
    site: LocalSite, sql: str, keys: pa.Table | None = None, columns: tuple[OutputColumn, ...] = NUMBERS
) -> pa.Table:
    with site.execute(sql, columns, {} if keys is None else {"k": keys}) as rows:
        return pa.Table.from_batches(list(rows), schema=rows.schema)


def test_every_type_comes_back_as_it_was_sent(site: LocalSite) -> None:
    sent = mixed().select(list(TYPES))
    columns = tuple(OutputColumn(name, kind) for name, kind in TYPES.items())
    listed = ", ".join(f"k.{name}" for name in TYPES)
    assert ask(site, f'SELECT {listed} FROM "param"."k" AS k', sent, columns).to_pylist() == sent.to_pylist()


def test_rows_are_found_by_one_column_of_each_type(site: LocalSite) -> None:
    rows = mixed()
    for name in TYPES:
        keys = rows.slice(0, 60).select([name]).rename_columns(["value"])
        wanted = set(keys.column("value").to_pylist()) - {None}
        condition = f'm.{name} IN (SELECT "#k"."value" AS "value" FROM param.k AS "#k")'
        found = (
            ask(site, f"SELECT m.n AS n FROM {TABLE} AS m WHERE {condition}", keys).column("n").to_pylist()
        )
        assert sorted(found) == [row["n"] for row in rows.to_pylist() if row[name] in wanted], name


def test_rows_are_found_by_several_columns_together(site: LocalSite) -> None:
    for names in (("i", "s"), ("u", "t", "s"), tuple(TYPES)):
        find_by_several(site, names)


def find_by_several(site: LocalSite, names: tuple[str, ...]) -> None:
    rows = mixed()
    # rows of two keys mixed are no key
    whole, shifted = rows.slice(0, 90).select(list(names)), rows.slice(100, 90).select(list(names))
    mixture = shifted.set_column(0, names[0], rows.slice(200, 90).column(names[0]))
    keys = pa.concat_tables([whole, mixture])
    equal = " AND ".join(f"k.{name} = m.{name}" for name in names)
    condition = f"EXISTS (SELECT 1 AS one FROM param.k AS k WHERE {equal})"
    found = ask(site, f"SELECT m.n AS n FROM {TABLE} AS m WHERE m.n >= 0 AND {condition}", keys)
    expected = [row["n"] for row in rows.to_pylist()[:90] if all(row[name] is not None for name in names)]
    assert sorted(found.column("n").to_pylist()) == expected
    # where it is not the whole condition, NULL is not false
    others = ask(site, f"SELECT m.n AS n FROM {TABLE} AS m WHERE NOT {condition}", keys)
    assert sorted(others.column("n").to_pylist()) == sorted(set(range(COUNT)) - set(expected))


def test_very_many_keys_are_shipped_and_none(site: LocalSite) -> None:
    many = 60_000
    keys = pa.table(
        {
            "n": pa.array([*range(COUNT // 2), *range(10**6, 10**6 + many)], pa.int64()),
            "s": pa.array(["x" * (n % 30) for n in range(COUNT // 2 + many)]),
        }
    )
    one = "m.n IN (SELECT k.n AS n FROM param.k AS k)"
    two = "EXISTS (SELECT 1 AS a FROM param.k AS k WHERE k.n = m.n AND k.s = m.s)"
    for sent, condition, count in (
        (keys, one, COUNT // 2),
        (keys, two, 0),
        (keys[:0], one, 0),
        (keys[:0], two, 0),
    ):
        assert ask(site, f"SELECT m.n AS n FROM {TABLE} AS m WHERE {condition}", sent).num_rows == count


def test_two_statements_at_a_time_have_their_own_keys(site: LocalSite) -> None:
    sql = f"SELECT m.n AS n FROM {TABLE} AS m WHERE m.n IN (SELECT k.value AS value FROM param.k AS k)"
    opened = [site.execute(sql, NUMBERS, {"k": pa.table({"value": [n, n + 1]})}) for n in (10, 20)]
    found = [sorted(pa.Table.from_batches(list(rows)).column("n").to_pylist()) for rows in opened]
    assert found == [[10, 11], [20, 21]]


def test_names_that_no_plan_gives_are_refused(site: LocalSite) -> None:
    refused: tuple[tuple[str, str, type[FederationError]], ...] = (
        ("k", "SELECT k.nope AS n FROM param.k AS k", QueryError),
        ("K", "SELECT k.n AS n FROM param.k AS k", NotFoundError),
        ('k"; DROP TABLE x; --', "SELECT k.n AS n FROM param.k AS k", NotFoundError),
        ('k"x', 'SELECT k.n AS n FROM param."k""x" AS k', NotFoundError),
    )
    for name, sql, error in refused:
        with pytest.raises(error), site.execute(sql, NUMBERS, {name: pa.table({"n": [1]})}) as rows:
            list(rows)


@pytest.mark.parametrize(
    "keys",
    [
        pa.table({'a"b': [1]}),
        pa.table({"A": [1]}),
        pa.table({}),
        pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"]),
        pa.table({f"c{n}": [1] for n in range(COLUMNS_MAX + 1)}),
    ],
)
def test_columns_that_no_plan_gives_are_refused_at_both_ends(keys: pa.Table) -> None:
    with pytest.raises(QueryError, match="keys 'k' have"):
        encode_keys("k", keys)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, keys.schema) as writer:
        writer.write_table(keys)
    with pytest.raises(CorruptionError, match="keys 'k' have"):
        decode_keys("k", bytes(sink.getvalue()))


def test_keys_of_no_logical_type_and_broken_ones_are_refused() -> None:
    with pytest.raises(CorruptionError, match="no logical type"):
        decode_keys("k", encode_keys("k", pa.table({"a": pa.array([1], pa.int8())})))
    whole = encode_keys("k", pa.table({"a": list(range(100))}))
    with pytest.raises(CorruptionError, match="keys 'k'"):
        decode_keys("k", whole[: len(whole) // 2])
    with pytest.raises(CorruptionError, match="keys 'k'"):
        decode_keys("k", b"")
