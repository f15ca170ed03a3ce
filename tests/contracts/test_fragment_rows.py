"""Rows of fragments on both databases: types, snapshots, streams, and work that is given up."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pyarrow as pa
import pytest

from federation.errors import LimitError, QueryError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.execution.site import SiteExecutor
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.logical import LogicalType
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry.registry import Registry
from federation.wire.arrow import arrow_schema
from federation.wire.messages import ExecuteCall

CAM = {"instrument": "Cam"}
COUNT = 2_000
DETECTOR = '"base/base"."detector"'
KINDS = (
    ("dataset_id", LogicalType.UUID),
    ("ingest_date", LogicalType.TIMESTAMP),
    ("run", LogicalType.STRING),
    ("n", LogicalType.INT64),
    ("x", LogicalType.FLOAT64),
    ("is_first", LogicalType.BOOL),
)


@pytest.fixture
def filled(registry: Registry) -> Registry:
    """A registry with many detectors and three darks."""
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(
            tx, "detector", [{**CAM, "id": i, "full_name": f"D{i}"} for i in range(COUNT)]
        )
        dataset_types.declare(tx, DatasetType("dark", ("detector",), "Exposure"))
        collections.register(tx, Collection("run", CollectionType.RUN))
        datasets.insert_many(tx, "dark", "run", [{**CAM, "detector": i} for i in range(3)])
    return registry


@pytest.fixture
def coordinator(filled: Registry) -> Iterator[Coordinator]:
    with Coordinator("base", {"base": LocalSite(filled)}) as coordinator:
        yield coordinator


def add_detector(registry: Registry, number: int) -> None:
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "detector", [{**CAM, "id": number, "full_name": f"D{number}"}])


def execute(registry: Registry, call: ExecuteCall) -> pa.Table:
    _, schema, batches = SiteExecutor(registry).execute(call)
    return pa.Table.from_batches(batches, schema=schema)


def test_every_type_comes_as_announced(filled: Registry) -> None:
    sql = 'SELECT dataset_id, ingest_date, run, 7 AS n, 1.5 AS x, run = \'run\' AS is_first FROM "base/base"."dataset"'
    table = execute(filled, ExecuteCall(sql, KINDS))
    assert table.schema == arrow_schema(KINDS)
    assert table.num_rows == 3
    row = table.slice(0, 1)
    assert isinstance(row.column("dataset_id")[0].as_py(), uuid.UUID)
    assert row.select(["run", "n", "x", "is_first"]).to_pylist() == [
        {"run": "run", "n": 7, "x": 1.5, "is_first": True}
    ]


def test_nulls_and_aggregates_come_as_announced(filled: Registry) -> None:
    sql = f"SELECT count(*) AS n, max(id) AS m, max(raft) AS run FROM {DETECTOR}"
    columns = (("n", LogicalType.INT64), ("m", LogicalType.INT64), ("run", LogicalType.STRING))
    table = execute(filled, ExecuteCall(sql, columns))
    assert table.to_pylist() == [{"n": COUNT, "m": COUNT - 1, "run": None}]


def test_keys_are_shipped_whatever_is_in_them(filled: Registry) -> None:
    add = ["it's 100%", 'a "quote"', "back\\slash", "%s", "{a,b}", "D7"]
    with filled.transaction("base") as tx:
        dimensions.insert_records(
            tx, "detector", [{**CAM, "id": COUNT + i, "full_name": name} for i, name in enumerate(add)]
        )
    sql = f'SELECT d.full_name AS n FROM {DETECTOR} AS d JOIN "param"."names" AS k ON k.value = d.full_name'
    call = ExecuteCall(sql, (("n", LogicalType.STRING),), {"names": pa.table({"value": add})})
    found = execute(filled, call).column("n").to_pylist()
    assert sorted(found) == sorted([*add, "D7"])


def test_a_fragment_that_gave_few_rows_gives_the_same_again_and_as_many_as_there_are(
    filled: Registry,
) -> None:
    executor = SiteExecutor(filled)

    def read(call: ExecuteCall) -> pa.Table:
        _, schema, batches = executor.execute(call)
        return pa.Table.from_batches(batches, schema=schema)

    sql = (
        "SELECT dataset_id, ingest_date, run, 7 AS n, CAST(NULL AS DOUBLE) AS x, run = 'run' AS is_first "
        'FROM "base/base"."dataset" ORDER BY dataset_id'
    )
    typed = ExecuteCall(sql, KINDS, timeout_s=60.0)
    assert read(typed).equals(read(typed))
    many = f"SELECT id AS n FROM {DETECTOR} WHERE id IN (SELECT k.value FROM param.ids AS k)"
    for count in (3, COUNT):
        call = ExecuteCall(many, (("n", LogicalType.INT64),), {"ids": pa.table({"value": range(count)})})
        assert sorted(read(call).column("n").to_pylist()) == list(range(count))


def test_a_fragment_that_gave_few_rows_ends_when_the_caller_is_gone(filled: Registry) -> None:
    executor = SiteExecutor(filled)
    gone = threading.Event()
    joins = " ".join(f"JOIN {DETECTOR} d{n} ON d{n}.instrument = d0.instrument" for n in range(1, 6))
    sql = (
        f"SELECT count(*) AS n FROM {DETECTOR} d0 {joins} WHERE d0.id IN (SELECT k.value FROM param.ids AS k)"
    )

    def run(ids: list[int]) -> int:
        keys = {"ids": pa.table({"value": pa.array(ids, pa.int64())})}
        call = ExecuteCall(sql, (("n", LogicalType.INT64),), keys, is_active=lambda: not gone.is_set())
        _, _, batches = executor.execute(call)
        if ids:
            gone.set()
        return len(list(batches))

    assert run([]) == 1
    with pytest.raises(LimitError, match="too long"):
        run([1])


def test_rows_and_positions_are_of_one_moment(filled: Registry) -> None:
    call = ExecuteCall(f"SELECT id AS n FROM {DETECTOR}", (("n", LogicalType.INT64),))
    before = SiteExecutor(filled).execute(call)
    add_detector(filled, COUNT)
    after = SiteExecutor(filled).execute(call)
    counts = [sum(batch.num_rows for batch in batches) for _, _, batches in (before, after)]
    assert counts == [COUNT, COUNT + 1]


def test_a_fragment_that_comes_again_sees_new_rows_and_tables(filled: Registry) -> None:
    executor = SiteExecutor(filled)

    def count(sql: str) -> int:
        _, _, batches = executor.execute(ExecuteCall(sql, (("n", LogicalType.INT64),)))
        return next(iter(pa.Table.from_batches(batches).column("n").to_pylist()))

    sql = f"SELECT count(*) AS n FROM {DETECTOR}"
    assert count(sql) == COUNT
    add_detector(filled, COUNT)
    assert count(sql) == COUNT + 1
    with filled.transaction("base") as tx:
        dataset_types.declare(tx, DatasetType("flat", ("detector",), "Exposure"))
    assert count('SELECT count(*) AS n FROM "base/base"."flat"') == 0


def test_a_statement_that_comes_again_sees_new_rows_and_tables(
    coordinator: Coordinator, filled: Registry
) -> None:
    def ids() -> set[int]:
        return {row["id"] for row in coordinator.query("SELECT id FROM detector WHERE id >= 1999")}

    assert ids() == {1999}
    assert coordinator.explain("SELECT id FROM detector") is coordinator.explain("SELECT id FROM detector")
    add_detector(filled, COUNT)
    assert ids() == {1999, 2000}
    with pytest.raises(QueryError, match="flat"):
        coordinator.query("SELECT * FROM flat")
    with filled.transaction("base") as tx:
        dataset_types.declare(tx, DatasetType("flat", ("detector",), "Exposure"))
    assert coordinator.query("SELECT * FROM flat").row_count == 0


def test_an_answer_of_one_site_streams(coordinator: Coordinator) -> None:
    with coordinator.stream("SELECT id, full_name FROM detector") as rows:
        assert rows.schema.names == ["id", "full_name"]
        assert [position.site for position in rows.positions] == ["base"]
        assert sum(batch.num_rows for batch in rows) == COUNT


def test_an_answer_that_is_finished_locally_streams_too(coordinator: Coordinator) -> None:
    sql = "SELECT upper(full_name) AS name, row_number() OVER (ORDER BY id) AS place FROM detector"
    with coordinator.stream(sql) as rows:
        table = pa.Table.from_batches(list(rows), schema=rows.schema)
    assert table.num_rows == COUNT
    assert table.slice(0, 1).to_pylist() == [{"name": "D0", "place": 1}]


def test_a_stream_may_be_left_early(coordinator: Coordinator, filled: Registry) -> None:
    for _ in range(3):
        with coordinator.stream(
            "SELECT a.id FROM detector AS a JOIN detector AS b ON b.raft IS NULL"
        ) as rows:
            assert next(iter(rows)).num_rows > 0
    add_detector(filled, COUNT)  # nothing is held that a writer waits for
    assert coordinator.query("SELECT count(*) AS n FROM detector").to_pylist() == [{"n": COUNT + 1}]


def test_work_ends_when_the_caller_is_gone(filled: Registry) -> None:
    gone = threading.Event()
    joins = " ".join(f"JOIN {DETECTOR} d{n} ON d{n}.instrument = d0.instrument" for n in range(1, 6))
    call = ExecuteCall(
        f"SELECT count(*) AS n FROM {DETECTOR} d0 {joins}",
        (("n", LogicalType.INT64),),
        is_active=lambda: not gone.is_set(),
    )
    _, _, batches = SiteExecutor(filled).execute(call)
    gone.set()
    with pytest.raises(LimitError, match="too long"):
        list(batches)


def test_more_rows_than_allowed_are_an_error(filled: Registry) -> None:
    call = ExecuteCall(f"SELECT id AS n FROM {DETECTOR}", (("n", LogicalType.INT64),), row_count_max=100)
    with pytest.raises(LimitError, match="more than 100 rows"):
        execute(filled, call)


@pytest.fixture
def chained(registry: Registry) -> Registry:
    """A registry with darks in three runs: each has two thirds of the data IDs of the next one."""
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(
            tx, "detector", [{**CAM, "id": i, "full_name": f"D{i}"} for i in range(COUNT)]
        )
        dataset_types.declare(tx, DatasetType("dark", ("detector",), "Exposure"))
        for run, start in (("first", 0), ("second", 400), ("third", 800)):
            collections.register(tx, Collection(run, CollectionType.RUN))
            ids = [{**CAM, "detector": i} for i in range(start, start + 1200)]
            datasets.insert_many(tx, "dark", run, ids)
        runs = ("third", "first", "second")
        collections.register(tx, Collection("chain", CollectionType.CHAINED, children=runs))
    return registry


FIRST = (
    "SELECT detector, run FROM (SELECT detector, run, row_number() OVER (PARTITION BY instrument, detector "
    "ORDER BY CASE run WHEN 'third' THEN 0 WHEN 'first' THEN 1 WHEN 'second' THEN 2 END) AS place FROM dark "
    "WHERE run IN ('first', 'second', 'third')) AS ranked WHERE place = 1"
)


def test_the_first_run_that_has_a_data_id_wins(chained: Registry) -> None:
    wanted = {i: "third" if i >= 800 else "first" for i in range(2000)}
    with Coordinator("base", {"base": LocalSite(chained)}) as coordinator:
        assert coordinator.explain(FIRST).find_first is not None
        with coordinator.stream(FIRST) as stream:
            batches = list(stream)
        assert {row["detector"]: row["run"] for batch in batches for row in batch.to_pylist()} == wanted
        assert sum(batch.num_rows for batch in batches) == 2000
        assert batches[0].num_rows < 2000
        result = coordinator.query(FIRST)
        assert {row["detector"]: row["run"] for row in result} == wanted
        assert result.positions
        assert coordinator.query(f"{FIRST} LIMIT 7").row_count == 7


def test_an_answer_of_the_local_engine_comes_in_batches(filled: Registry) -> None:
    sql = "SELECT a.id, length(a.full_name) AS n FROM detector AS a"
    with Coordinator("base", {"base": LocalSite(filled)}) as coordinator:
        assert "length" in coordinator.explain(sql).local_sql.lower()
        with coordinator.stream(sql) as outer, coordinator.stream(sql) as inner:
            assert outer.schema == inner.schema == coordinator.query(sql).table.schema
            assert outer.positions
            rows = [sum(batch.num_rows for batch in stream) for stream in (outer, inner)]
    assert rows == [COUNT, COUNT]


def test_an_error_of_the_callers_own_is_left_alone(coordinator: Coordinator) -> None:
    def fail(row_count: int) -> None:
        raise OSError(f"mine, after {row_count} rows")

    with (
        pytest.raises(OSError, match="mine"),
        coordinator.stream("SELECT length(full_name) AS n FROM detector") as stream,
    ):
        fail(next(iter(stream)).num_rows)
