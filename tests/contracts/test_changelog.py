"""Replication between registries of each kind: through a real server, entry by entry or by copy, and proven equal."""

from __future__ import annotations

import concurrent.futures
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.changelog import LogState, log_state, read_entries
from federation.changelog.log import log_tables
from federation.errors import ConflictError, EpochError, LogGapError, NotFoundError
from federation.model.position import GENESIS, SchemaId
from federation.registry.registry import Registry
from federation.replication.apply import apply_entries
from federation.replication.follower import Follower
from federation.replication.publisher import Publisher
from federation.replication.snapshots import stamp_all
from federation.replication.state import Apply, FollowerState
from federation.replication.verify import verify
from federation.wire.client import SiteClient
from federation.wire.messages import BootstrapFrom, FollowFrom
from federation.wire.server import build_server

#: each database on either side, where nothing depends on the pair
crossed = pytest.mark.parametrize(
    ("kind", "replica"), [("sqlite", "postgresql"), ("postgresql", "sqlite")], indirect=True
)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
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


class _Service:
    """A site that publishes; its other calls are for other tests."""

    def __init__(self, registry: Registry) -> None:
        publisher = self.publisher = Publisher(registry)
        self.follow, self.bootstrap, self.digest = publisher.follow, publisher.bootstrap, publisher.digest


@pytest.fixture
def client(source: Registry) -> Iterator[SiteClient]:
    service = _Service(source)
    server = build_server(service, "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
    server.start()
    with SiteClient("summit", server.address) as client:
        yield client
    service.publisher.stop()
    server.stop(0)


@pytest.fixture
def follow(replica: Registry, client: SiteClient) -> Callable[[], int]:
    def once() -> int:
        return Follower(replica, client, SUMMIT, "base").run_once().lsn

    return once


def _start(registry: Registry, **changes: object) -> FollowFrom:
    start = FollowFrom(SUMMIT, "", 0, GENESIS, "test", registry.universe.fingerprint)
    return attrs.evolve(start, **changes)


def test_a_replica_has_the_rows_of_its_source(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 5)
    assert follow() == 5
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    write(source, 6, 3)
    assert follow() == 8
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_deleted_and_changed_rows_are_so_in_the_replica(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 3)
    follow()
    with source.transaction("summit") as tx:
        gone = tx.select("flat", ("detector",), [(1,)])[0]
        kept = tx.select("flat", ("detector",), [(2,)])[0]
        tx.delete("flat", [gone])
        tx.delete("detector", [{"instrument": "Cam", "id": 1}])
        # takes over the unique values of the deleted one, and leaves its own to another
        tx.put("flat", [{**kept, "detector": 1}])
        tx.put("flat", [{**gone, "detector": 2}])
        tx.put("detector", [{"instrument": "Cam", "id": 2, "full_name": "renamed"}])
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_many_rows_are_inserted_replaced_and_keep_every_value(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 2)
    for names in (range(200), range(100, 300)):
        with source.transaction("summit") as tx:
            tx.put(
                "visit",
                [
                    {
                        "instrument": "Cam", "id": number, "name": f"a\tb\\N{number}\n", "day_obs": 3,
                        "physical_filter": "r1", "region": b"\\x00\xff" if number % 2 else None,
                        "timespan_begin": -number, "exposure_time": number / 3 + names[0],
                    }
                    for number in names
                ],
            )  # fmt: skip
        follow()
        assert rows(replica, SUMMIT) == rows(source, SUMMIT)
    with source.transaction("summit") as tx:
        flats = tx.select("flat", ("run",), [("run/a",)])
        new = [source.new_id() for _ in range(80)]
        tx.delete("flat", flats)
        # ids are new, the unique values of two of them are those of deleted rows
        tx.put("flat", [{**flats[0], "dataset_id": one, "detector": n} for n, one in enumerate(new)])
    with source.transaction("summit") as tx:
        here = tx.select("flat", ("run",), [("run/a",)])
        tx.put("flat", [{**row, "detector": row["detector"] + 1000} for row in here])
        tx.put("flat", [{**row, "detector": 79 - row["detector"]} for row in here])
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_rows_that_swap_unique_values_over_several_transactions_are_applied_at_once(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 2)
    follow()
    for detectors in [{1: 9}, {2: 1}, {9: 2}, {2: 8}, {1: 2}, {8: 1}]:
        with source.transaction("summit") as tx:
            for old, new in detectors.items():
                tx.put("flat", [{**tx.select("flat", ("detector",), [(old,)])[0], "detector": new}])
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@crossed
def test_applying_entries_twice_changes_nothing(source: Registry, replica: Registry) -> None:
    write(source, 1, 3)
    held = source.get(SUMMIT)
    stamp_all(source, held)
    with source.database.read((held.physical,)) as connection:
        entries = read_entries(connection, held.physical, 0, 1 << 20)
        target = log_state(connection, held.physical)
    mine = replica.ensure_replica(SUMMIT)
    with replica.database.read((mine.physical,)) as connection:
        step = Apply(log_state(connection, mine.physical), tuple(entries), target)
    assert apply_entries(replica, mine, step)
    assert not apply_entries(replica, mine, step)
    assert replica.position(SUMMIT).lsn == 3
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@crossed
def test_two_followers_of_one_replica_apply_each_entry_once(
    source: Registry, replica: Registry, client: SiteClient
) -> None:
    write(source, 1, 20)
    followers = [Follower(replica, client, SUMMIT, f"base-{number}") for number in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert {status.lsn for status in pool.map(Follower.run_once, followers)} == {20}
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_commits_of_concurrent_writers_are_followed_without_a_gap(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda first: write(source, first, 5), (10, 20, 30)))
    assert follow() == 16
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@crossed
def test_a_trimmed_log_leads_to_a_copy(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 2)
    follow()
    write(source, 3, 3)
    _trim(source, 4)
    assert follow() == 5
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@crossed
def test_a_trimmed_log_is_followed_from_its_edge(
    source: Registry, replica: Registry, follow: Callable[[], int], client: SiteClient
) -> None:
    write(source, 1, 3)
    follow()
    write(source, 4, 1)
    _trim(source, 3)
    state = replica.database
    with state.read((replica.get(SUMMIT).physical,)) as connection:
        here = log_state(connection, replica.get(SUMMIT).physical)
    with client.follow(_start(source, epoch=here.epoch, lsn=here.lsn, chain=here.chain)) as stream:
        assert [entry.lsn for entry in next(stream).entries] == [4]
    with (
        client.follow(_start(source, epoch=here.epoch, lsn=3, chain=b"x" * 16)) as stream,
        pytest.raises(EpochError, match="another history"),
    ):
        next(stream)


def _trim(source: Registry, up_to_lsn: int) -> None:
    held = source.get(SUMMIT)
    stamp_all(source, held)
    log = log_tables(held.physical).log
    with source.database.write(held.physical) as connection:
        connection.execute(log.delete().where(log.c.lsn <= up_to_lsn))


@crossed
def test_a_restored_source_leads_to_a_copy(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 4)
    follow()
    held = source.get(SUMMIT)
    state = log_tables(held.physical).state
    with source.database.write(held.physical) as connection:
        connection.execute(state.update().values(epoch="another"))
    write(source, 5, 1)
    follow()
    assert replica.position(SUMMIT).epoch == "another"
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_copy_removes_what_the_source_does_not_have(
    source: Registry, replica: Registry, follow: Callable[[], int]
) -> None:
    write(source, 1, 4)
    follow()
    held = replica.get(SUMMIT)
    with replica.database.write(held.physical) as connection:
        connection.execute(
            sa.text(f'INSERT INTO "{held.physical}".instrument (name) VALUES (:n)'), {"n": "Phantom"}
        )
        connection.execute(log_tables(held.physical).state.update().values(epoch="lost"))
    follow()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"epoch": "other"}, EpochError),
        ({"lsn": 99}, EpochError),
        ({"lsn": 2}, EpochError),
        ({"schema": SchemaId("summit", "alice")}, NotFoundError),
        ({"universe_fingerprint": "x"}, ConflictError),
    ],
)
def test_refuses_a_follower_that_cannot_follow(
    source: Registry, client: SiteClient, changes: dict[str, object], error: type[Exception]
) -> None:
    write(source, 1, 3)
    with client.follow(_start(source, **changes)) as stream, pytest.raises(error):
        next(stream)


def test_refuses_a_position_before_what_is_kept(source: Registry, client: SiteClient) -> None:
    write(source, 1, 3)
    _trim(source, 2)
    with client.follow(_start(source)) as stream, pytest.raises(LogGapError, match="from 3 on"):
        next(stream)


def test_heartbeats_tell_the_head(source: Registry, client: SiteClient) -> None:
    with client.follow(_start(source)) as stream:
        first, second = next(stream), next(stream)
        assert (first.entries, second.entries, second.head_lsn) == ((), (), 0)
        write(source, 1)
        state = FollowerState(SUMMIT, LogState("", 0, GENESIS))
        while not (batch := next(stream)).entries:
            pass
        assert batch.head_lsn == 1
        assert state.on_batch(batch) is not None


def test_a_copy_is_of_one_position_while_it_is_written_to(source: Registry, client: SiteClient) -> None:
    write(source, 1, 3)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, source, 10, 20)
        copies = [
            list(client.bootstrap(BootstrapFrom(SUMMIT, "test", source.universe.fingerprint)))
            for _ in range(5)
        ]
        writing.result()
    for parts in copies:
        assert len({(part.epoch, part.lsn, part.chain) for part in parts}) == 1
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


def test_proves_a_replica_equal_and_names_each_row_that_is_not(
    source: Registry, replica: Registry, client: SiteClient, follow: Callable[[], int]
) -> None:
    write(source, 1, 6)
    follow()
    report = verify(replica, client, SUMMIT)
    assert report.is_equal
    assert report.lsn == 6
    assert report.differences == ()

    held = replica.get(SUMMIT)
    with replica.database.write(held.physical) as connection:
        name = f'"{held.physical}"'
        connection.execute(sa.text(f"UPDATE {name}.detector SET full_name = 'x' WHERE id = 2"))
        connection.execute(sa.text(f"DELETE FROM {name}.detector WHERE id = 3"))
        connection.execute(sa.text(f"INSERT INTO {name}.instrument (name) VALUES ('Phantom')"))
    report = verify(replica, client, SUMMIT)
    assert not report.is_equal
    assert {(d.table, d.key, d.kind) for d in report.differences} == {
        ("detector", '["Cam", 2]', "changed"),
        ("detector", '["Cam", 3]', "missing"),
        ("instrument", '["Phantom"]', "extra"),
    }
