"""Statements that want more than to read tables are refused: by the coordinator, and by a site that is sent them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import federation
from federation.config import Address, SiteConfig, render_site
from federation.errors import LimitError, UserError
from federation.execution.coordinator import Coordinator
from federation.model.logical import LogicalType
from federation.planner import OutputColumn
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient

#: ``{t}`` is a table of the site, under its own name and as a fragment names it
HOSTILE = [
    # files, as each database reads them
    "SELECT pg_read_file('/etc/passwd') AS n",
    "SELECT pg_read_binary_file('/etc/passwd') AS n FROM {t}",
    "SELECT pg_ls_dir('/') AS n",
    "SELECT pg_stat_file('/etc/passwd') AS n",
    "SELECT lo_import('/etc/passwd') AS n",
    "SELECT lo_export(1, '/tmp/hostile') AS n",
    "SELECT readfile('/etc/passwd') AS n",
    "SELECT writefile('/tmp/hostile', 'x') AS n",
    "SELECT edit('x') AS n FROM {t}",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_parquet('/tmp/x.parquet')",
    "SELECT * FROM read_json('http://127.0.0.1:1/x')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM parquet_scan('/tmp/x.parquet')",
    "SELECT * FROM sqlite_scan('/tmp/x.db', 'x')",
    "SELECT * FROM postgres_scan('', 'public', 'x')",
    "SELECT n FROM {t} WHERE EXISTS (SELECT * FROM read_text('/etc/passwd'))",
    # code
    "SELECT load_extension('/tmp/x.so') AS n",
    "LOAD '/tmp/x.so'",
    "INSTALL httpfs",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DO $$ BEGIN PERFORM pg_sleep(100); END $$",
    "CALL do_it()",
    "EXECUTE prepared",
    "PREPARE p AS SELECT 1",
    "SELECT fts3_tokenizer('simple') AS n",
    "SELECT query_to_xml('SELECT 1', true, true, '') AS n",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('detector')",
    "SELECT dblink('host=127.0.0.1', 'SELECT 1') AS n",
    # settings and other databases
    "PRAGMA database_list",
    "PRAGMA writable_schema = ON",
    "SELECT * FROM pragma_table_info('detector')",
    "SELECT * FROM pragma_database_list",
    "ATTACH '/tmp/hostile.db' AS x",
    "DETACH meta",
    "SET ROLE postgres",
    "SET statement_timeout = 0",
    "RESET ALL",
    "SHOW ALL",
    "SELECT set_config('statement_timeout', '0', false) AS n",
    "SELECT current_setting('data_directory') AS n",
    "VACUUM",
    "VACUUM INTO '/tmp/hostile.db'",
    "ANALYZE",
    "CHECKPOINT",
    "REINDEX",
    "LISTEN x",
    "NOTIFY x",
    "LOCK TABLE {t}",
    # writing
    "INSERT INTO {t} (id) VALUES (99)",
    "UPDATE {t} SET id = 0",
    "DELETE FROM {t}",
    "TRUNCATE {t}",
    "DROP TABLE {t}",
    "ALTER TABLE {t} ADD COLUMN x int",
    "CREATE TABLE x (n int)",
    "CREATE TABLE x AS SELECT * FROM {t}",
    "CREATE VIEW x AS SELECT 1 AS n",
    "GRANT ALL ON {t} TO PUBLIC",
    "MERGE INTO {t} USING {t} AS s ON true WHEN MATCHED THEN DELETE",
    "SELECT id AS n INTO x FROM {t}",
    "WITH d AS (DELETE FROM {t} RETURNING id) SELECT id AS n FROM d",
    "WITH d AS (INSERT INTO {t} (id) VALUES (1) RETURNING id) SELECT id AS n FROM d",
    "SELECT id AS n FROM {t} FOR UPDATE",
    "SELECT nextval('x') AS n",
    "COPY {t} TO '/tmp/hostile'",
    "COPY {t} FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO STDOUT",
    "EXPLAIN ANALYZE SELECT id AS n FROM {t}",
    # more than one statement, and what may hide one
    "SELECT id AS n FROM {t}; DELETE FROM {t}",
    "SELECT id AS n FROM {t};;SELECT 1 AS n",
    "BEGIN; DELETE FROM {t}; COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "SELECT 1 AS n; --",
    "SELECT /* */ 1 AS n; /* */ DROP TABLE {t}",
    "SELECT id AS n FROM {t} WHERE run = 'x\\'; DELETE FROM {t}; --'",
    "SELECT id AS n FROM {t} WHERE 1 = 1) UNION SELECT (1",
    "SELECT id AS n FROM {t}\0; DELETE FROM {t}",
    "/*! DELETE FROM {t} */",
    "-- only a comment",
    "",
    "   ",
    # what is not a table of the registry
    "SELECT 1 AS n FROM sqlite_master",
    "SELECT 1 AS n FROM sqlite_schema",
    "SELECT 1 AS n FROM temp.sqlite_master",
    "SELECT 1 AS n FROM meta.registry_info",
    "SELECT 1 AS n FROM pg_catalog.pg_authid",
    "SELECT 1 AS n FROM pg_shadow",
    "SELECT 1 AS n FROM information_schema.tables",
    "SELECT 1 AS n FROM duckdb_settings()",
    "SELECT 1 AS n FROM duckdb_secrets()",
    'SELECT 1 AS n FROM "summit"."detector\0"',
    'SELECT 1 AS n FROM "summit/summit"."log"',
    'SELECT 1 AS n FROM "summit/summit"."detector"" x; --"',
    'SELECT 1 AS n FROM "summit/summit\'"."detector"',
    'SELECT 1 AS n FROM "summit/../summit"."detector"',
    'SELECT 1 AS n FROM postgres."summit/summit".detector',
    "SELECT 1 AS n FROM param.ids",
    # other users' schemas
    'SELECT 1 AS n FROM "summit/alice"."quality"',
    "SELECT 1 AS n FROM alice.quality",
    'SELECT id AS n FROM {t} WHERE id IN (SELECT detector FROM "summit/alice"."quality")',
    'WITH x AS (SELECT * FROM "summit/alice"."quality") SELECT 1 AS n FROM x',
    # functions that are nobody's business, or differ from call to call
    "SELECT pg_sleep(100) AS n",
    "SELECT id AS n FROM {t} WHERE pg_sleep(100) IS NULL",
    "SELECT current_user AS n",
    "SELECT session_user AS n",
    "SELECT version() AS n",
    "SELECT sqlite_version() AS n",
    "SELECT inet_server_addr() AS n",
    "SELECT pg_terminate_backend(1) AS n",
    "SELECT pg_advisory_lock(1) AS n",
    "SELECT getenv('HOME') AS n",
    "SELECT random() AS n",
    "SELECT now() AS n",
    "SELECT generate_series(1, 1000000000) AS n",
    "SELECT * FROM generate_series(1, 1000000000)",
    "SELECT * FROM range(1000000000)",
    "SELECT repeat('x', 2000000000) AS n",
    "SELECT lpad('x', 2000000000) AS n",
    "SELECT randomblob(2000000000) AS n",
    "SELECT zeroblob(2000000000) AS n",
    "SELECT printf('%*d', 2000000000, 1) AS n",
    "SELECT hex(zeroblob(1000000000)) AS n",
    "SELECT regexp_replace('a', '(a*)*b', '') AS n",
    # too much of it
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r, {t}",
    "SELECT id AS n FROM {t} WHERE id IN (" + ", ".join(map(str, range(60_000))) + ")",
    "SELECT id AS n FROM {t} WHERE " + " OR ".join(f"id = {n}" for n in range(20_000)),
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000 + " AS n",
    "SELECT " + "NOT " * 5_000 + "true AS n",
    "SELECT " + "- " * 5_000 + "1 AS n",
    "SELECT " + "CASE WHEN true THEN " * 400 + "1" + " END" * 400 + " AS n",
    "SELECT id AS n FROM " + "(SELECT id FROM " * 300 + "{t}" + ") AS s" * 300,
    "SELECT 1 AS n FROM " + ", ".join(f"{{t}} AS t{n}" for n in range(200)),
    " UNION ALL ".join(["SELECT id AS n FROM {t}"] * 1_001),
    "WITH " + ", ".join(f"c{n} AS (SELECT 1 AS n)" for n in range(1_000)) + " SELECT n FROM c0",
    "SELECT " + ", ".join(f"id AS c{n}" for n in range(20_000)) + " FROM {t}",
    "SELECT 1 AS n -- " + "x" * 1_000_001,
    # names and characters that look like others
    "SELECT id AS n FROM ｄｅｔｅｃｔｏｒ",
    "SELECT id AS n FROM {t} WHERE id = １",
    "SELECT id AS n FROM detecto\u200br",
    "ＤＥＬＥＴＥ FROM {t}",
    "SELECT \u2018x\u2019 AS n",
    "SELECT U&'\\0061' AS n UESCAPE '!'",
    "SELECT E'\\x27; DELETE' AS n FROM {t}, nosuch",
    'SELECT "id"" FROM x; --" AS n FROM {t}',
    "SELECT $tag$ x $tag$ AS n FROM nosuch",
    "SELECT $1 AS n",
    "SELECT ? AS n",
    "SELECT :name AS n",
    "SELECT %(ids)s AS n",
    "SELECT {{t}} AS n",
]
COLUMNS = (OutputColumn("n", LogicalType.INT64),)


def shown(statement: str) -> str:
    return statement[:60].encode("unicode_escape").decode()


class Site:
    """A served site with a schema of its own and one of alice's."""

    def __init__(self, root: Path, registry_url: str) -> None:
        (root / "sites").mkdir()
        path = root / "sites" / "summit.toml"
        given = {"registry_url_env": "FEDERATION_TEST_HOSTILE_URL"} if registry_url else {}
        path.write_text(render_site("summit", root / "summit", Address("127.0.0.1", 0), **given))
        self.config = SiteConfig.load(path)
        Registry.create(self.config).close()
        federation.create_table(
            "quality", pa.table({"detector": [1]}), site="summit", sites=path.parent,
            schema="alice", key=["detector"], user="alice",
        )  # fmt: skip
        self.server = SiteServer(self.config)
        with self.server.registry.transaction("summit") as tx:
            tx.put("instrument", [{"name": "Cam"}])
            tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(3)])
        self.server.start()
        self.client = SiteClient("summit", self.server.address, user="bob")
        self.before = self.content()

    def content(self) -> list[tuple[str, list[Any]]]:
        """What the registry holds, by its own account, and what is in the directory."""
        catalog = self.server.registry.held()
        rows: list[tuple[str, list[Any]]] = [("held", list(catalog))]
        for held in catalog:
            tables = self.server.registry.tables_in
            with self.server.registry.database.read((held.physical,)) as connection:
                names = sorted(tables(connection, held.physical))
            rows.append((held.physical, [*names, self.server.registry.position(held.schema)]))
        rows.append(("files", sorted(path.name for path in Path("/tmp").glob("hostile*"))))
        return rows

    def close(self) -> None:
        self.client.close()
        self.server.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    module_postgres_databases: Callable[[], str],
) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        url = module_postgres_databases() if request.param == "postgresql" else ""
        patch.setenv("FEDERATION_TEST_HOSTILE_URL", url)
        made = Site(tmp_path_factory.mktemp("hostile"), url)
        yield made
        made.close()


@pytest.mark.parametrize("statement", HOSTILE, ids=shown)
def test_a_site_refuses_it(statement: str, site: Site) -> None:
    sql = statement.replace("{t}", '"summit/summit"."detector"')

    with (
        pytest.raises((UserError, LimitError)) as caught,
        site.client.execute(sql, COLUMNS, timeout_s=30) as rows,
    ):
        list(rows)

    assert caught.value.message


@pytest.mark.parametrize("statement", HOSTILE, ids=shown)
def test_the_coordinator_refuses_it(statement: str, coordinator: Coordinator) -> None:
    # what would never end is ended
    timeout_s = 1.0 if "RECURSIVE" in statement else 30.0
    with pytest.raises((UserError, LimitError)) as caught:
        coordinator.query(statement.replace("{t}", "summit.detector"), timeout_s=timeout_s)

    assert caught.value.message


def test_a_plain_statement_is_answered(site: Site, coordinator: Coordinator) -> None:
    sql = "SELECT id AS n FROM {t} WHERE id > 0 ORDER BY n"
    with site.client.execute(sql.replace("{t}", '"summit/summit"."detector"'), COLUMNS) as rows:
        assert [n for batch in rows for n in batch["n"].to_pylist()] == [1, 2]
    assert coordinator.query(sql.replace("{t}", "summit.detector")).to_pylist() == [{"n": 1}, {"n": 2}]


def test_the_registries_are_as_before(site: Site, one_site: Site) -> None:
    assert site.content() == site.before
    assert one_site.content() == one_site.before


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("hostile"), "")
    yield made
    made.close()


@pytest.fixture(scope="module")
def coordinator(one_site: Site) -> Iterator[Coordinator]:
    with Coordinator("summit", {"summit": one_site.client}, user="bob") as made:
        yield made
