"""Epochs on both databases: a restored or copied registry is noticed before a wrong row is applied anywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

from federation.changelog import LogState, log_state
from federation.changelog.epochs import epochs
from federation.changelog.log import log_tables
from federation.changelog.retention import count_entries, trim
from federation.config import SiteConfig, render_site
from federation.errors import (
    ConflictError,
    CorruptionError,
    EpochError,
    LogGapError,
    NotFoundError,
    UnavailableError,
    UserError,
)
from federation.history_verbs import backup_site, forget_replica, restore_site, site_log
from federation.model.position import SchemaId
from federation.registry.registry import Registry
from federation.registry.schema_admin import drop_schema
from federation.registry.schemas import HeldSchema
from federation.replication.high_water import HighWater, HighWaterFile
from federation.replication.positions import check_position
from federation.replication.publisher import Publisher
from federation.replication.shown import ShownPositions, begin_new_epoch
from federation.replication.snapshots import stamp_all
from federation.services.server_lock import ServerLock
from federation.services.site_server import SiteServer
from federation.wire.messages import Acknowledgement, FollowFrom

BASE = SchemaId("base", "base")


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SiteConfig:
    """Site base, made and empty."""
    if kind == "postgresql":
        monkeypatch.setenv("BASE_URL", request.getfixturevalue("fresh_postgres_database"))
    path = tmp_path / "base.toml"
    variable = "BASE_URL" if kind == "postgresql" else ""
    path.write_text(render_site("base", tmp_path / "base", "127.0.0.1:0", registry_url_env=variable))
    config = SiteConfig.load(path)
    Registry.create(config).close()
    return config


@pytest.fixture
def registry(config: SiteConfig) -> Iterator[Registry]:
    with Registry.open(config) as registry:
        yield registry


def write(registry: Registry, first: int, count: int = 1, text: str = "x") -> None:
    for number in range(first, first + count):
        with registry.transaction("base") as tx:
            tx.put("instrument", [{"name": f"Cam{number}", "class_name": text}])
    stamp_all(registry, registry.get(BASE))


def names(registry: Registry) -> set[str]:
    held = registry.get(BASE)
    with registry.database.read((held.physical,)) as connection:
        table = registry.physical_tables(held.physical, tuple(registry.tables(BASE).values()))["instrument"]
        return set(connection.execute(sa.select(table.c.name)).scalars())


def at(registry: Registry, lsn: int) -> FollowFrom:
    """The position of a follower that has applied the log up to ``lsn``."""
    held = registry.get(BASE)
    log = log_tables(held.physical).log
    with registry.database.read((held.physical,)) as connection:
        chain = connection.execute(sa.select(log.c.chain).where(log.c.lsn == lsn)).scalar_one()
        epoch = log_state(connection, held.physical).epoch
    return FollowFrom(BASE, epoch, lsn, bytes(chain), "ncsa", registry.universe.fingerprint)


def check(registry: Registry, position: FollowFrom) -> str:
    held = registry.get(BASE)
    with registry.database.read((held.physical,)) as connection:
        return check_position(connection, held, position)


def publish(config: SiteConfig, registry: Registry, position: FollowFrom) -> int:
    """Follow to the end of the log; returns where that is."""
    shown = ShownPositions(registry, config.shown_dir)
    batches = Publisher(registry, shown).follow(position, lambda: True)
    try:
        for batch in batches:
            lsn = batch.entries[-1].lsn if batch.entries else batch.prev_lsn
            if lsn >= batch.head_lsn:
                return lsn
    finally:
        batches.close()  # type: ignore[attr-defined]
        shown.close()
    raise AssertionError


def genesis(registry: Registry) -> FollowFrom:
    return FollowFrom(BASE, "", 0, bytes(16), "ncsa", registry.universe.fingerprint)


def go_back(config: SiteConfig, backup: Path) -> None:
    """Put a backup in place by hand, as an operator would who knows nothing of epochs."""
    if config.registry.kind == "sqlite":
        shutil.rmtree(config.registry_dir)
        shutil.copytree(backup, config.registry_dir)
    else:
        with Registry.open(config) as registry, registry.database.write("federation") as connection:
            from federation.registry.restoring import run_script

            run_script(connection, backup / "registry.sql")


def test_a_new_epoch_continues_the_positions_of_the_one_before(registry: Registry) -> None:
    write(registry, 1, 5)
    held, old = registry.get(BASE), at(registry, 3)
    state = begin_new_epoch(registry, held, lambda: "second")
    assert (state.epoch, state.lsn) == ("second", 5)
    assert check(registry, old) == "second"
    write(registry, 6, 2)
    assert check(registry, old) == "second"
    with pytest.raises(EpochError, match=r"which left \w+ after 5"):
        check(registry, attrs.evolve(at(registry, 6), epoch=old.epoch))
    with pytest.raises(EpochError, match="another history"):
        check(registry, attrs.evolve(old, chain=b"of another log!!"))
    with pytest.raises(EpochError, match="of another log"):
        check(registry, attrs.evolve(old, epoch="unknown"))
    with registry.database.read((held.physical,)) as connection:
        assert [(one.name, one.start_lsn) for one in epochs(connection, held.physical)] == [
            (old.epoch, 0),
            ("second", 5),
        ]


def test_an_older_position_before_what_is_kept_is_a_gap(registry: Registry) -> None:
    write(registry, 1, 5)
    held, old = registry.get(BASE), [at(registry, lsn) for lsn in (1, 2, 3)]
    begin_new_epoch(registry, held)
    count_entries(registry.database, held.physical)
    trim(registry.database, held.physical, 2)
    with pytest.raises(LogGapError):
        check(registry, old[0])
    epoch = registry.position(BASE).epoch
    assert check(registry, old[1]) == check(registry, old[2]) == epoch


def test_a_relay_that_is_behind_is_not_another_history(registry: Registry) -> None:
    held = registry.ensure_replica(SchemaId("summit", "summit"))
    with registry.database.write(held.physical) as connection:
        connection.execute(log_tables(held.physical).state.update().values(epoch="e", lsn=4))
    ahead = FollowFrom(held.schema, "e", 5, b"x" * 16, "ncsa", registry.universe.fingerprint)
    with (
        registry.database.read((held.physical,)) as connection,
        pytest.raises(UnavailableError, match="known here up to 4"),
    ):
        check_position(connection, held, ahead)


@pytest.mark.parametrize("regrown", [0, 3, 7])
def test_a_restored_log_is_not_published_until_it_has_a_new_epoch(
    config: SiteConfig, tmp_path: Path, regrown: int
) -> None:
    with Registry.open(config) as registry:
        write(registry, 1, 4)
        backup = backup_site(str(config.path), tmp_path / "backup")
        write(registry, 5, 4)
        before, past = at(registry, 3), at(registry, 8)
        assert publish(config, registry, genesis(registry)) == 8
    go_back(config, backup)
    with Registry.open(config) as registry:
        assert names(registry) == {f"Cam{n}" for n in range(1, 5)}
        # other entries than those that followers have, beyond where they are in the last case
        write(registry, 100, regrown)
        for position in (before, past, genesis(registry)):
            with pytest.raises(CorruptionError, match="followers may have it up to 8") as raised:
                publish(config, registry, position)
            assert raised.value.hint == "run: federation site restore base"
            assert not isinstance(
                raised.value, EpochError | LogGapError
            )  # a follower waits, and keeps its rows
        with pytest.raises(EpochError):
            check(registry, past)
    (report,) = site_log([str(config.path)])
    assert "is not published" in report.refusal
    restored = restore_site(str(config.path)).logs[0]
    assert (restored.schema, restored.lsn, restored.shown_lsn) == (BASE, 4 + regrown, 8)
    with Registry.open(config) as registry:
        assert publish(config, registry, before) == 4 + regrown
        assert publish(config, registry, genesis(registry)) == 4 + regrown
        with pytest.raises(EpochError):
            publish(config, registry, past)
    assert site_log([str(config.path)])[0].refusal == ""


def test_a_site_is_restored_from_its_backup(config: SiteConfig, kind: str, tmp_path: Path) -> None:
    with Registry.open(config) as registry:
        write(registry, 1, 4, text="a;\n\\. b\t\\N")
        backup = backup_site(str(config.path), tmp_path / "backup")
        write(registry, 5, 2)
        registry.create_schema("alice")
        assert publish(config, registry, genesis(registry)) == 6
    report = restore_site(str(config.path), backup=backup)
    assert [(one.schema, one.lsn, one.shown_lsn) for one in report.logs] == [(BASE, 4, 6)]
    with Registry.open(config) as registry:
        assert names(registry) == {f"Cam{n}" for n in range(1, 5)}
        assert [held.schema for held in registry.held()] == [BASE]
        assert not registry.database.has_schema("alice")
        assert publish(config, registry, genesis(registry)) == 4
        write(registry, 50)
        assert registry.position(BASE).lsn == 5
        if kind == "sqlite":  # readers and the writer don't wait for each other
            with registry.database.read(("base",)) as connection:
                assert connection.exec_driver_sql('PRAGMA "base".journal_mode').scalar() == "wal"
    assert report.replaced is not None
    assert report.replaced.parent == config.root / "backup"
    again = restore_site(str(config.path), backup=report.replaced)
    assert [one.lsn for one in again.logs] == [6, 0]
    with Registry.open(config) as registry:
        assert names(registry) == {f"Cam{n}" for n in range(1, 7)}


def test_what_is_no_backup_changes_nothing(config: SiteConfig, kind: str, tmp_path: Path) -> None:
    with Registry.open(config) as registry:
        write(registry, 1, 2)
    backup = backup_site(str(config.path), tmp_path / "backup")
    with pytest.raises(ConflictError, match="is there already"):
        backup_site(str(config.path), backup)
    with pytest.raises(NotFoundError, match="is no backup of"):
        restore_site(str(config.path), backup=tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(backup, damaged)
    file = damaged / ("base.sqlite" if kind == "sqlite" else "registry.sql")
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(CorruptionError):
        restore_site(str(config.path), backup=damaged)
    if kind == "sqlite":
        file.unlink()
        with pytest.raises(CorruptionError, match="lacks"):
            restore_site(str(config.path), backup=damaged)
    with Registry.open(config) as registry:
        assert names(registry) == {"Cam1", "Cam2"}
        with registry.database.write("federation") as connection:
            connection.exec_driver_sql("UPDATE federation.registry_info SET value = '1' WHERE key = 'format'")
        old = backup_site(str(config.path), tmp_path / "old")
        with registry.database.write("federation") as connection:
            connection.exec_driver_sql("UPDATE federation.registry_info SET value = '2' WHERE key = 'format'")
    with pytest.raises(UserError, match="has registry format 1; this software restores 2"):
        restore_site(str(config.path), backup=old)
    with Registry.open(config) as registry:
        assert names(registry) == {"Cam1", "Cam2"}


def test_a_server_and_a_restore_exclude_each_other(config: SiteConfig) -> None:
    lock = ServerLock(config.root, config.name)
    with pytest.raises(ConflictError, match="already served"):
        restore_site(str(config.path))
    lock.release()
    assert restore_site(str(config.path)).replaced is None


def test_all_files_of_a_backup_are_of_one_moment(config: SiteConfig, kind: str, tmp_path: Path) -> None:
    if kind != "sqlite":
        pytest.skip("one snapshot on PostgreSQL")
    from federation.registry.migrating.backup import _at_one_moment

    with Registry.open(config) as registry:
        registry.create_schema("alice")
        paths = [config.registry_dir / f"{name}.sqlite" for name in ("federation", "base", "alice")]
        with _at_one_moment(paths) as connections:
            write(registry, 1)  # not held up
            with registry.transaction("alice") as tx:
                tx.put("instrument", [{"name": "Cam"}])
            for connection in connections[1:]:
                assert connection.execute("SELECT count(*) FROM change_log").fetchone() == (0,)


def test_a_copied_database_begins_a_new_epoch_by_itself(
    config: SiteConfig, kind: str, tmp_path: Path
) -> None:
    with Registry.open(config) as registry:
        write(registry, 1, 3)
        publish(config, registry, genesis(registry))
        old, epoch = at(registry, 2), registry.position(BASE).epoch
        backup = backup_site(str(config.path), tmp_path / "backup")
    go_back(config, backup)  # whole: it has all that followers have, and so may a twin elsewhere
    with Registry.open(config) as registry:
        assert publish(config, registry, old) == 3
        assert registry.position(BASE).epoch != epoch
        if kind == "sqlite":
            publish(config, registry, old)
            with registry.database.read(("base",)) as connection:
                assert len(epochs(connection, "base")) == 2


def test_two_copies_of_one_registry_are_told_apart(config: SiteConfig, kind: str, tmp_path: Path) -> None:
    if kind != "sqlite":
        pytest.skip("a copy of a server's data is served by another server")
    with Registry.open(config) as registry:
        write(registry, 1, 3)
        publish(config, registry, genesis(registry))
        position = at(registry, 3)
    twin_root = tmp_path / "twin"
    shutil.copytree(config.root, twin_root)  # with its mark
    twin = attrs.evolve(config, root=twin_root)
    with Registry.open(config) as registry, Registry.open(twin) as other:
        write(registry, 4, 1)
        write(other, 104, 2)
        assert publish(config, registry, position) == 4
        ahead = at(registry, 4)
        assert publish(twin, other, position) == 5
        with pytest.raises(EpochError):
            publish(twin, other, ahead)
        assert registry.position(BASE).epoch != other.position(BASE).epoch


def test_a_schema_that_was_dropped_and_made_again_is_a_new_log(
    config: SiteConfig, registry: Registry
) -> None:
    def fill(count: int) -> HeldSchema:
        held = registry.create_schema("alice")
        for number in range(count):
            with registry.transaction("alice") as tx:
                tx.put("instrument", [{"name": f"Cam{number}"}])
        stamp_all(registry, held)
        return held

    shown = ShownPositions(registry, config.shown_dir)
    for count in (3, 1):
        held = fill(count)
        with registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
        shown.show(held, state)
        drop_schema(registry, "alice", force=True)
    held = fill(2)
    shown.close()
    shown.check(held)
    assert shown.refusal(held) == ""


def test_a_lost_or_damaged_mark(config: SiteConfig, registry: Registry) -> None:
    write(registry, 1, 2)
    held, shown = registry.get(BASE), ShownPositions(registry, config.shown_dir)
    shown.check(held)
    shown.close()
    file = config.shown_dir / "base.shown"
    content = file.read_bytes()
    file.write_bytes(bytes(len(content)))
    with pytest.raises(CorruptionError, match="is damaged"):
        shown.check(held)
    file.unlink()
    ShownPositions(registry, config.shown_dir).check(held)
    assert file.exists()


def test_a_mark_survives_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "base.shown"
    file = HighWaterFile(path)
    file.replace(HighWater(epochs=("e",), lsn=1, chain=b"1" * 16, identity="i"))
    for lsn in range(2, 6):
        file.advance(lsn, b"%016d" % lsn)
        assert HighWaterFile.open(path).mark == file.mark
        if lsn % 2:
            file.sync()
    file.sync()
    file.advance(6, b"6" * 16)  # not made durable: of this write anything may be left
    for slot in (0, 4096):
        content = bytearray(path.read_bytes())
        if (HighWaterFile.open(path).mark or file.mark).lsn == 6:
            content[slot + 30] ^= 0xFF
            torn = tmp_path / f"{slot}.shown"
            torn.write_bytes(content)
            found = HighWaterFile.open(torn).mark
            assert found is not None
            assert found.lsn in (5, 6)
    file.advance(4, b"4" * 16)
    assert file.mark is not None
    assert file.mark.lsn == 6
    file.close()


def test_followers_are_listed_and_forgotten(config: SiteConfig, registry: Registry) -> None:
    write(registry, 1, 5)
    epoch = registry.position(BASE).epoch
    server = SiteServer(config)
    server.start()
    try:
        server.acknowledge(Acknowledgement(BASE, "ncsa", epoch, 3))
    finally:
        server.stop()
    (report,) = site_log([str(config.path)])
    (one,) = report.followers
    assert (one.follower.name, one.lag_lsn, one.is_waited_for) == ("ncsa", 2, True)
    assert (report.first_lsn, report.head_lsn, report.to_trim.entry_count) == (1, 5, 0)
    assert forget_replica("ncsa", site=str(config.path)) == (BASE,)
    with pytest.raises(NotFoundError, match="knows no follower 'ncsa'"):
        forget_replica("ncsa", site=str(config.path))
    assert site_log([str(config.path)])[0].followers == ()


def test_a_server_tells_that_a_log_is_not_published(config: SiteConfig, registry: Registry) -> None:
    write(registry, 1, 2)
    held, shown = registry.get(BASE), ShownPositions(registry, config.shown_dir)
    shown.show(held, LogState(registry.position(BASE).epoch, 2, b""))
    shown.show(held, LogState(registry.position(BASE).epoch, 9, b"never written..."))
    shown.close()
    server = SiteServer(config)
    server.start()
    try:
        assert server._logs.keep() == 0
        (status,) = server.status().schemas
        assert "ends at 2; followers may have it up to 9" in status.detail
    finally:
        server.stop()
