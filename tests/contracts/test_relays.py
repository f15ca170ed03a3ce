"""Relays on both databases: ncsa follows the summit through base, and the path may change at any time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest
from publishing_sites import Site, eventually
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.changelog.followers import followers
from federation.errors import FederationError, UnavailableError
from federation.model.position import GENESIS, SchemaId
from federation.registry.registry import Registry
from federation.replication.follower import Follower
from federation.replication.shown import begin_new_epoch
from federation.wire.messages import FollowFrom


@attrs.define
class Three:
    summit: Site
    base: Site
    ncsa: Site


@pytest.fixture(params=["sqlite", "postgresql"])
def sites(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Three]:
    """Three empty sites on one kind of database; nobody follows yet."""
    with ExitStack() as stack:
        made = [
            Site(stack.enter_context(_registry(request, tmp_path, name)))
            for name in ("summit", "base", "ncsa")
        ]
        for site in made:
            stack.callback(site.end)
        yield Three(*made)


def _registry(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> Iterator[Registry]:
    if request.param == "sqlite":
        return open_registry(database_of("sqlite", tmp_path / name), name)
    server = request.getfixturevalue("postgres_url")
    database = f"test_{uuid.uuid4().hex}"

    def run(statement: str) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(statement)

    run(f"CREATE DATABASE {database}")
    request.addfinalizer(lambda: run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)"))
    url = urlsplit(server)._replace(path=f"/{database}").geturl()
    return open_registry(database_of("postgresql", tmp_path, url), name)


def _chain(sites: Three) -> tuple[Follower, str]:
    """Base follows the summit and keeps its log; returns its follower, and where base listens."""
    follower = sites.base.follower(sites.summit.serve(), keeps_log=True)
    follower.start()
    return follower, sites.base.serve()


def _free_address() -> str:
    """Where nobody listens."""
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def test_a_replica_through_a_relay_has_the_rows_and_tells_its_path(sites: Three) -> None:
    write(sites.summit.registry, 1, 5)
    _, base_address = _chain(sites)
    eventually(lambda: sites.base.lsn() == 5, "base has it")
    follower = sites.ncsa.follower(_free_address(), ("base", base_address))
    status = follower.run_once()
    assert (status.lsn, status.path, status.lag_entries) == (5, ("summit", "base"), 0)
    assert rows(sites.ncsa.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)
    assert sites.ncsa.registry.position(SUMMIT) == sites.summit.registry.position(SUMMIT)


def test_a_relay_keeps_entries_as_they_came(sites: Three) -> None:
    write(sites.summit.registry, 1, 3)
    _chain(sites)
    eventually(lambda: sites.base.lsn() == 3, "base has it")
    assert sites.base.kept() == sites.summit.kept()


def test_the_path_changes_to_a_relay_and_back_and_the_position_is_kept(sites: Three) -> None:
    _, base_address = _chain(sites)
    direct = sites.summit.serve()
    follower = sites.ncsa.follower(direct, ("base", base_address))
    follower.start()
    write(sites.summit.registry, 1, 2)
    eventually(lambda: sites.ncsa.lsn() == 2 and follower.status().path == ("summit",), "it is followed")

    sites.summit.servers.pop().stop(0)  # the one that ncsa reaches
    write(sites.summit.registry, 3, 2)
    eventually(lambda: sites.ncsa.lsn() == 4, "it goes on through base")
    assert follower.status().path == ("summit", "base")
    assert follower.status().state == "following"

    sites.summit.serve(direct)

    def is_direct() -> bool:
        follower.owner_answers()
        return follower.status().path == ("summit",)

    eventually(is_direct, "it returns to the owner")
    write(sites.summit.registry, 5, 1)
    eventually(lambda: sites.ncsa.lsn() == 5, "it goes on from the owner")
    assert rows(sites.ncsa.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)
    assert (sites.summit.publisher.copies, sites.base.publisher.copies) == (0, 0)


def test_a_relay_passes_on_how_old_its_knowledge_is(sites: Three) -> None:
    write(sites.summit.registry, 1, 2)
    relay, base_address = _chain(sites)
    follower = sites.ncsa.follower(_free_address(), ("base", base_address))
    follower.start()
    eventually(lambda: follower.status().staleness_s is not None, "ncsa has caught up")
    sites.summit.servers.pop().stop(0)
    eventually(lambda: (relay.status().staleness_s or 0.0) > 2.5, "base hears nothing of the summit")
    # heartbeats of base go on meanwhile, and do not make it look any younger
    eventually(lambda: (follower.status().staleness_s or 0.0) > 2.5, "neither does ncsa")
    assert follower.status().state == "following"


def test_a_loop_is_refused_on_both_sides(sites: Three) -> None:
    write(sites.summit.registry, 1, 1)
    relay, base_address = _chain(sites)
    follower = sites.ncsa.follower(_free_address(), ("base", base_address), keeps_log=True)
    follower.start()
    eventually(lambda: sites.ncsa.lsn() == 1, "ncsa has it through base")
    start = FollowFrom(SUMMIT, "", 0, GENESIS, "base", sites.base.registry.universe.fingerprint)
    with (
        pytest.raises(UnavailableError, match="summit > base > ncsa: base would follow itself"),
        sites.base.client("ncsa", sites.ncsa.serve()).follow(start) as stream,
    ):
        next(stream)
    assert relay.status().path == ("summit",)


def test_a_site_that_keeps_no_log_passes_nothing_on(sites: Three) -> None:
    follower = sites.base.follower(sites.summit.serve())
    follower.run_once()
    follower = sites.ncsa.follower(_free_address(), ("base", sites.base.serve()))
    follower.start()
    refusal = "site base neither owns nor relays schema summit/summit"
    eventually(lambda: refusal in follower.status().error, "base has refused")
    assert "site summit at" in follower.status().error


def test_a_replica_that_becomes_a_relay_later_serves_copies_for_what_it_did_not_keep(sites: Three) -> None:
    write(sites.summit.registry, 1, 3)
    owner = sites.summit.serve()
    sites.base.follower(owner).run_once()
    sites.base.follower(owner, keeps_log=True).start()
    write(sites.summit.registry, 4, 1)
    eventually(lambda: sites.base.lsn() == 4, "base has it")
    assert [row[0] for row in sites.base.kept()] == [4]
    follower = sites.ncsa.follower(_free_address(), ("base", sites.base.serve()))
    assert follower.run_once().lsn == 4
    assert sites.base.publisher.copies == 1
    assert rows(sites.ncsa.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)


def test_a_log_that_is_no_longer_kept_is_forgotten(sites: Three) -> None:
    write(sites.summit.registry, 1, 2)
    owner = sites.summit.serve()
    sites.base.follower(owner, keeps_log=True).run_once()
    assert len(sites.base.kept()) == 2
    sites.base.follower(owner).run_once()
    assert sites.base.kept() == []
    write(sites.summit.registry, 3, 2)
    sites.base.follower(owner).run_once()
    sites.base.follower(owner, keeps_log=True).start()
    assert sites.base.kept() == []
    follower = sites.ncsa.follower(_free_address(), ("base", sites.base.serve()))
    assert follower.run_once().lsn == 4


def _restore(site: Site) -> None:
    """Give the log another epoch, as a restore does that has lost nothing."""
    begin_new_epoch(site.registry, site.registry.get(SUMMIT))


def test_another_epoch_of_the_same_history_passes_through_a_relay_without_a_copy(sites: Three) -> None:
    write(sites.summit.registry, 1, 3)
    _, base_address = _chain(sites)
    follower = sites.ncsa.follower(_free_address(), ("base", base_address))
    follower.start()
    eventually(lambda: sites.ncsa.lsn() == 3, "ncsa has it")
    _restore(sites.summit)
    write(sites.summit.registry, 4, 2)
    eventually(lambda: sites.ncsa.lsn() == 5, "what follows arrives")
    assert sites.ncsa.registry.position(SUMMIT) == sites.summit.registry.position(SUMMIT)
    assert rows(sites.ncsa.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)
    assert (sites.summit.publisher.copies, sites.base.publisher.copies) == (0, 0)


def test_a_relay_that_has_not_heard_of_a_new_epoch_never_brings_the_old_one_back(sites: Three) -> None:
    write(sites.summit.registry, 1, 2)
    relay, base_address = _chain(sites)
    owner = sites.summit.serve()
    sites.ncsa.follower(owner).run_once()
    eventually(lambda: sites.base.lsn() == 2, "base has it")
    relay.stop()
    _restore(sites.summit)
    write(sites.summit.registry, 3, 1)
    sites.ncsa.follower(owner).run_once()
    before = sites.ncsa.registry.position(SUMMIT)
    with pytest.raises(FederationError):  # of the owner's silence, or of the relay's epoch
        sites.ncsa.follower(_free_address(), ("base", base_address)).run_once(timeout_s=1.0)
    assert sites.ncsa.registry.position(SUMMIT) == before


def _acknowledged(site: Site) -> dict[str, int]:
    """What followers of the summit's schema have acknowledged at a site."""
    site.publisher.acknowledged.record()
    held = site.registry.get(SUMMIT)
    with site.registry.database.read((held.physical,)) as connection:
        return {one.name: one.lsn for one in followers(connection, held.physical)}


def test_each_follower_acknowledges_to_the_source_it_follows(sites: Three) -> None:
    write(sites.summit.registry, 1, 3)
    _, base_address = _chain(sites)
    follower = sites.ncsa.follower(_free_address(), ("base", base_address))
    follower.start()
    eventually(lambda: _acknowledged(sites.summit) == {"base": 3}, "base has acknowledged")
    eventually(lambda: _acknowledged(sites.base) == {"ncsa": 3}, "ncsa has acknowledged to base")


def test_several_sources_come_into_one_registry_and_several_followers_from_one(sites: Three) -> None:
    write(sites.summit.registry, 1, 2)
    write(sites.base.registry, 11, 3)
    summit, base = sites.summit.serve(), sites.base.serve()
    own = SchemaId("base", "base")
    both = [
        sites.ncsa.follower(summit),
        Follower(sites.ncsa.registry, sites.ncsa.client("base", base), own, "ncsa"),
        sites.base.follower(summit),
    ]
    sites.ncsa.followers.append(both[1])
    for follower in both:
        follower.start()
    eventually(lambda: [one.status().lsn for one in both] == [2, 3, 2], "all have caught up")
    assert rows(sites.ncsa.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)
    assert rows(sites.base.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)
    assert rows(sites.ncsa.registry, own) == rows(sites.base.registry, own)


def test_one_of_two_followers_with_one_identity_applies_and_the_other_says_so(sites: Three) -> None:
    owner = sites.summit.serve()
    pair = [sites.base.follower(owner) for _ in range(2)]
    for follower in pair:
        follower.start()

    def is_seen() -> bool:
        nonlocal number
        number += 1
        write(sites.summit.registry, number, 1)
        return any("another process applies" in follower.status().error for follower in pair)

    number = 0
    eventually(is_seen, "one was too late")
    eventually(lambda: sites.base.lsn() == number, "both together have applied all")
    assert rows(sites.base.registry, SUMMIT) == rows(sites.summit.registry, SUMMIT)
