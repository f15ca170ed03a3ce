"""Trimming, restoring and beginning epochs, killed at every point or on a full disk: no history is lost or made up."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from forked import run_command
from replicated_rows import SUMMIT, numbered_elsewhere, open_registry, rows, write
from site_processes import ACTOR, Sites

from federation.changelog import chain_hash, log_state, read_entries
from federation.changelog.floor import floor_of
from federation.changelog.retention import count_entries
from federation.config import LogConfig, SiteConfig, render_site
from federation.errors import CorruptionError, LimitError
from federation.history_verbs import backup_site, restore_site
from federation.killpoints import KILLPOINTS
from federation.registry.registry import Registry
from federation.registry.restoring import run_script
from federation.replication.acknowledged import Acknowledged
from federation.replication.follower import Follower
from federation.replication.shown import ShownPositions
from federation.replication.snapshots import stamp_all
from federation.services.log_keeping import LogKeeper
from federation.storage import PostgresDatabase
from federation.wire.client import SiteClient

pytestmark = pytest.mark.slow

TRIM_POINTS = ("trim.before_commit", "trim.after_commit")
RESTORE_POINTS = (
    "epoch.before_commit",
    "epoch.after_commit",
    "restore.before_replace",
    "restore.after_replace",
)


def _write(config: SiteConfig, first: int, count: int) -> None:
    with Registry.open(config) as registry:
        write(registry, first, count)
        stamp_all(registry, registry.get(SUMMIT))


def _detectors(config: SiteConfig) -> list[int]:
    with Registry.open(config) as registry:
        return sorted(int(str(row[1])) for row in rows(registry, SUMMIT)["detector"])


def _check_log(config: SiteConfig) -> tuple[int, int]:
    """(first, last) entry of a log that must be whole between its floor and its end."""
    with Registry.open(config) as registry:
        held = registry.get(SUMMIT)
        with registry.database.read((held.physical,)) as connection:
            floor, state = floor_of(connection, held.physical), log_state(connection, held.physical)
            lsn, chain = floor.lsn, floor.chain
            for entry in read_entries(connection, held.physical, floor.lsn, 1 << 30):
                lsn, chain = lsn + 1, chain_hash(chain, entry.digest)
                assert (entry.lsn, entry.chain) == (lsn, chain)
            assert (lsn, chain) == (state.lsn, state.chain)
        return floor.lsn + 1, lsn


def _equal(sites: Sites) -> None:
    with Registry.open(sites.summit) as summit, Registry.open(sites.base) as base:
        assert rows(base, SUMMIT) == rows(summit, SUMMIT)
        assert base.position(SUMMIT) == summit.position(SUMMIT)


def _trims_all(config: SiteConfig) -> SiteConfig:
    """The site with a log that is kept for no longer than followers need it."""
    config.path.write_text(config.path.read_text() + "\n[log]\nkeep_s = 0\nfollower_timeout_s = 0\n")
    return SiteConfig.load(config.path)


def _put_back(config: SiteConfig, backup: Path) -> None:
    """As an operator would who knows nothing of epochs."""
    if config.registry.kind == "sqlite":
        shutil.rmtree(config.registry_dir)
        shutil.copytree(backup, config.registry_dir)
    else:
        with Registry.open(config) as registry, registry.database.write("federation") as connection:
            run_script(connection, backup / "registry.sql")


@pytest.mark.parametrize("point", TRIM_POINTS)
def test_a_server_killed_while_it_trims_leaves_a_whole_log(sites: Sites, point: str) -> None:
    _write(sites.summit, 1, 3)
    sites.serve_here(sites.summit)
    sites.follow_here()
    sites.end()
    _write(sites.summit, 4, 3)
    summit = _trims_all(sites.summit)
    server = sites.start("serve", summit, kill=point)
    assert server.wait(60) == -signal.SIGKILL
    assert _check_log(summit) == ((1, 6) if point == "trim.before_commit" else (6, 6))
    _write(summit, 7, 2)
    sites.serve_here(summit)
    sites.follow_here()  # it stands before what is kept, in the second case, and copies
    _equal(sites)


@pytest.mark.parametrize("point", RESTORE_POINTS)
def test_a_restore_that_was_killed_is_done_again(sites: Sites, tmp_path: Path, point: str) -> None:
    _write(sites.summit, 1, 3)
    backup = backup_site(str(sites.summit.path), tmp_path / "saved")
    sites.serve_here(sites.summit)
    sites.follow_here()
    _write(sites.summit, 4, 2)
    sites.follow_here()
    sites.end()
    command = ("site", "restore", sites.summit.path, "--from", backup, "--yes")
    assert run_command(*command, kill=point) == -signal.SIGKILL
    assert run_command(*command) == 0
    assert _detectors(sites.summit) == [1, 2, 3]
    assert _check_log(sites.summit) == (1, 3)
    _write(sites.summit, 10, 4)
    sites.serve_here(sites.summit)
    sites.follow_here()
    _equal(sites)
    assert _detectors(sites.base) == [1, 2, 3, 10, 11, 12, 13]


@pytest.mark.parametrize("regrown", [1, 5])
def test_a_follower_keeps_its_rows_until_its_source_is_restored_rightly(
    sites: Sites, tmp_path: Path, regrown: int
) -> None:
    _write(sites.summit, 1, 3)
    backup = backup_site(str(sites.summit.path), tmp_path / "saved")
    _write(sites.summit, 4, 3)
    server = sites.start("serve", sites.summit)
    sites.follow_here()
    server.kill()  # what was shown is known all the same
    server.wait()
    _put_back(sites.summit, backup)
    _write(sites.summit, 100, regrown)  # with the last of them the log is past where its follower is
    sites.serve_here(sites.summit)
    with (
        Registry.open(sites.base) as base,
        SiteClient("summit", str(sites.base.peers[0].address)) as client,
    ):
        before = rows(base, SUMMIT)
        with pytest.raises(CorruptionError, match="is not published"):
            Follower(base, client, SUMMIT, "base").run_once(timeout_s=1.0)
        assert rows(base, SUMMIT) == before
    sites.end()
    restore_site(str(sites.summit.path))
    sites.serve_here(sites.summit)
    sites.follow_here()
    _equal(sites)
    assert _detectors(sites.base) == [1, 2, 3, *range(100, 100 + regrown)]


def test_a_writer_that_may_write_no_more_loses_nothing(sites: Sites, kind: str) -> None:
    if kind != "sqlite":
        pytest.skip("the files of a PostgreSQL server are not this process's")
    _write(sites.summit, 1, 5)

    def limit() -> None:  # as a quota would, without being root
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    command = [sys.executable, str(ACTOR), "write", str(sites.summit.path), "6", "200"]
    done = subprocess.run(command, preexec_fn=limit, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "LimitError" in done.stderr.splitlines()[-1], done.stderr
    first, last = _check_log(sites.summit)
    assert first == 1
    assert _detectors(sites.summit) == list(range(1, last + 1))
    _write(sites.summit, last + 1, 2)
    assert _check_log(sites.summit) == (1, last + 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(directory)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def test_trimming_on_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "summit.toml"
    path.write_text(render_site("summit", small_disk / "summit", "127.0.0.1:0"))
    config = SiteConfig.load(path)
    with Registry.create(config) as registry:
        shown = ShownPositions(registry, config.shown_dir)
        keeper = LogKeeper(registry, LogConfig(keep_s=-1.0), Acknowledged(registry), shown)
        write(registry, 1, 5)
        shown.check(registry.get(SUMMIT))
        _fill(small_disk / "ballast")
        with pytest.raises(LimitError):
            write(registry, 6, 200)
        assert keeper.keep() == 0
        assert "free some space" in keeper.problem(SUMMIT)
    (small_disk / "ballast").unlink()
    first, last = _check_log(config)
    assert first == 1
    assert _detectors(config) == list(range(1, last + 1))
    with Registry.open(config) as registry:
        keeper = LogKeeper(registry, LogConfig(keep_s=-1.0), Acknowledged(registry), shown)
        assert keeper.keep() == last - 1
        assert not keeper.problems
        write(registry, last + 1, 2)
    assert _check_log(config) == (last, last + 2)


@pytest.fixture
def small_tablespace(small_disk: Path, postgres_url: str) -> Iterator[str]:
    """A tablespace of the PostgreSQL server on the small disk, where this process may make one."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        if not Path(data).is_dir():
            pytest.skip("the PostgreSQL server is on another machine")
        directory = Path(tempfile.mkdtemp(prefix="federation-small-", dir="/tmp"))
        directory.chmod(0o755)
        subprocess.run(["mount", "--bind", str(small_disk), str(directory)], check=True)
        os.chown(directory, Path(data).stat().st_uid, Path(data).stat().st_gid)
        directory.chmod(0o700)
        name = f"small_{uuid.uuid4().hex}"
        try:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{directory}'")
            yield name
            connection.execute(f"DROP TABLESPACE {name}")
        finally:
            subprocess.run(["umount", "-l", str(directory)], check=True)
            directory.rmdir()


@pytest.mark.parametrize("are_numbered", [True, False])
def test_a_full_tablespace_stops_writers_and_loses_nothing(
    postgres_url: str, small_tablespace: str, tmp_path: Path, are_numbered: bool
) -> None:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        url = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        try:
            with open_registry(PostgresDatabase(url, label="test"), "summit") as registry:
                _fill_tablespace(registry, url, small_tablespace, tmp_path, are_numbered=are_numbered)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _fill_tablespace(
    registry: Registry, url: str, tablespace: str, tmp_path: Path, *, are_numbered: bool
) -> None:
    def put(count: int, text: str = "") -> None:
        for _ in range(count):
            with registry.transaction("summit") as tx:
                # nothing that compresses well
                tx.put("instrument", [{"name": "Cam", "class_name": text or secrets.token_hex(50_000)}])

    def lsn() -> int:
        stamp_all(registry, registry.get(SUMMIT))
        return registry.position(SUMMIT).lsn

    shown = ShownPositions(registry, tmp_path / "shown")
    keeper = LogKeeper(registry, LogConfig(keep_s=-1.0), Acknowledged(registry), shown)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE summit.change_log SET TABLESPACE {tablespace}")
        put(9)
        assert lsn() == 9
        count_entries(registry.database, "summit")
        with (
            nullcontext() if are_numbered else numbered_elsewhere(registry),
            pytest.raises(LimitError, match="No space left"),
        ):
            put(1000)
        count = (connection.execute("SELECT count(*) FROM summit.change_log").fetchone() or (0,))[0]
        assert count > 9
        if are_numbered:  # nothing is to be written but what goes
            assert lsn() == count
            assert keeper.keep() == count - 1
            assert keeper.problem(SUMMIT) == ""
            connection.execute("ALTER TABLE summit.change_log SET TABLESPACE pg_default")
            put(1, "again")
            assert lsn() == count + 1
            assert not keeper.problems
            return
        with pytest.raises(LimitError):
            lsn()  # numbering takes space too
        keeper.keep()
        assert "No space left" in keeper.problem(SUMMIT)
        first = connection.execute("SELECT min(lsn) FROM summit.change_log").fetchone()
        assert first == (9,)
        kept = (connection.execute("SELECT count(*) FROM summit.change_log").fetchone() or (0,))[0]
        connection.execute("ALTER TABLE summit.change_log SET TABLESPACE pg_default")  # there is space again
        put(1, "again")
        assert lsn() == 9 + kept
        assert keeper.keep() == kept
        assert not keeper.problems


def test_every_point_of_a_history_is_killed_at() -> None:
    points = {point for point in KILLPOINTS if point.startswith(("trim.", "epoch.", "restore."))}
    assert points == {*TRIM_POINTS, *RESTORE_POINTS}


def _fill(ballast: Path) -> None:
    """Use all the space there is."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
