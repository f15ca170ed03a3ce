"""Queries over real registries, on SQLite and PostgreSQL, in this process and over gRPC."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import duckdb
import pyarrow as pa
import pytest

from federation.config.settings import QueryConfig
from federation.errors import LimitError, NotFoundError, QueryError, UnavailableError
from federation.execution.coordinator import Coordinator
from federation.execution.engine_instances import EngineInstances
from federation.execution.local_engine import LocalEngine
from federation.execution.local_site import LocalSite
from federation.execution.site import Answer, SiteExecutor
from federation.model.catalog import SiteCatalog
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import parse_tai
from federation.planner import OutputColumn
from federation.registry.registry import Registry
from federation.storage import PostgresDatabase, SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.messages import ExecuteCall
from federation.wire.server import build_server

BEGIN = "2026-01-01 00:00:01.000000007"
IDS = [uuid.UUID(int=n + 2**120) for n in range(5)]
DETECTORS = '"summit/summit"."detector"'
NUMBERS = (OutputColumn("n", LogicalType.INT64),)


def fill(registry: Registry, detectors: int) -> None:
    """Instrument records, datasets and a calibration of every type of column."""
    with registry.transaction(registry.site) as tx:
        tx.put("instrument", [{"name": "Cam", "detector_max": 9}])
        tx.put(
            "detector",
            [{"instrument": "Cam", "id": n, "full_name": f"d{n}%"} for n in range(detectors)],
        )
        tx.put(
            "dataset",
            [
                {"dataset_id": id_, "dataset_type": "raw", "run": "r", "ingest_date": parse_tai(BEGIN) + n}
                for n, id_ in enumerate(IDS)
            ],
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(
    request: pytest.FixtureRequest, tmp_path: Path, universe: DimensionUniverse
) -> Iterator[Registry]:
    database: Any
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "summit")
    else:
        database = PostgresDatabase(request.getfixturevalue("fresh_postgres_database"), label="test")
    with Registry.create_in(database, "summit", universe) as made:
        fill(made, 5)
        yield made


@pytest.fixture
def base(tmp_path: Path, universe: DimensionUniverse) -> Iterator[Registry]:
    with Registry.create_in(SqliteDatabase(tmp_path / "base"), "base", universe) as made:
        with made.transaction("base") as tx:
            tx.put("instrument", [{"name": "Cam", "detector_max": 9}])
            tx.put("detector", [{"instrument": "Cam", "id": 4, "full_name": "mine"}])
        yield made


@pytest.fixture
def coordinator(registry: Registry, base: Registry) -> Iterator[Coordinator]:
    with Coordinator("base", {"summit": LocalSite(registry), "base": LocalSite(base)}) as made:
        yield made


def run(registry: Registry, sql: str, columns: tuple[OutputColumn, ...], **more: Any) -> pa.Table:
    with LocalSite(registry).execute(sql, columns, **more) as rows:
        return pa.Table.from_batches(list(rows), schema=rows.schema)


@attrs.frozen
class Served:
    """A registry behind a server; only what queries need."""

    registry: Registry
    site: LocalSite

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        catalog = self.site.get_catalog()
        return catalog.site, catalog.version, None if catalog.version == known_version else catalog

    def execute(self, call: ExecuteCall) -> Answer:
        return SiteExecutor(self.registry).execute(call)


@pytest.fixture
def client(registry: Registry) -> Iterator[SiteClient]:
    server = build_server(Served(registry, LocalSite(registry)), "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
    server.start()
    with SiteClient("summit", server.address) as made:
        yield made
    server.stop(0)


def test_a_fragment_gives_every_type_as_it_was_written(registry: Registry) -> None:
    sql = """SELECT dataset_id AS id, ingest_date AS t, origin AS o FROM "summit/summit"."dataset"
             WHERE run LIKE 'r' AND ingest_date >= '2026-01-01 00:00:01.000000010' ORDER BY id"""
    sql = sql.replace("run LIKE 'r' AND ", "")
    columns = (
        OutputColumn("id", LogicalType.UUID),
        OutputColumn("t", LogicalType.TIMESTAMP),
        OutputColumn("o", LogicalType.STRING),
    )
    table = run(registry, sql, columns)
    assert table["id"].to_pylist() == IDS[3:]
    assert table["t"].cast(pa.int64()).to_pylist() == [parse_tai(BEGIN) + 3, parse_tai(BEGIN) + 4]
    assert table["o"].to_pylist() == ["summit", "summit"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [(pa.array([1, 3, 99]), [1, 3]), (pa.array([], pa.int64()), [])],
)
def test_a_fragment_is_joined_with_the_keys_that_are_sent(
    keys: pa.Array, expected: list[int], registry: Registry
) -> None:
    sql = f"SELECT d.id AS n FROM {DETECTORS} d JOIN param.wanted w ON w.value = d.id ORDER BY n"
    assert (
        run(registry, sql, NUMBERS, keys={"wanted": pa.table({"value": keys})})["n"].to_pylist() == expected
    )


def test_keys_may_be_uuids_and_texts_with_percent_signs(registry: Registry) -> None:
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([IDS[2].bytes], pa.binary(16)))
    sql = 'SELECT d.dataset_id AS id FROM "summit/summit"."dataset" d JOIN param.ids k ON k.value = d.dataset_id'
    found = run(
        registry, sql, (OutputColumn("id", LogicalType.UUID),), keys={"ids": pa.table({"value": ids})}
    )
    assert found["id"].to_pylist() == [IDS[2]]
    sql = f"SELECT d.id AS n FROM {DETECTORS} d JOIN param.names k ON k.value = d.full_name WHERE k.value <> '%'"
    assert run(registry, sql, NUMBERS, keys={"names": pa.table({"value": ["d3%", "d9%"]})})[
        "n"
    ].to_pylist() == [3]


def test_an_answer_says_which_position_it_is_of(registry: Registry) -> None:
    with LocalSite(registry).execute(f"SELECT id AS n FROM {DETECTORS}", NUMBERS) as rows:
        assert rows.positions == (registry.position(SchemaId("summit", "summit")),)


def test_an_answer_is_of_one_moment(registry: Registry) -> None:
    with LocalSite(registry).execute(f"SELECT id AS n FROM {DETECTORS}", NUMBERS) as rows:
        with registry.transaction("summit") as tx:
            tx.put("detector", [{"instrument": "Cam", "id": 77}])
        assert sorted(n for batch in rows for n in batch["n"].to_pylist()) == [0, 1, 2, 3, 4]


def test_a_limit_on_rows_is_an_error_not_an_end(registry: Registry) -> None:
    with pytest.raises(LimitError, match="more than 3 rows"):
        run(registry, f"SELECT id AS n FROM {DETECTORS}", NUMBERS, row_count_max=3)


def test_time_is_limited(registry: Registry) -> None:
    joins = " JOIN ".join(f"{DETECTORS} d{n} ON d{n}.instrument = d0.instrument" for n in range(1, 12))
    sql = f"SELECT count(*) AS n FROM {DETECTORS} d0 JOIN {joins}"
    with pytest.raises(LimitError, match="too long"):
        run(registry, sql, NUMBERS, timeout_s=0.2)


def test_a_number_that_overflows_is_an_error(registry: Registry) -> None:
    with pytest.raises(QueryError):
        run(registry, f"SELECT id + 9223372036854775806 AS n FROM {DETECTORS}", NUMBERS)


def test_tables_that_are_not_here_are_named(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="base/base"):
        run(registry, 'SELECT id AS n FROM "base/base"."detector"', NUMBERS)
    with pytest.raises(NotFoundError, match="nosuch"):
        run(registry, 'SELECT id AS n FROM "summit/summit"."nosuch"', NUMBERS)


def test_a_large_answer_comes_in_batches(registry: Registry) -> None:
    sql = " JOIN ".join(
        [f"SELECT d0.id AS n FROM {DETECTORS} d0"]
        + [f"{DETECTORS} d{n} ON d{n}.instrument = d0.instrument" for n in range(1, 7)]
    )
    with LocalSite(registry).execute(sql, NUMBERS) as rows:
        sizes = [batch.num_rows for batch in rows]
    assert sum(sizes) == 5**7
    assert len(sizes) >= 5
    assert max(sizes) <= 20_000


def test_queries_see_the_nearest_of_two_sites(coordinator: Coordinator) -> None:
    result = coordinator.query("SELECT id, full_name FROM detector ORDER BY id DESC LIMIT 2")
    assert result.to_pylist() == [
        {"id": 4, "full_name": "mine"},
        {"id": 3, "full_name": "d3%"},
    ]
    assert {stats.site for stats in result.fragments} == {"base", "summit"}
    assert {position.site for position in result.positions} == {"base", "summit"}


def test_a_result_has_uuids_and_exact_times(coordinator: Coordinator) -> None:
    result = coordinator.query(
        "SELECT dataset_id, ingest_date AS t, count(*) OVER () AS n, 1.0 / 4 AS x, detector_max > 3 AS b "
        "FROM dataset CROSS JOIN instrument ORDER BY t LIMIT 1"
    )
    assert result.to_pylist() == [{"dataset_id": IDS[0], "t": BEGIN, "n": 5, "x": 0.25, "b": True}]
    assert list(result) == result.to_pylist()


def test_sums_and_virtual_tables_have_their_types(coordinator: Coordinator) -> None:
    result = coordinator.query("SELECT sum(id) AS s, avg(id) AS a FROM detector")
    assert result.to_pylist() == [{"s": 10, "a": 2.0}]
    assert result.table.schema.field("s").type == pa.int64()
    sites = coordinator.query("SELECT site FROM federation.sites ORDER BY site")
    assert [row["site"] for row in sites] == ["base", "summit"]


def test_a_plan_can_be_seen_without_being_run(coordinator: Coordinator) -> None:
    assert {fragment.site for fragment in coordinator.explain("SELECT id FROM detector").fragments} == {
        "base",
        "summit",
    }


def test_a_function_that_fails_is_a_query_error(coordinator: Coordinator) -> None:
    with pytest.raises(QueryError):
        coordinator.query("SELECT CAST(full_name AS BIGINT) AS n FROM detector")


def test_a_fragment_of_ones_own_runs_at_one_site(coordinator: Coordinator) -> None:
    table = coordinator.execute_on("summit", f"SELECT count(*) AS n FROM {DETECTORS}", NUMBERS)
    assert table.to_pylist() == [{"n": 5}]
    with pytest.raises(NotFoundError, match="mars"):
        coordinator.execute_on("mars", "SELECT 1 AS n", NUMBERS)


def test_queries_over_the_wire(client: SiteClient, base: Registry) -> None:
    with Coordinator("base", {"base": LocalSite(base), "summit": client}) as coordinator:
        for _ in range(2):  # the second time the catalog is known
            result = coordinator.query("SELECT count(*) AS n FROM detector")
            assert result.to_pylist() == [{"n": 5}]
        with pytest.raises(QueryError, match="exposur"):
            coordinator.query("SELECT exposur FROM detector")


def test_a_site_that_is_down_is_an_error_or_missing(base: Registry) -> None:
    with SiteClient("summit", "127.0.0.1:1") as gone:
        clients = {"base": LocalSite(base), "summit": gone}
        with Coordinator("base", clients) as coordinator:
            with pytest.raises(UnavailableError, match="summit") as caught:
                coordinator.query("SELECT id FROM detector")
            assert "--partial" in caught.value.hint
            result = coordinator.query("SELECT id FROM detector", partial=True)
    assert result.to_pylist() == [{"id": 4}]
    assert [missing.site for missing in result.missing] == ["summit"]


class FailsWhenAsked(LocalSite):
    """A site that goes away between its catalog and its answer."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        raise UnavailableError("site summit does not answer: gone", hint="wait")


@pytest.mark.parametrize("registry", ["sqlite"], indirect=True)
def test_a_site_that_goes_away_while_asked_is_planned_around(registry: Registry, base: Registry) -> None:
    with Coordinator("base", {"base": LocalSite(base), "summit": FailsWhenAsked(registry)}) as coordinator:
        result = coordinator.query("SELECT id FROM detector", partial=True)
        assert (result.to_pylist(), len(result.missing)) == ([{"id": 4}], 1)
        with pytest.raises(UnavailableError, match="gone"):
            coordinator.query("SELECT id FROM detector")


def test_the_engine_reads_nothing_of_the_machine() -> None:
    with pytest.raises(QueryError, match="disabled"):
        LocalEngine().run({}, "SELECT * FROM read_csv('/etc/passwd')", ())


def test_the_engine_stops_in_time() -> None:
    sql = "SELECT count(*) AS n FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 3"
    with pytest.raises(LimitError, match="too long"):
        LocalEngine().run({}, sql, NUMBERS, timeout_s=0.2)


def test_wide_integers_are_exact_or_an_error() -> None:
    engine = LocalEngine()
    wide = (OutputColumn("n", None),)
    table = engine.run({}, "SELECT (-170141183460469231731687303715)::HUGEINT AS n", wide)
    assert int(table["n"][0].as_py()) == -170141183460469231731687303715
    with pytest.raises(QueryError, match="'n'"):
        engine.run({}, "SELECT 9223372036854775808::HUGEINT AS n", NUMBERS)


def test_the_engine_says_when_memory_runs_out() -> None:
    engine = LocalEngine(QueryConfig(memory_limit="40MB").memory_limit)
    with pytest.raises(LimitError, match="memory"):
        engine.run({}, "SELECT list(range) AS n FROM range(50000000)", (OutputColumn("n", None),))


def test_the_engine_streams_and_stops_in_time() -> None:
    sql = "SELECT a.range AS n FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 3"
    with (
        pytest.raises(LimitError, match="too long"),
        LocalEngine().stream({}, sql, NUMBERS, timeout_s=0.3) as (_, batches),
    ):
        for _ in batches:
            pass


def test_an_error_in_the_middle_of_a_stream_names_the_cause() -> None:
    sql = "SELECT CAST(CASE WHEN range < 90000 THEN '1' ELSE 'x' END AS BIGINT) AS n FROM range(100000)"
    with (
        pytest.raises(QueryError, match="'x'"),
        LocalEngine().stream({}, sql, NUMBERS) as (_, batches),
    ):
        for _ in batches:
            pass


def test_statements_of_one_engine_do_not_see_each_others_tables() -> None:
    engine = LocalEngine()
    tables = [pa.table({"n": [number]}) for number in range(2)]
    sql = "SELECT n FROM f1"
    with (
        engine.stream({"f1": tables[0]}, sql, NUMBERS) as (_, first),
        engine.stream({"f1": tables[1]}, sql, NUMBERS) as (_, second),
    ):
        assert [batch.to_pydict() for batch in second] == [{"n": [1]}]
        assert [batch.to_pydict() for batch in first] == [{"n": [0]}]
    with pytest.raises(QueryError, match="f1"):
        engine.run({}, sql, NUMBERS)
    engine.close()
    assert engine.run({"f1": tables[0]}, sql, NUMBERS).to_pydict() == {"n": [0]}


def test_an_engine_works_on_both_sides_of_a_fork() -> None:
    engine = LocalEngine()
    sql = "SELECT 7 / 2 AS n"
    assert engine.run({}, sql, NUMBERS).to_pydict() == {"n": [3]}
    child = multiprocessing.get_context("fork").Process(target=engine.run, args=({}, sql, NUMBERS))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert engine.run({}, sql, NUMBERS).to_pydict() == {"n": [3]}


@pytest.mark.parametrize("row_count", [10, 5_000_000])
def test_settings_hold_in_small_and_large_work(row_count: int) -> None:
    table = pa.table({"n": pa.array(range(row_count), pa.int64())})
    sql = "SELECT max(n) / 2 + count(*) FILTER (WHERE n IS NULL) AS n FROM f1"
    assert LocalEngine().run({"f1": table}, sql, NUMBERS)["n"].to_pylist() == [(row_count - 1) // 2]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM mine",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_json('http://127.0.0.1:1/x')",
        "COPY (SELECT 1) TO '/tmp/federation-engine'",
        "EXPORT DATABASE '/tmp/federation-engine'",
        "ATTACH '/tmp/federation-engine'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "SET GLOBAL enable_external_access = true",
        "RESET lock_configuration",
        "CREATE SECRET (TYPE s3)",
        "SELECT getenv('HOME')",
    ],
)
@pytest.mark.parametrize("byte_count", [1, 1 << 30])
def test_the_engine_is_closed_to_all_but_what_was_loaded(sql: str, byte_count: int) -> None:
    mine = pa.table({"n": [1]})
    instances = EngineInstances("100MB", "100MB")
    with instances.connection(byte_count) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(sql).fetchall()
        found = connection.execute("SELECT current_setting('python_enable_replacements')").fetchone()
        assert found == (False,)
    instances.close()
    assert mine.num_rows == 1
