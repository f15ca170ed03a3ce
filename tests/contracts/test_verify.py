"""Proof that a replica equals its source while both go on, each row that does not, and mending just those."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.changelog.log import log_tables
from federation.errors import EpochError, LogGapError, UserError
from federation.model.dataset import DatasetType
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.registry import dataset_types
from federation.registry.registry import Registry
from federation.replication.digests import digest_schema
from federation.replication.follower import Follower
from federation.replication.publisher import Publisher
from federation.replication.verify import repair, verify
from federation.wire.client import SiteClient
from federation.wire.messages import DigestOf
from federation.wire.server import build_server


class _Service:
    """A site that publishes; its other calls are for other tests."""

    def __init__(self, registry: Registry) -> None:
        publisher = self.publisher = Publisher(registry)
        self.follow, self.bootstrap, self.digest = publisher.follow, publisher.bootstrap, publisher.digest
        self.acknowledge = publisher.acknowledge


#: each database on either side, where nothing depends on the pair
crossed = pytest.mark.parametrize(
    ("source", "replica"), [("sqlite", "postgresql"), ("postgresql", "sqlite")], indirect=True
)


@pytest.fixture(params=["sqlite", "postgresql"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    kind = request.param
    url = request.getfixturevalue("fresh_postgres_database") if kind == "postgresql" else ""
    with open_registry(database_of(kind, tmp_path / "summit", url), "summit") as registry:
        yield registry


@pytest.fixture(params=["sqlite", "postgresql"])
def replica(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    url = request.getfixturevalue("second_postgres_database") if request.param == "postgresql" else ""
    with open_registry(database_of(request.param, tmp_path / "base", url), "base") as registry:
        yield registry


@pytest.fixture
def second_postgres_database(postgres_url: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def client(source: Registry) -> Iterator[SiteClient]:
    service = _Service(source)
    server = build_server(service, "127.0.0.1:0", workers=8)  # type: ignore[arg-type]
    server.start()
    with SiteClient("summit", server.address) as client:
        yield client
    service.publisher.stop()
    server.stop(0)


@pytest.fixture
def follow(replica: Registry, client: SiteClient) -> Callable[[], int]:
    return lambda: Follower(replica, client, SUMMIT, "base").run_once().lsn


def by_hand(registry: Registry, statement: str) -> None:
    """Change rows behind the software's back."""
    held = registry.get(SUMMIT)
    with registry.database.write(held.physical) as connection:
        connection.exec_driver_sql(statement.replace("HERE.", f'"{held.physical}".'))


def damage(registry: Registry) -> None:
    """A missing, a changed and an extra row, and one that another's unique values are given to."""
    by_hand(registry, "DELETE FROM HERE.detector WHERE id = 3")
    by_hand(registry, "UPDATE HERE.detector SET purpose = 'damaged' WHERE id = 4")
    by_hand(registry, "INSERT INTO HERE.band (name) VALUES ('invented')")
    by_hand(registry, "DELETE FROM HERE.ds_flat WHERE detector = 1")
    by_hand(registry, "UPDATE HERE.ds_flat SET detector = 1 WHERE detector = 2")


DAMAGE = {
    ("band", "extra"): 1,
    ("detector", "changed"): 1,
    ("detector", "missing"): 1,
    ("flat", "changed"): 1,
    ("flat", "missing"): 1,
}


def counted(report: object) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one in report.differences:  # type: ignore[attr-defined]
        found[one.table, one.kind] = found.get((one.table, one.kind), 0) + 1
    return found


def test_digests_are_the_same_on_every_database(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 5)
    follow()
    for wanted in (
        DigestOf(SUMMIT),
        DigestOf(SUMMIT, bucket_count=7),
        DigestOf(SUMMIT, "flat", 3, (0, 1, 2)),
    ):
        there = digest_schema(source, source.get(SUMMIT), wanted)
        here = digest_schema(replica, replica.get(SUMMIT), wanted)
        assert (here.tables, here.by_bucket) == (there.tables, there.by_bucket)
        assert sorted(row.key for row in here.rows) == sorted(row.key for row in there.rows)
        assert {row.digest for row in here.rows} == {row.digest for row in there.rows}


def test_every_wrong_row_is_named_and_mended_and_no_other_is_written(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 8)
    position = (follow(), replica.position(SUMMIT))
    damage(replica)

    report = verify(replica, client, SUMMIT)
    assert not report.is_equal
    assert counted(report) == DAMAGE
    assert report.difference_count == 5
    assert [d.key for d in report.differences if d.table == "detector"] == ['["Cam", 3]', '["Cam", 4]']

    done = repair(replica, client, SUMMIT)
    assert {(table, kind): getattr(one, kind) for table, one in done.mended.items()
            for kind in ("missing", "changed", "extra") if getattr(one, kind)} == DAMAGE  # fmt: skip
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    assert (8, replica.position(SUMMIT)) == position
    assert verify(replica, client, SUMMIT).is_equal
    assert repair(replica, client, SUMMIT).mended == {}


@crossed
def test_what_the_log_has_yet_to_bring_is_no_difference(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 4)
    follow()
    write(source, 5, 4)
    with source.transaction("summit") as tx:
        tx.put("detector", [{"instrument": "Cam", "id": 2, "full_name": "renamed"}])
        tx.delete("detector", [{"instrument": "Cam", "id": 1}])
        dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure"))
    report = verify(replica, client, SUMMIT)
    assert report.is_equal
    assert (report.replica_lsn, report.lsn) == (4, 9)
    damage(replica)
    # detector 4 is wrong, and 1 to 2 and all above are the log's to bring
    by_hand(replica, "UPDATE HERE.detector SET purpose = 'damaged' WHERE id = 2")
    assert counted(verify(replica, client, SUMMIT)) == DAMAGE
    repair(replica, client, SUMMIT)
    assert replica.position(SUMMIT).lsn == 4
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_replica_that_was_never_followed_is_compared_too(
    source: Registry, replica: Registry, client: SiteClient
) -> None:
    replica.ensure_replica(SUMMIT)
    write(source, 1, 3)
    report = verify(replica, client, SUMMIT)
    assert report.is_equal
    assert (report.replica_lsn, report.lsn) == (0, 3)


@crossed
def test_a_lost_declaration_comes_back_with_its_rows(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 4)
    follow()
    by_hand(replica, "DELETE FROM HERE.dataset_type")
    report = verify(replica, client, SUMMIT)
    assert ("dataset_type", "missing") in counted(report)
    assert {table.table for table in report.tables if not table.is_equal} == {"dataset_type", "flat"}
    repair(replica, client, SUMMIT)
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@crossed
def test_a_table_that_got_a_column_meanwhile_is_compared_as_the_follower_will_have_it(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 6)
    follow()
    with source.transaction("summit") as tx:
        (row,) = tx.select("dataset_type", ("name",), [("flat",)])
        known = DatasetType.from_row(row)
        wider = attrs.evolve(known, metadata=(*known.metadata, Field("level", LogicalType.FLOAT64)))
        tx.connection.exec_driver_sql('ALTER TABLE "summit".ds_flat ADD COLUMN level DOUBLE PRECISION')
        tx.put("dataset_type", [wider.to_row()])
    with source.transaction("summit") as tx:
        (flat,) = tx.select("flat", ("detector",), [(5,)])
        tx.put("flat", [{**flat, "level": 0.5}])
    assert verify(replica, client, SUMMIT).is_equal
    damage(replica)
    assert counted(verify(replica, client, SUMMIT)) == DAMAGE
    repair(replica, client, SUMMIT)
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    assert verify(replica, client, SUMMIT).is_equal


def test_verifies_and_repairs_while_a_writer_writes_and_a_follower_follows(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 8)
    follow()
    stopping, written = threading.Event(), threading.Semaphore(0)

    def keep_writing() -> None:
        number = 8
        while not stopping.is_set():
            number += 1
            write(source, number)
            written.release()

    follower = Follower(replica, client, SUMMIT, "base")
    writer = threading.Thread(target=keep_writing)
    follower.start()
    writer.start()
    try:
        seen = []
        for _ in range(4):
            assert written.acquire(timeout=60)
            report = verify(replica, client, SUMMIT)
            assert report.is_equal, report.differences
            seen.append(report.lsn)
        assert seen == sorted(seen)
        assert seen[-1] > seen[0]
        damage(replica)
        assert counted(verify(replica, client, SUMMIT)) == DAMAGE
        repair(replica, client, SUMMIT)
        assert verify(replica, client, SUMMIT).is_equal
    finally:
        stopping.set()
        writer.join()
        follower.stop()
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@crossed
def test_a_replica_of_another_history_is_told_so_and_repaired_by_copying_what_differs(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 4)
    follow()
    held = source.get(SUMMIT)
    state = log_tables(held.physical).state
    with source.database.write(held.physical) as connection:
        connection.execute(sa.update(state).values(epoch="anew", chain=bytes(16)))
        connection.execute(sa.delete(log_tables(held.physical).log))
    by_hand(replica, "DELETE FROM HERE.detector WHERE id = 3")
    with pytest.raises((EpochError, LogGapError)):
        verify(replica, client, SUMMIT)
    done = repair(replica, client, SUMMIT)
    assert done.copied
    assert {table: one.missing for table, one in done.mended.items()} == {"detector": 1}
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    assert replica.position(SUMMIT).epoch == "anew"


def test_a_sites_own_schema_is_no_replica(replica: Registry, client: SiteClient) -> None:
    with pytest.raises(UserError, match="owned by base itself"):
        verify(replica, client, SchemaId("base", "base"))
