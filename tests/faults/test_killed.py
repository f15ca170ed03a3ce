"""Processes killed at every point of writing, publishing, applying and pulling: nothing is lost, nothing doubled."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from replicated_rows import SUMMIT, rows, write
from site_processes import Sites, eventually

from federation.changelog import chain_hash, read_entries
from federation.config import SiteConfig
from federation.datastore import Datastore
from federation.errors import ConflictError, FederationError
from federation.killpoints import KILLPOINTS
from federation.model.position import GENESIS, SchemaId
from federation.registry.artifacts import Artifact, record
from federation.registry.registry import Registry
from federation.replication.snapshots import stamp_all
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient

pytestmark = pytest.mark.slow


def _equal(sites: Sites, count: int) -> None:
    """Both sites have the rows of ``count`` transactions, each once, and the log is whole."""
    with Registry.open(sites.summit) as summit, Registry.open(sites.base) as base:
        held = summit.get(SUMMIT)
        stamp_all(summit, held)
        with summit.database.read((held.physical,)) as connection:
            entries = read_entries(connection, held.physical, 0, 1 << 30)
        chain = GENESIS
        for number, entry in enumerate(entries, start=1):
            chain = chain_hash(chain, entry.digest)
            assert (entry.lsn, entry.chain) == (number, chain)
        source = rows(summit, SUMMIT)
        assert sorted(row[1] for row in source["detector"]) == list(range(1, count + 1))
        assert len(source["flat"]) == len(source["calibration"]) == count
        assert rows(base, SUMMIT) == source
        assert base.position(SUMMIT).lsn == len(entries)


def _write(config: SiteConfig, first: int, count: int) -> None:
    with Registry.open(config) as registry:
        write(registry, first, count)


@pytest.mark.parametrize("point", ["before_append", "before_commit", "after_commit"])
def test_a_killed_writer_leaves_whole_transactions(sites: Sites, point: str) -> None:
    sites.run("write", sites.summit, 1, 5, kill=f"transaction.{point}:3")
    with Registry.open(sites.summit) as summit:
        expected = [1, 2, 3] if point == "after_commit" else [1, 2]
        assert sorted(row[1] for row in rows(summit, SUMMIT)["detector"]) == expected
    _write(sites.summit, 1, 5)
    sites.serve_here(sites.summit)
    sites.follow_here()
    _equal(sites, 5)


@pytest.mark.parametrize("point", ["before_rows", "before_watermark", "before_commit", "after_commit"])
def test_a_killed_follower_resumes_where_it_was(sites: Sites, point: str) -> None:
    _write(sites.summit, 1, 4)
    sites.serve_here(sites.summit)
    sites.run("follow", sites.base, kill=f"apply.{point}")
    with Registry.open(sites.base) as base:
        found = len(rows(base, SUMMIT)["detector"])
        assert (found, base.position(SUMMIT).lsn) == ((4, 4) if point == "after_commit" else (0, 0))
    _write(sites.summit, 5, 2)
    sites.follow_here()
    _equal(sites, 6)


def test_a_follower_killed_while_it_copies_begins_again(sites: Sites) -> None:
    _write(sites.summit, 1, 4)
    sites.serve_here(sites.summit)
    sites.follow_here()
    with Registry.open(sites.base) as base:
        held = base.get(SUMMIT)
        before = rows(base, SUMMIT)
        with base.database.write(held.physical) as connection:
            connection.exec_driver_sql(f"UPDATE \"{held.physical}\".log_state SET epoch = 'lost'")
    sites.run("follow", sites.base, kill="bootstrap.before_commit")
    with Registry.open(sites.base) as base:
        assert rows(base, SUMMIT) == before
    sites.follow_here()
    _equal(sites, 4)


@pytest.mark.parametrize(
    "point", ["publisher.before_send:3", "stamp.before_commit:2", "stamp.after_commit:2"]
)
def test_a_killed_publisher_is_followed_again(sites: Sites, kind: str, point: str) -> None:
    if kind == "sqlite" and point.startswith("stamp"):
        pytest.skip("SQLite numbers entries as they are written")
    _write(sites.summit, 1, 2)
    server = sites.start("serve", sites.summit, kill=point)
    sites.serve_here(sites.base)
    number = 2
    while server.poll() is None:
        number += 1
        _write(sites.summit, number, 1)
    assert server.poll() == -signal.SIGKILL
    _write(sites.summit, number + 1, 3)
    sites.serve_here(sites.summit)
    _await(sites, number + 3)
    _equal(sites, number + 3)


def _await(sites: Sites, lsn: int) -> None:
    with SiteClient("base", str(sites.base.listen)) as client:
        eventually(lambda: _lsn(client) == lsn, f"base at lsn {lsn}")


def _lsn(client: SiteClient) -> int | None:
    try:
        return next((held.lsn for held in client.status().schemas if held.schema == SUMMIT), None)
    except FederationError:
        return None


def _add_files(sites: Sites) -> dict[Any, bytes]:
    """A file for each of three datasets at summit; returns bytes by dataset."""
    store = Datastore(sites.summit.datastore_url)
    contents: dict[Any, bytes] = {}
    with Registry.open(sites.summit) as summit:
        write(summit, 1, 3)
        with summit.transaction("summit") as tx:
            for number, row in enumerate(tx.select("flat", ("run",), [("run/a",)])):
                identity, data = row["dataset_id"], f"file {number}".encode() * 1000
                stored = store.put_stream([data], f"f{number}.fits")
                record(tx, [Artifact(identity, f"f{number}.fits", stored.size_bytes, stored.checksum)])
                contents[identity] = data
    return contents


@pytest.mark.parametrize("point", ["before_rename", "after_rename", "before_record"])
def test_a_killed_puller_leaves_no_file_undone(sites: Sites, point: str) -> None:
    contents = _add_files(sites)
    sites.serve_here(sites.summit)
    sites.run("pull", sites.base, kill=f"files.{point}")
    sites.run("pull", sites.base)
    store = Datastore(sites.base.datastore_url)
    with Registry.open(sites.base) as base:
        recorded = {row[0]: row for row in rows(base, SchemaId("base", "base"))["artifact"]}
    assert recorded.keys() == contents.keys()
    for identity, data in contents.items():
        assert recorded[identity][1] == "base"
        with store.open(recorded[identity][2]) as file:
            assert file.read() == data
    assert store.local_root is not None
    left = [path for path in store.local_root.rglob("*") if path.is_file()]
    assert len(left) == len(contents), "a temporary file remained"


def test_both_sites_killed_and_started_again_go_on(sites: Sites) -> None:
    _write(sites.summit, 1, 3)
    processes = [sites.start("serve", sites.summit), sites.start("serve", sites.base)]
    _await(sites, 3)
    for number in (4, 7):
        for process in processes:
            process.kill()
            process.wait()
        _write(sites.summit, number, 3)
        processes = [sites.start("serve", config) for config in (sites.base, sites.summit)]
        _await(sites, number + 2)
    _equal(sites, 9)


def test_a_second_server_of_a_site_is_refused(sites: Sites) -> None:
    process = sites.start("serve", sites.summit)
    with pytest.raises(ConflictError, match=f"already served by process {process.pid}"):
        SiteServer(sites.summit)
    process.terminate()
    assert process.wait(30) == 0
    server = SiteServer(sites.summit)
    server.start()
    server.stop()


def test_a_schema_made_while_serving_is_followed(sites: Sites) -> None:
    sites.serve_here(sites.summit)
    sites.serve_here(sites.base)
    _await(sites, 0)
    alice = SchemaId("summit", "alice")
    with Registry.open(sites.summit) as summit:
        summit.create_schema("alice")
    with SiteClient("base", str(sites.base.listen)) as client:
        eventually(
            lambda: any(s.schema == alice and s.state == "following" for s in client.status().schemas),
            "base follows summit/alice",
        )


def test_every_killpoint_is_killed_at() -> None:
    tested = (
        {f"transaction.{point}" for point in ("before_append", "before_commit", "after_commit")}
        | {f"apply.{point}" for point in ("before_rows", "before_watermark", "before_commit", "after_commit")}
        | {f"files.{point}" for point in ("before_rename", "after_rename", "before_record")}
        | {"bootstrap.before_commit", "publisher.before_send", "stamp.before_commit", "stamp.after_commit"}
    )
    # the others are killed at by the tests of what they are in
    elsewhere = ("migration.", "trim.", "epoch.", "restore.", "copy.", "repair.", "cache.", "retire.")
    assert tested == {point for point in KILLPOINTS if not point.startswith(elsewhere)}
