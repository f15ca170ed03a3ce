"""An expression has one value, wherever it is evaluated: at a site with SQLite, one with PostgreSQL, or locally."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from federation.errors import QueryError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.dimension import DimensionUniverse
from federation.model.timespan import parse_tai
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.storage import PostgresDatabase, SqliteDatabase

ID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
MOMENT = "2026-01-31 12:34:56.123456789"
EARLY = "1969-12-31 23:59:59.999999999"
BIG = 2**63 - 1

#: the one row that every expression is about; ``nothing`` and its like are NULL
ROW = pa.table(
    {
        "k": pa.array([1]),
        "i": pa.array([7]),
        "j": pa.array([-7]),
        "big": pa.array([BIG]),
        "nothing": pa.array([None], pa.int64()),
        "x": pa.array([2.5]),
        "y": pa.array([-2.5]),
        "inf": pa.array([math.inf]),
        "s": pa.array(["Straße Ab"]),
        "empty": pa.array([""]),
        "path": pa.array(["a_b/50%/c\\d"]),
        "star": pa.array(["😀é"]),
        "nos": pa.array([None], pa.string()),
        "yes": pa.array([True]),
        "no": pa.array([False]),
        "nob": pa.array([None], pa.bool_()),
        "t": pa.array([parse_tai(MOMENT)]).cast(pa.timestamp("ns")),
        "early": pa.array([parse_tai(EARLY)]).cast(pa.timestamp("ns")),
        "not_": pa.array([None], pa.timestamp("ns")),
        "u": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([ID.bytes], pa.binary(16))),
    }
)


class At:
    """A moment among the expected values."""

    def __init__(self, text: str) -> None:
        self.tai_ns = parse_tai(text)


#: expressions with their values
VALUES: list[tuple[str, Any]] = [
    # integers
    ("i + 2", 9),
    ("i - 10", -3),
    ("i * j", -49),
    ("-i", -7),
    ("- -i", 7),
    ("i / 2", 3),
    ("j / 2", -3),
    ("7 / -2", -3),
    ("i % 4", 3),
    ("j % 4", -3),
    ("mod(j, 4)", -3),
    ("i / 0", None),
    ("i % 0", None),
    ("nothing + 1", None),
    ("abs(j)", 7),
    ("sign(j)", -1.0),
    ("big", BIG),
    ("big - 1", BIG - 1),
    ("greatest(i, j, nothing)", 7),
    ("least(i, j, nothing)", -7),
    ("i BETWEEN 7 AND 8", True),
    ("i NOT BETWEEN 7 AND 8", False),
    ("i BETWEEN 8 AND 7", False),
    ("i IN (1, 7, NULL)", True),
    ("i IN (1, NULL)", None),
    ("i NOT IN (1, NULL)", None),
    ("i NOT IN (7, NULL)", False),
    ("i = '7'", True),
    ("i = 7.0", True),
    ("i < x", False),
    ("big = 9223372036854775807", True),
    ("big > 9223372036854775806", True),
    # floats
    ("x + 1", 3.5),
    ("x - 0.5", 2.0),
    ("x * 2", 5.0),
    ("x / 2", 1.25),
    ("i / 2.0", 3.5),
    ("x / 0", None),
    ("x % 2", 0.5),
    ("y % 2", -0.5),
    ("0.1 + 0.2", 0.30000000000000004),
    ("1e3", 1000.0),
    (".5 + x", 3.0),
    ("-x", -2.5),
    ("inf", math.inf),
    ("inf > 1e308", True),
    ("-inf < x", True),
    ("inf = inf", True),
    ("round(x)", 3.0),
    ("round(y)", -3.0),
    ("round(2.4)", 2.0),
    ("round(2.345, 2)", 2.35),
    ("ceil(x)", 3.0),
    ("floor(y)", -3.0),
    ("trunc(y)", -2.0),
    ("sqrt(x + 3.75)", 2.5),
    ("power(x, 2)", 6.25),
    ("power(i, 2)", 49.0),
    ("sqrt(y)", math.nan),
    ("ln(i - 7)", -math.inf),
    ("exp(0)", 1.0),
    ("ln(exp(x))", 2.5),
    ("log(100.0)", 2.0),
    ("degrees(pi())", 180.0),
    ("sin(0)", 0.0),
    ("atan2(1, 1) * 4 = pi()", True),
    # truth values
    ("TRUE", True),
    ("yes AND no", False),
    ("yes OR nob", True),
    ("no AND nob", False),
    ("yes AND nob", None),
    ("NOT nob", None),
    ("nob IS NULL", True),
    ("nob IS NOT TRUE", True),
    ("no IS FALSE", True),
    ("yes = 'true'", True),
    ("yes > no", True),
    ("i = 7 AND x = 2.5", True),
    ("nothing = nothing", None),
    ("nothing IS DISTINCT FROM i", True),
    ("nothing IS NOT DISTINCT FROM NULL", True),
    ("CASE WHEN nob THEN 1 WHEN yes THEN 2 ELSE 3 END", 2),
    ("CASE i WHEN 1 THEN 'one' WHEN 7 THEN 'seven' END", "seven"),
    ("CASE WHEN no THEN 1 END", None),
    ("coalesce(nothing, j, i)", -7),
    ("coalesce(nothing, 2.5)", 2.5),
    ("nullif(i, 7)", None),
    ("nullif(i, 8)", 7),
    # texts
    ("s || '!'", "Straße Ab!"),
    ("s || nos", None),
    ("i || 'x'", "7x"),
    ("x || ''", "2.5"),
    ("concat(s, nos, '!')", "Straße Ab!"),
    ("empty = ''", True),
    ("empty IS NULL", False),
    ("length(s)", 9),
    ("length(star)", 2),
    ("length(empty)", 0),
    ("upper('abc-é')", "ABC-É"),
    ("lower(s)", "straße ab"),
    ("substring(s, 1, 3)", "Str"),
    ("substring(s FROM 8)", "Ab"),
    ("substring(s FROM 2 FOR 2)", "tr"),
    ("substring(star, 2, 1)", "é"),
    ("substring(s, 20, 3)", ""),
    ("left(s, 3)", "Str"),
    ("right(s, 2)", "Ab"),
    ("left(s, -2)", "Straße "),
    ("trim('  a b ')", "a b"),
    ("trim(BOTH 'x' FROM 'xxaxx')", "a"),
    ("replace(s, 'ß', 'ss')", "Strasse Ab"),
    ("position('a' IN s)", 4),
    ("position('zz' IN s)", 0),
    ("strpos(s, 'Ab')", 8),
    ("starts_with(s, 'Str')", True),
    ("split_part(path, '/', 2)", "50%"),
    ("split_part(path, '/', 9)", ""),
    ("s LIKE 'Str%'", True),
    ("s LIKE 'str%'", False),
    ("s ILIKE 'str%'", True),
    ("s LIKE '_traße Ab'", True),
    ("s LIKE 'Straße'", False),
    ("s NOT LIKE '%x%'", True),
    ("nos LIKE '%'", None),
    ("path LIKE 'a\\_b%'", True),
    ("path LIKE '%50\\%%'", True),
    ("path LIKE 'a#_b%' ESCAPE '#'", True),
    ("s LIKE 'a\\_b%'", False),
    ("s ~ '^Str.*b$'", True),
    ("s ~ 'tra'", True),
    ("s !~ 'xyz'", True),
    ("s ~* '^STR'", True),
    ("s = 'straße ab'", False),
    ("'a' < 'B'", False),
    ("'B' < 'a'", True),
    ("'Z' < 'é'", True),
    ("star > '\uffff'", True),
    ("s = 'Straße Ab '", False),
    ("greatest('a', 'B')", "a"),
    # casts
    ("CAST('12' AS bigint)", 12),
    ("CAST(' 12 ' AS bigint)", 12),
    ("CAST(x AS bigint)", 2),
    ("CAST(y AS bigint)", -2),
    ("CAST(3.5 AS bigint)", 4),
    ("CAST(i AS double precision)", 7.0),
    ("i::text", "7"),
    ("CAST(yes AS text)", "true"),
    ("CAST('t' AS boolean)", True),
    ("CAST(yes AS bigint)", 1),
    ("CAST(0 AS boolean)", False),
    ("CAST('2.5e0' AS double precision)", 2.5),
    ("CAST(x AS text)", "2.5"),
    ("CAST(u AS text)", str(ID)),
    ("CAST(nothing AS text)", None),
    ("CAST('01234567-89AB-CDEF-0123-456789ABCDEF' AS uuid)", ID),
    ("CAST(t AS text)", "2026-01-31 12:34:56.123456789"),
    ("CAST('2026-01-31' AS timestamp)", At("2026-01-31")),
    ("CAST(CAST(t AS date) AS timestamp)", At("2026-01-31")),
    # UUIDs
    ("u = '01234567-89ab-cdef-0123-456789abcdef'", True),
    ("u = '01234567-89AB-CDEF-0123-456789ABCDEF'", True),
    ("u < 'ffffffff-0000-0000-0000-000000000000'", True),
    ("u IN ('01234567-89ab-cdef-0123-456789abcdef')", True),
    ("u", ID),
    # time, TAI to the nanosecond
    ("t", At(MOMENT)),
    ("early", At(EARLY)),
    ("t = '2026-01-31 12:34:56.123456789'", True),
    ("t > '2026-01-31 12:34:56.123456788'", True),
    ("t < TIMESTAMP '2026-01-31 12:34:56.12345679'", True),
    ("t >= DATE '2026-01-31'", True),
    ("early < '1970-01-01'", True),
    ("not_ < t", None),
    ("t + INTERVAL '1 nanosecond'", At("2026-01-31 12:34:56.12345679")),
    ("t - INTERVAL '1.5 seconds'", At("2026-01-31 12:34:54.623456789")),
    ("t + INTERVAL '1 month'", At("2026-02-28 12:34:56.123456789")),
    ("t - INTERVAL '11' MONTH", At("2025-02-28 12:34:56.123456789")),
    ("INTERVAL '2 years' + t", At("2028-01-31 12:34:56.123456789")),
    ("early + INTERVAL '1 month'", At("1970-01-31 23:59:59.999999999")),
    ("TIMESTAMP '2024-02-29' + INTERVAL '1 year'", At("2025-02-28")),
    ("date_trunc('second', t)", At("2026-01-31 12:34:56")),
    ("date_trunc('hour', t + INTERVAL '1 month')", At("2026-02-28 12:00:00")),
    ("extract(day FROM t + INTERVAL '1 day' - INTERVAL '1 month')", 1),
    ("date_trunc('day', early)", At("1969-12-31")),
    ("date_trunc('week', t)", At("2026-01-26")),
    ("date_trunc('month', t)", At("2026-01-01")),
    ("date_trunc('quarter', t)", At("2026-01-01")),
    ("date_trunc('year', early)", At("1969-01-01")),
    ("extract(year FROM t)", 2026),
    ("extract(quarter FROM t)", 1),
    ("extract(month FROM early)", 12),
    ("extract(week FROM t)", 5),
    ("extract(day FROM t)", 31),
    ("extract(dow FROM t)", 6),
    ("extract(isodow FROM DATE '2026-02-01')", 7),
    ("extract(doy FROM t)", 31),
    ("extract(hour FROM t)", 12),
    ("extract(minute FROM t)", 34),
    ("extract(second FROM t)", 56.123456789),
    ("extract(second FROM early)", 59.999999999),
    ("extract(epoch FROM t - early)", 1769862896.12345679),
    ("extract(epoch FROM TIMESTAMP '1970-01-01 00:00:01.5')", 1.5),
    ("date_part('hour', t)", 12),
    ("CAST(t AS date) - DATE '2026-01-01'", 30),
    ("extract(day FROM CAST(t AS date) + 1)", 1),
]

#: expressions that are an error, a value to compare them with, and part of the message
ERRORS = [
    ("big + 1", "5", "range|overflow"),
    ("i + (big - j)", "5", "range|overflow"),
    ("-big - 2", "5", "range|overflow"),
    ("-(-big - 1)", "5", "range|overflow"),
    ("big * 2", "5", "range|overflow"),
    ("CAST(s AS bigint)", "5", "convert"),
    ("CAST(x * 1e300 AS bigint)", "5", "range|convert"),
    ("CAST(s AS boolean)", "TRUE", "convert"),
    ("CAST(s AS uuid)", "u", "convert|uuid"),
    ("CAST(s AS timestamp)", "t", "convert"),
]

#: what is read in FROM, by where the expression is then evaluated
PLACES = {
    "at SQLite": "lab.vals",
    "at PostgreSQL": "archive.vals",
    "locally": "lab.vals JOIN archive.one ON one.k2 <> vals.i",
}


@pytest.fixture(scope="module")
def coordinator(
    tmp_path_factory: pytest.TempPathFactory,
    module_postgres_databases: Callable[[], str],
    universe: DimensionUniverse,
) -> Iterator[Coordinator]:
    databases: dict[str, Any] = {
        "lab": SqliteDatabase(tmp_path_factory.mktemp("lab")),
        "archive": PostgresDatabase(module_postgres_databases(), label="archive"),
    }
    registries = {site: Registry.create_in(database, site, universe) for site, database in databases.items()}
    for site, registry in registries.items():
        create_table(registry, site, "vals", ROW, key=["k"])
        create_table(registry, site, "one", pa.table({"k2": [1]}), key=["k2"])
    clients = {site: LocalSite(registry) for site, registry in registries.items()}
    with Coordinator("lab", clients) as made:
        yield made
    for registry in registries.values():
        registry.close()


def value_of(coordinator: Coordinator, sql: str) -> Any:
    column = coordinator.query(sql).table.column("v")
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)[0].as_py()


@pytest.mark.parametrize(("expression", "expected"), VALUES, ids=[expression for expression, _ in VALUES])
def test_has_one_value(coordinator: Coordinator, expression: str, expected: Any) -> None:
    wanted = expected.tai_ns if isinstance(expected, At) else expected
    for place, from_ in PLACES.items():
        value = value_of(coordinator, f"SELECT {expression} AS v FROM {from_}")
        assert type(value) is type(wanted), (place, value)
        if isinstance(wanted, float):
            assert value == pytest.approx(wanted, rel=1e-12, nan_ok=True), place
        else:
            assert value == wanted, place


@pytest.mark.parametrize(("expression", "other", "message"), ERRORS, ids=[error[0] for error in ERRORS])
def test_is_an_error_everywhere(coordinator: Coordinator, expression: str, other: str, message: str) -> None:
    for from_ in PLACES.values():
        for sql in (
            f"SELECT {expression} AS v FROM {from_}",
            f"SELECT k AS v FROM {from_} WHERE {expression} > {other}",
        ):
            with pytest.raises(QueryError, match=f"(?i){message}"):
                coordinator.query(sql)
