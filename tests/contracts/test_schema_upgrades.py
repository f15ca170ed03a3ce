"""Definitions that change in the middle of a stream, on both databases: applied rightly, or refused with a reason."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa
from old_registry import restore_format_1
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.changelog import SCHEMA_VERSION, log_state, read_entries
from federation.changelog.log import log_tables
from federation.config import SiteConfig, render_site
from federation.errors import EpochError, UserError
from federation.migration_verbs import migrate_registry
from federation.model.change import Change, Operation
from federation.model.position import SchemaId
from federation.registry.registry import Registry
from federation.replication.apply import apply_entries
from federation.replication.follower import Follower
from federation.replication.publisher import Publisher
from federation.replication.snapshots import stamp_all
from federation.replication.state import Apply
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient
from federation.wire.server import build_server


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    url = request.getfixturevalue("fresh_postgres_database") if kind == "postgresql" else ""
    with open_registry(database_of(kind, tmp_path / "summit", url), "summit") as registry:
        yield registry


@pytest.fixture
def replica(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """On a database of the other kind."""
    if kind == "postgresql":
        with open_registry(database_of("sqlite", tmp_path / "base"), "base") as registry:
            yield registry
        return
    url, name = request.getfixturevalue("postgres_url"), f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = database_of("postgresql", tmp_path, urlsplit(url)._replace(path=f"/{name}").geturl())
    with open_registry(made, "base") as registry:
        yield registry
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


class _Service:
    """A site that publishes; its other calls are for other tests."""

    def __init__(self, registry: Registry) -> None:
        publisher = self.publisher = Publisher(registry)
        self.follow, self.bootstrap, self.digest = publisher.follow, publisher.bootstrap, publisher.digest
        self.acknowledge = publisher.acknowledge


@pytest.fixture
def follow(source: Registry, replica: Registry) -> Iterator[Callable[[], None]]:
    service = _Service(source)
    server = build_server(service, "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
    server.start()
    with SiteClient("summit", server.address) as client:
        yield lambda: _follow(replica, client, SUMMIT)
    service.publisher.stop()
    server.stop(0)


def _follow(replica: Registry, client: SiteClient, schema: SchemaId) -> None:
    Follower(replica, client, schema, replica.site).run_once(timeout_s=20.0)


def redefine(source: Registry, metadata: str, statement: str) -> None:
    """Declare dataset type ``flat`` with other metadata columns, as a later version of the software might."""
    with source.transaction("summit") as tx:
        (row,) = tx.select("dataset_type", ("name",), [("flat",)])
        changed = {**row, "metadata": metadata}
        tx.connection.exec_driver_sql(statement)
        table = tx.physical("dataset_type")
        tx.connection.execute(table.update().where(table.c.name == "flat").values(metadata=metadata))
        values = [tuple(changed[name] for name in changed if name != "origin")]
        names = tuple(str(name) for name in changed if name != "origin")
        tx.changes.append(Change.from_rows("dataset_type", Operation.PUT, names, values))


def set_everywhere(source: Registry, column: str, value: object) -> None:
    with source.transaction("summit") as tx:
        tx.put("flat", [{**row, column: value} for row in tx.select("flat", ("run",), [("run/a",)])])


def test_columns_that_come_to_a_dataset_type_are_added(
    source: Registry, replica: Registry, follow: Callable[[], None]
) -> None:
    write(source, 1, 3)
    follow()
    added = "ALTER TABLE summit.ds_flat ADD COLUMN gain DOUBLE PRECISION"
    redefine(source, "noise:float64,gain:float64", added)
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    set_everywhere(source, "gain", 1.5)
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    assert replica.tables(SUMMIT) == source.tables(SUMMIT)


def test_columns_come_and_are_used_in_one_batch(
    source: Registry, replica: Registry, follow: Callable[[], None]
) -> None:
    write(source, 1, 2)
    follow()
    set_everywhere(source, "noise", 2.5)
    added = "ALTER TABLE summit.ds_flat ADD COLUMN gain DOUBLE PRECISION"
    redefine(source, "noise:float64,gain:float64", added)
    set_everywhere(source, "gain", 1.5)
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_another_change_to_a_table_with_rows_is_refused_and_leads_to_a_copy(
    source: Registry, replica: Registry, follow: Callable[[], None]
) -> None:
    write(source, 1, 3)
    follow()
    before, held = rows(replica, SUMMIT), replica.get(SUMMIT)
    redefine(source, "", "ALTER TABLE summit.ds_flat DROP COLUMN noise")
    stamp_all(source, source.get(SUMMIT))
    with source.database.read(("summit",)) as connection:
        found = read_entries(connection, "summit", 3, 1 << 30)
        target = log_state(connection, "summit")
    with replica.database.read((held.physical,)) as connection:
        here = log_state(connection, held.physical)
    with pytest.raises(EpochError, match="flat is declared otherwise while it has rows"):
        apply_entries(replica, held, Apply(here, tuple(found), target))
    assert rows(replica, SUMMIT) == before
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    assert replica.tables(SUMMIT) == source.tables(SUMMIT)


def test_entries_of_a_later_version_wait_for_the_software(
    source: Registry, replica: Registry, follow: Callable[[], None]
) -> None:
    write(source, 1, 2)
    follow()
    write(source, 3, 1)
    stamp_all(source, source.get(SUMMIT))
    before, log = rows(replica, SUMMIT), log_tables("summit").log

    def set_version(version: int) -> None:
        with source.database.write("summit") as connection:
            connection.execute(log.update().where(log.c.lsn == 3).values(schema_version=version))

    set_version(SCHEMA_VERSION + 1)
    with pytest.raises(UserError, match=f"reads up to {SCHEMA_VERSION}") as raised:
        follow()
    assert raised.value.hint == "update this site's software"
    assert rows(replica, SUMMIT) == before
    set_version(SCHEMA_VERSION)
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_columns_that_this_software_does_not_know_are_refused(
    source: Registry, replica: Registry, follow: Callable[[], None]
) -> None:
    write(source, 1, 2)
    follow()
    before = rows(replica, SUMMIT)
    with source.transaction("summit") as tx:
        tx.changes.append(Change.from_rows("instrument", Operation.PUT, ("name", "colour"), [("Cam", "red")]))
    with pytest.raises(UserError, match="instrument have columns name, colour") as raised:
        follow()
    assert "one version of software" in raised.value.hint
    assert rows(replica, SUMMIT) == before
    assert replica.position(SUMMIT).lsn == 2


def test_a_source_that_is_migrated_is_followed_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = ""
    if kind == "postgresql":
        url = request.getfixturevalue("fresh_postgres_database")
        monkeypatch.setenv("BASE_URL", url)
    path = tmp_path / "base.toml"
    path.write_text(
        render_site("base", tmp_path / "base", "127.0.0.1:0", registry_url_env="BASE_URL" if url else "")
    )
    config, schema = SiteConfig.load(path), SchemaId("base", "base")
    restore_format_1(kind, config.registry_dir, url)

    def served(replica: Registry) -> None:
        server = SiteServer(config)
        server.start()
        try:
            with SiteClient("base", server.address) as client:
                _follow(replica, client, schema)
        finally:
            server.stop()

    with open_registry(database_of("sqlite", tmp_path / "ncsa"), "ncsa") as replica:
        served(replica)
        position, held = replica.position(schema), replica.get(schema)
        known = rows(replica, schema)
        assert known["dataset"]
        # a row that only a copy would remove
        with replica.database.write(held.physical) as connection:
            table = replica.physical_tables(held.physical, tuple(replica.tables(schema).values()))["metric"]
            mark = {"dataset_id": uuid.uuid4(), "name": "mark", "value": 1.0}
            connection.execute(table.insert().values(mark))
        migrate_registry(str(path))
        with Registry.open(config) as source:
            source.create_schema("new")
            with source.transaction("base") as tx:
                tx.put("instrument", [{"name": "NewCam"}])
        served(replica)
        after = replica.position(schema)
        assert after.epoch == position.epoch
        assert after.lsn > position.lsn
        with replica.database.write(held.physical) as connection:
            gone = connection.execute(table.delete().where(sa.column("name") == "mark"))
            assert gone.rowcount == 1
        with Registry.open(config) as source:
            assert rows(replica, schema) == rows(source, schema)
