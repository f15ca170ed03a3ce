"""A site runs only what it has parsed, checked and rewritten itself."""

from __future__ import annotations

import sqlite3
import uuid

import psycopg
import pytest

from federation.errors import FederationError, NotFoundError, QueryError
from federation.execution.lowering import Lowered, PhysicalTable, lower
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType, dataset_type_table
from federation.model.system_tables import system_tables

UNIVERSE = DimensionUniverse.default()
RAW = dataset_type_table(UNIVERSE, DatasetType("raw", ("exposure", "detector"), "Exposure"))
SYSTEM = {table.name: table for table in system_tables()}
TABLES = {
    ("summit/summit", "raw"): PhysicalTable("summit__summit", RAW, "summit"),
    ("summit/summit", "dataset"): PhysicalTable("summit__summit", SYSTEM["dataset"], "summit"),
    ("ncsa/ncsa", "calibration"): PhysicalTable("ncsa", SYSTEM["calibration"], "ncsa"),
    ("ncsa/ncsa", "artifact"): PhysicalTable("ncsa", SYSTEM["artifact"], "ncsa"),
}
KEYS = {
    "ids": (("value", LogicalType.UUID),),
    "visits": (("value", LogicalType.INT64),),
    "names": (("value", LogicalType.STRING),),
    "places": (("exposure", LogicalType.INT64), ("instrument", LogicalType.STRING)),
}
RAW_SQL = '"summit/summit"."raw"'
ID = "01234567-89ab-cdef-0123-456789abcdef"


def sqlite(sql: str) -> Lowered:
    return lower(sql, "sqlite", TABLES, KEYS)


def postgres(sql: str) -> Lowered:
    return lower(sql, "postgresql", TABLES, KEYS)


def test_reads_the_physical_table_under_the_logical_name() -> None:
    assert sqlite(f"SELECT exposure FROM {RAW_SQL}").sql == (
        'SELECT "raw"."exposure" AS "exposure" FROM "summit__summit"."ds_raw" AS "raw"'
    )


def test_says_which_columns_come_back() -> None:
    assert sqlite(f"SELECT r.exposure, count(*) AS n FROM {RAW_SQL} r GROUP BY r.exposure").column_names == (
        "exposure",
        "n",
    )


def test_fills_in_the_owner_as_origin() -> None:
    lowered = sqlite(f"SELECT raw.dataset_id FROM {RAW_SQL} WHERE raw.origin = 'summit'")
    assert '(SELECT "dataset_id" AS "dataset_id", \'summit\' AS "origin" FROM' in lowered.sql


def test_origin_is_null_where_a_left_join_finds_nothing() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ':memory:' AS summit__summit")
    connection.execute("CREATE TABLE summit__summit.dataset (dataset_id, dataset_type, run, ingest_date)")
    connection.execute("CREATE TABLE summit__summit.ds_raw (dataset_id, run, exposure)")
    connection.execute("INSERT INTO summit__summit.dataset VALUES (x'00', 'raw', 'r', 1)")
    sql = f"""SELECT d.origin AS a, r.origin AS b FROM "summit/summit"."dataset" d
              LEFT JOIN {RAW_SQL} r ON r.dataset_id = d.dataset_id"""
    assert connection.execute(sqlite(sql).sql).fetchall() == [("summit", None)]


def test_writes_uuids_as_each_database_compares_them() -> None:
    sql = f"SELECT exposure FROM {RAW_SQL} WHERE dataset_id = '{ID}'"
    assert f"= x'{uuid.UUID(ID).hex}'" in sqlite(sql).sql
    assert f"= CAST('{ID}' AS UUID)" in postgres(sql).sql


@pytest.mark.parametrize("make", [sqlite, postgres])
def test_writes_timestamps_as_nanoseconds(make: object) -> None:
    assert callable(make)
    sql = (
        """SELECT dataset_id FROM "ncsa/ncsa"."calibration" WHERE timespan_begin >= '1970-01-01 00:00:01.5'"""
    )
    assert '"timespan_begin" >= 1500000000' in make(sql).sql
    early = sql.replace("1970-01-01 00:00:01.5", "1969-12-31 23:59:59")
    assert '"timespan_begin" >= (-1000000000)' in make(early).sql


def test_orders_nulls_as_postgres_does_on_sqlite() -> None:
    sql = """SELECT dataset_id FROM "ncsa/ncsa"."calibration" ORDER BY timespan_begin, timespan_end DESC"""
    assert sqlite(sql).sql.endswith(
        'ORDER BY "calibration"."timespan_begin" NULLS LAST, "calibration"."timespan_end" DESC NULLS FIRST'
    )


def test_reads_shipped_keys_from_an_array_or_a_temporary_table() -> None:
    sql = f"SELECT r.exposure FROM {RAW_SQL} r JOIN param.ids ON r.dataset_id = ids.value"
    assert 'JOIN "temp"."param_ids" AS "ids"' in sqlite(sql).sql
    lowered = postgres(sql)
    assert '(SELECT UNNEST(CAST(%(ids.value)s AS UUID[])) AS "value") AS "ids"' in lowered.sql
    assert lowered.key_names == ("ids",)


def test_asks_for_one_column_of_keys_by_an_array_or_a_list() -> None:
    sql = f"SELECT exposure FROM {RAW_SQL} r WHERE r.dataset_id IN (SELECT value FROM param.ids) AND exposure > 1"
    assert (
        '"dataset_id" IN (SELECT "ids"."value" AS "value" FROM "temp"."param_ids" AS "ids")'
        in sqlite(sql).sql
    )
    assert '"dataset_id" = ANY(CAST(%(ids.value)s AS UUID[]))' in postgres(sql).sql
    assert postgres(sql).key_names == ("ids",)


def test_asks_for_several_columns_of_keys_in_one_condition() -> None:
    sql = f"""SELECT r.detector FROM {RAW_SQL} r WHERE r.detector > 3 AND EXISTS (SELECT 1 AS one FROM param.places p
              WHERE p.exposure = r.exposure AND r.instrument = p.instrument)"""
    assert '("r"."exposure", "r"."instrument") IN (SELECT "p"."exposure" AS "exposure", ' in sqlite(sql).sql
    lowered = postgres(sql)
    assert 'UNNEST(CAST(%(places.instrument)s AS TEXT[])) AS "instrument") AS "p"' in lowered.sql
    assert '"r"."exposure" = ANY(CAST(%(places.exposure different)s AS BIGINT[])) AND EXISTS(' in lowered.sql
    assert "ANY(" not in postgres(sql.replace("AND EXISTS", "AND NOT EXISTS")).sql
    # where NULL is not false, the condition stays as it is
    assert "EXISTS" in sqlite(sql.replace("AND EXISTS", "AND NOT EXISTS")).sql
    assert "EXISTS" in sqlite(sql.replace("r.instrument = p.instrument", "p.exposure < r.detector")).sql


def test_shipped_keys_work_on_postgres(postgres_url: str) -> None:
    sql = """SELECT a.value AS v, b.value AS n FROM param.visits a JOIN param.names b ON b.value = '50%' OR a.value = 3
             ORDER BY v"""
    lowered = postgres(sql)
    assert lowered.key_names == ("visits", "names")
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            lowered.sql, {"visits.value": [3, 1], "names.value": ["50%", "x"]}
        ).fetchall()
    assert sorted(rows) == [(1, "50%"), (3, "50%"), (3, "x")]


def test_doubles_percent_signs_for_psycopg_only() -> None:
    sql = f"SELECT exposure FROM {RAW_SQL} WHERE run = '50%(ids)s'"
    assert "'50%%(ids)s'" in postgres(sql).sql
    assert "'50%(ids)s'" in sqlite(sql).sql


def test_keeps_the_meaning_of_nested_set_operations_on_sqlite() -> None:
    sql = f"""SELECT exposure FROM {RAW_SQL} UNION
              (SELECT detector FROM {RAW_SQL} INTERSECT SELECT exposure FROM {RAW_SQL} WHERE exposure > 5)"""
    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ':memory:' AS summit__summit")
    connection.execute("CREATE TABLE summit__summit.ds_raw (exposure, detector)")
    connection.executemany("INSERT INTO summit__summit.ds_raw VALUES (?, ?)", [(1, 6), (2, 7), (6, 1)])
    assert sorted(connection.execute(sqlite(sql).sql).fetchall()) == [(1,), (2,), (6,)]


def test_reads_the_nearest_row_of_a_key_on_both_databases() -> None:
    sql = f"""SELECT q.dataset_id AS dataset_id FROM (
        SELECT a.dataset_id AS dataset_id, ROW_NUMBER() OVER (PARTITION BY a.dataset_id ORDER BY a."#level") AS "#rank"
        FROM (SELECT r.dataset_id AS dataset_id, 0 AS "#level" FROM {RAW_SQL} r
              UNION ALL SELECT d.dataset_id AS dataset_id, 1 AS "#level" FROM "summit/summit"."dataset" d) AS a
        ) AS q WHERE q."#rank" = 1"""
    for make in (sqlite, postgres):
        assert 'ROW_NUMBER() OVER (PARTITION BY "a"."dataset_id" ORDER BY "a"."#level"' in make(sql).sql


HOSTILE = [
    "PRAGMA database_list",
    "ATTACH 'x.db' AS x",
    "ATTACH DATABASE 'x.db' AS x",
    "VACUUM",
    "COPY t TO '/tmp/x'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    f"DELETE FROM {RAW_SQL}",
    f"INSERT INTO {RAW_SQL} VALUES (1)",
    f"UPDATE {RAW_SQL} SET exposure = 1",
    "CREATE TABLE t (x int)",
    "DROP TABLE t",
    f"TRUNCATE {RAW_SQL}",
    "BEGIN",
    "SET ROLE admin",
    "DO $$ BEGIN END $$",
    "CALL f()",
    "EXPLAIN SELECT 1",
    "SELECT 1; SELECT 2",
    f"SELECT exposure FROM {RAW_SQL}; DROP TABLE t",
    f"WITH d AS (DELETE FROM {RAW_SQL} RETURNING *) SELECT * FROM d",
    f"WITH d AS (INSERT INTO {RAW_SQL} VALUES (1) RETURNING *) SELECT * FROM d",
    f"SELECT exposure INTO t FROM {RAW_SQL}",
    f"SELECT exposure FROM {RAW_SQL} FOR UPDATE",
    f"SELECT exposure FROM {RAW_SQL} FOR SHARE SKIP LOCKED",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_sleep(100)",
    "SELECT load_extension('x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT set_config('role', 'admin', false)",
    "SELECT current_setting('x')",
    "SELECT current_user",
    "SELECT version()",
    "SELECT now()",
    "SELECT random()",
    "SELECT nextval('s')",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT dblink('x', 'SELECT 1')",
    "SELECT * FROM pg_ls_dir('/')",
    "SELECT * FROM generate_series(1, 1000000000)",
    "SELECT x FROM pg_catalog.pg_shadow",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM main.sqlite_master",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM summit__summit.ds_raw",
    'SELECT * FROM "summit__summit"."ds_raw"',
    'SELECT * FROM "summit/summit"."ds_raw"',
    'SELECT * FROM "ncsa/alice"."raw"',
    'SELECT * FROM x."summit/summit"."raw"',
    "SELECT * FROM param.unknown",
    "SELECT * FROM temp.param_ids",
    f"SELECT rowid FROM {RAW_SQL}",
    f"SELECT r.ctid FROM {RAW_SQL} r",
    f"SELECT r.xmin FROM {RAW_SQL} r",
    f"SELECT r FROM {RAW_SQL} r",
    f"SELECT nosuch FROM {RAW_SQL}",
    f"SELECT exposure FROM {RAW_SQL} TABLESAMPLE SYSTEM (1)",
    f"SELECT exposure FROM ONLY {RAW_SQL}",
    f"SELECT exposure FROM {RAW_SQL} WHERE run ILIKE 'a%'",
    f"SELECT sum(exposure + 1) FROM {RAW_SQL}",
    f"SELECT sum(q.x) FROM (SELECT exposure + 1 AS x FROM {RAW_SQL}) q",
    f"WITH q AS (SELECT exposure + 1 AS x FROM {RAW_SQL}) SELECT sum(q.x) FROM q",
    f"SELECT exposure / 2 FROM {RAW_SQL}",
    f"SELECT exposure FROM {RAW_SQL} WHERE exposure = $1",
    f"SELECT exposure FROM {RAW_SQL} WHERE exposure = ?",
    f"SELECT exposure FROM {RAW_SQL} WHERE exposure = :x",
    f"SELECT exposure FROM {RAW_SQL} WHERE dataset_id = 'no uuid'",
    f"SELECT exposure, run FROM {RAW_SQL} GROUP BY exposure",
    f"SELECT exposure FROM {RAW_SQL} LIMIT (SELECT 1)",
    f"SELECT exposure FROM {RAW_SQL} ORDER BY random()",
    f"SELECT exposure FROM {RAW_SQL} WHERE exposure = (SELECT detector FROM {RAW_SQL})",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "SELECT NULL",
    "SELECT 1::text::regclass",
    "SELECT 'a' COLLATE \"C\"",
    "SELECT E'\\x00'",
    "SELECT 'a\0b'",
    "",
    ";",
    "SELECT " + "(" * 200 + "1" + ")" * 200,
    "SELECT " + "NOT " * 5000 + "TRUE",
    "SELECT " + "- " * 3000 + "1",
    "SELECT 1 " + "+ 1 " * 5000,
    "SELECT '" + "a" * 1_000_001 + "'",
    "SELECT 'unterminated",
    'SELECT "unterminated',
    "SELECT /* unterminated",
    "\x00",
    "\ud800",
    "SELECT * FROM",
]


@pytest.mark.parametrize(
    "sql", HOSTILE, ids=lambda sql: sql[:60].encode("ascii", "backslashreplace").decode()
)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_refuses_what_no_fragment_may_hold(sql: str, dialect: str) -> None:
    with pytest.raises((QueryError, NotFoundError)):
        lower(sql, dialect, TABLES, KEYS)  # type: ignore[arg-type]


@pytest.mark.parametrize("sql", HOSTILE[-8:])
def test_a_refusal_is_one_short_line(sql: str) -> None:
    with pytest.raises(FederationError) as caught:
        sqlite(sql)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_long_list_of_conditions_is_not_deep() -> None:
    conditions = " OR ".join(f"(exposure = {n} AND detector = {n})" for n in range(2000))
    assert sqlite(f"SELECT exposure FROM {RAW_SQL} WHERE {conditions}").column_names == ("exposure",)
