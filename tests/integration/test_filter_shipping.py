"""Joins over real servers whose keys are too many to be sent: a Bloom filter goes instead, and fewer rows come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import duckdb
import grpc
import pyarrow as pa
import pytest
from served_registries import Served

from federation.errors import QueryError
from federation.execution.coordinator import Coordinator
from federation.execution.result import KeyUse
from federation.model.dimension import DimensionUniverse
from federation.model.key_filter import FALSE_POSITIVES, FILTER_BYTES_MAX, KeyFilter
from federation.model.logical import LogicalType
from federation.planner import OutputColumn
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.storage import PostgresDatabase, SqliteDatabase
from federation.wire.arrow import arrow_schema, column_pairs, encode_schema
from federation.wire.client import SiteClient
from federation.wire.server import build_server
from federation.wire.v1 import query_pb2, query_pb2_grpc

COUNT = 40_000
#: six of ten images were taken by shots that are known
KNOWN = [n for n in range(COUNT) if n % 10 < 6]


def noted(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


IMAGES = pa.table(
    {
        "image": pa.array(range(COUNT), pa.int64()),
        "visit": pa.array([None if n % 100 == 99 else n * 7 for n in range(COUNT)], pa.int64()),
        "run": [f"run {n % 8}" for n in range(COUNT)],
        "note": [noted(n) for n in range(COUNT)],
        "seeing": [n % 100 / 100 for n in range(COUNT)],
    }
)
SHOTS = pa.table(
    {
        "visit": pa.array([n * 7 for n in KNOWN], pa.int64()),
        "run": [f"run {n % 8}" for n in KNOWN],
        "detector": pa.array([n % 10 for n in KNOWN], pa.int64()),
    }
)
COLUMNS = (OutputColumn("visit", LogicalType.INT64), OutputColumn("seeing", LogicalType.FLOAT64))
SQL = 'SELECT "i"."visit" AS "visit", "i"."seeing" AS "seeing" FROM "base/base"."images" AS "i"'


@attrs.frozen
class Sites:
    """A site that has images, another that has shots, and one database with both."""

    coordinator: Coordinator
    base: SiteClient
    oracle: duckdb.DuckDBPyConnection


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def sites(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    module_postgres_databases: Callable[[], str],
) -> Iterator[Sites]:
    root: Path = tmp_path_factory.mktemp("sites")
    base = SqliteDatabase(root / "base")
    if request.param == "postgres":
        base = PostgresDatabase(module_postgres_databases(), label="base")  # type: ignore[assignment]
    databases = {"summit": SqliteDatabase(root / "summit"), "base": base}
    clients = {}
    with ExitStack() as open_:
        oracle = open_.enter_context(duckdb.connect())
        for site, name, key, rows in (
            ("summit", "shots", "visit", SHOTS),
            ("base", "images", "image", IMAGES),
        ):
            registry = open_.enter_context(
                Registry.create_in(databases[site], site, DimensionUniverse.default())
            )
            create_table(registry, site, name, rows, key=(key,))
            server = build_server(Served(registry), "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
            server.start()
            open_.callback(server.stop, 0)
            clients[site] = open_.enter_context(SiteClient(site, server.address))
            oracle.execute(f"CREATE SCHEMA {site}")
            oracle.execute(f"CREATE TABLE {site}.{name} AS SELECT * FROM rows")
        coordinator = open_.enter_context(Coordinator("summit", clients))
        yield Sites(coordinator, clients["base"], oracle)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT i.note, s.detector FROM summit.shots s JOIN base.images i ON i.visit = s.visit",
        "SELECT i.note, s.detector FROM summit.shots s LEFT JOIN base.images i"
        " ON i.visit = s.visit AND i.run = s.run",
        "SELECT count(*) AS n FROM summit.shots s WHERE NOT EXISTS"
        " (SELECT 1 FROM base.images i WHERE i.visit = s.visit AND i.note > s.run)",
    ],
)
def test_fewer_rows_come_and_the_answer_is_the_same(sql: str, sites: Sites) -> None:
    result = sites.coordinator.query(sql)
    expected = sites.oracle.execute(sql).fetchall()
    found = [tuple(row.values()) for row in result.table.to_pylist()]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    (fragment,) = (one for one in result.plan.fragments if one.keys)
    (stats,) = (one for one in result.fragments if one.id == fragment.id)
    assert (stats.site, stats.keys) == ("base", (KeyUse("k1", len(KNOWN), True, as_filter=True),))
    # the images of known shots, and few others
    assert len(KNOWN) <= stats.row_count < len(KNOWN) + 3 * FALSE_POSITIVES * (COUNT - len(KNOWN))
    with sites.base.execute(fragment.sql_without(["k1"]), fragment.columns) as whole:
        assert sum(batch.num_rows for batch in whole) == COUNT
    # the filter counts as bytes, too
    assert len(KNOWN) * 10 // 8 < stats.byte_count < 0.8 * whole.byte_count
    assert fragment.row_count_estimate == pytest.approx(stats.row_count, rel=0.05)
    assert f"keys k1 for {fragment.id}: {len(KNOWN)}, sent as a Bloom filter" in result.analysis.text()


def visits(sites: Sites, *filters: KeyFilter) -> list[int | None]:
    with sites.base.execute(SQL, COLUMNS, filters=filters) as rows:
        return [visit for batch in rows for visit in batch.column("visit").to_pylist()]


def test_a_filter_of_any_bits_only_leaves_rows_out(sites: Sites) -> None:
    full, empty = (KeyFilter(("visit",), 7, bits) for bits in (b"\xff" * FILTER_BYTES_MAX, bytes(8)))
    assert visits(sites, full) == [n for n in visits(sites) if n is not None]
    assert visits(sites, full, empty) == []


@pytest.mark.parametrize(
    ("columns", "message"), [(("seeing",), "its type is float64"), (("visit", "note"), "does not give it")]
)
def test_a_filter_of_other_columns_is_refused(columns: tuple[str, ...], message: str, sites: Sites) -> None:
    with pytest.raises(QueryError, match=message):
        visits(sites, KeyFilter(columns, 7, bytes(8)))
    assert len(visits(sites)) == COUNT


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (query_pb2.KeyFilter(version=1, columns=["visit"], hash_count=7), "has 0 bytes"),
        (query_pb2.KeyFilter(version=1, columns=["visit"], hash_count=10**9, bits=bytes(8)), "10{9} bits"),
        (query_pb2.KeyFilter(version=1, hash_count=7, bits=bytes(8)), "has 0 columns"),
        (query_pb2.KeyFilter(columns=["visit"], hash_count=7, bits=bytes(8)), "of no version"),
    ],
)
def test_what_is_no_filter_is_refused_at_the_site(
    message: query_pb2.KeyFilter, said: str, sites: Sites
) -> None:
    schema = encode_schema(arrow_schema(column_pairs(COLUMNS, SQL)))
    with grpc.insecure_channel(sites.base.address) as channel:
        execute = query_pb2_grpc.QueryStub(channel).Execute
        with pytest.raises(grpc.RpcError, match=said) as raised:
            list(execute(query_pb2.ExecuteRequest(sql=SQL, schema=schema, filters=[message]), timeout=20))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        # what later versions send is left aside, as by sites that know no filters at all
        later = query_pb2.KeyFilter(version=2, columns=["a b"])
        request = query_pb2.ExecuteRequest(sql=SQL, schema=schema, filters=[later])
        assert sum(part.row_count for part in execute(request, timeout=20)) == COUNT
