"""How long logs are kept, on both databases: by age, by size, and for the followers that are still heard of."""

from __future__ import annotations

import threading
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

from federation.changelog import chain_hash, log_state, read_entries
from federation.changelog.epochs import Epoch, epochs
from federation.changelog.floor import floor_of
from federation.changelog.followers import (
    RegisteredFollower,
    followers,
    forget_follower,
    record_follower,
)
from federation.changelog.log import log_tables
from federation.changelog.retention import (
    ENTRY_BYTES,
    TRIM_BATCH,
    count_entries,
    held_for,
    plan_trim,
    restart_log,
    trim,
)
from federation.config import LogConfig
from federation.errors import EpochError, LimitError, LogGapError
from federation.model.position import GENESIS, SchemaId
from federation.registry.registry import Registry
from federation.registry.schemas import HeldSchema
from federation.replication.acknowledged import Acknowledged
from federation.replication.positions import check_position
from federation.replication.publisher import Publisher
from federation.replication.shown import ShownPositions
from federation.replication.snapshots import stamp_all
from federation.services.log_keeping import LogKeeper
from federation.storage import SqliteDatabase
from federation.wire.messages import BootstrapFrom, FollowFrom

BASE = SchemaId("base", "base")
DAY_NS = 86_400 * 10**9
NOTHING = LogConfig(keep_s=0.0, follower_timeout_s=60.0)


@attrs.define
class Clock:
    now: int = 1_000 * DAY_NS

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(registry: Registry) -> Clock:
    clock = Clock()
    registry.clock = clock
    return clock


@pytest.fixture
def held(registry: Registry) -> HeldSchema:
    return registry.get(BASE)


def write(registry: Registry, count: int, first: int = 1, text: str = "x") -> None:
    for number in range(first, first + count):
        with registry.transaction("base") as tx:
            tx.put("instrument", [{"name": f"Cam{number}", "class_name": text}])
    stamp_all(registry, registry.get(BASE))


def kept(registry: Registry, held: HeldSchema) -> list[int]:
    with registry.database.read((held.physical,)) as connection:
        return [entry.lsn for entry in read_entries(connection, held.physical, 0, 1 << 30)]


def keeper(registry: Registry, config: LogConfig, tmp_path: Path) -> LogKeeper:
    return LogKeeper(registry, config, Acknowledged(registry), ShownPositions(registry, tmp_path / "shown"))


def acknowledge(registry: Registry, held: HeldSchema, name: str, lsn: int, epoch: str = "") -> None:
    with registry.database.write(held.physical) as connection:
        epoch = epoch or log_state(connection, held.physical).epoch
        record_follower(connection, held.physical, name, epoch, lsn, registry.clock())


def start(registry: Registry, held: HeldSchema, lsn: int) -> FollowFrom:
    with registry.database.read((held.physical,)) as connection:
        state, chain = log_state(connection, held.physical), GENESIS
        log = log_tables(held.physical).log
        found = connection.execute(sa.select(log.c.chain).where(log.c.lsn == lsn)).scalar()
        chain = GENESIS if found is None else bytes(found)
    return FollowFrom(BASE, state.epoch if lsn else "", lsn, chain, "ncsa", registry.universe.fingerprint)


def check(registry: Registry, held: HeldSchema, position: FollowFrom) -> str:
    with registry.database.read((held.physical,)) as connection:
        return check_position(connection, held, position)


def test_entries_older_than_the_limit_go_and_the_last_stays(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    write(registry, 3)
    clock.now += 10 * DAY_NS
    write(registry, 2, first=4)
    assert keeper(registry, LogConfig(keep_s=20 * 86_400), tmp_path).keep() == 0
    assert keeper(registry, LogConfig(keep_s=5 * 86_400), tmp_path).keep() == 3
    assert kept(registry, held) == [4, 5]
    clock.now += 10 * DAY_NS
    assert keeper(registry, NOTHING, tmp_path).keep() == 1
    assert kept(registry, held) == [5]
    assert keeper(registry, NOTHING, tmp_path).keep() == 0


def test_a_trimmed_log_goes_on_where_it_was(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    write(registry, 4)
    clock.now += DAY_NS
    keeper(registry, NOTHING, tmp_path).keep()
    write(registry, 2, first=5)
    with registry.database.read((held.physical,)) as connection:
        floor = floor_of(connection, held.physical)
        chain = floor.chain
        for entry in read_entries(connection, held.physical, floor.lsn, 1 << 30):
            chain = chain_hash(chain, entry.digest)
            assert entry.chain == chain
        assert (entry.lsn, entry.chain) == (6, log_state(connection, held.physical).chain)


def test_entries_that_a_live_follower_lacks_stay(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    write(registry, 6)
    clock.now += DAY_NS
    acknowledge(registry, held, "ncsa", 5)
    acknowledge(registry, held, "laptop", 2)
    assert keeper(registry, NOTHING, tmp_path).keep() == 2
    assert kept(registry, held) == [3, 4, 5, 6]
    clock.now += 59 * 10**9
    acknowledge(registry, held, "ncsa", 5)
    assert keeper(registry, NOTHING, tmp_path).keep() == 0
    clock.now += 2 * 10**9  # the laptop has not been heard of for 61 s
    assert keeper(registry, NOTHING, tmp_path).keep() == 3
    assert kept(registry, held) == [6]


def test_a_clock_that_is_set_back_trims_nothing(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    write(registry, 4)
    acknowledge(registry, held, "laptop", 0)
    clock.now -= 100 * DAY_NS
    assert keeper(registry, NOTHING, tmp_path).keep() == 0
    assert held_for(
        [RegisteredFollower("laptop", "e", 0, clock.now + DAY_NS)], [Epoch("e", 0, b"", 0)], 1.0, clock.now
    ) == {"laptop": 0}


def test_the_cap_on_size_wins_over_age_and_followers(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    write(registry, 10, text="x" * 500)
    acknowledge(registry, held, "laptop", 3)
    acknowledge(registry, held, "ncsa", 9)
    size = count_entries(registry.database, held.physical).size_bytes
    cap = LogConfig(keep_s=float("inf"), keep_bytes=size // 2)
    with registry.database.read((held.physical,)) as connection:
        needed = held_for(
            followers(connection, held.physical), epochs(connection, held.physical), 60.0, clock()
        )
        plan = plan_trim(connection, held.physical, cap, needed, clock())
    assert plan.left_behind == ("laptop",)
    assert plan.lsn == plan.entry_count > 3
    assert keeper(registry, cap, tmp_path).keep() == plan.entry_count
    left = count_entries(registry.database, held.physical).size_bytes
    assert left == size - plan.size_bytes <= size // 2
    assert keeper(registry, LogConfig(keep_bytes=1), tmp_path).keep() > 0
    assert kept(registry, held) == [10]


def test_the_account_of_the_size_is_that_of_the_entries(registry: Registry, held: HeldSchema) -> None:
    write(registry, 7)
    log = log_tables(held.physical).log

    def measured() -> int:
        with registry.database.read((held.physical,)) as connection:
            return sum(
                size + ENTRY_BYTES
                for size in connection.execute(sa.select(sa.func.length(log.c.body))).scalars()
            )

    assert count_entries(registry.database, held.physical).size_bytes == measured()
    trim(registry.database, held.physical, 4)
    write(registry, 3, first=8)
    assert count_entries(registry.database, held.physical).size_bytes == measured()


def test_a_long_log_is_trimmed_in_short_transactions(registry: Registry, held: HeldSchema) -> None:
    write(registry, 1)
    tables, count = log_tables(held.physical), 3 * TRIM_BATCH // 2
    with registry.database.write(held.physical) as connection:
        row = dict(connection.execute(sa.select(tables.log)).one()._mapping)
        more = [
            row | {"entry_id": row["entry_id"] + n, "lsn": 1 + n, "chain": b"%016d" % n}
            for n in range(1, count)
        ]
        connection.execute(tables.log.insert(), more)
        connection.execute(tables.state.update().values(lsn=count, chain=more[-1]["chain"]))
    count_entries(registry.database, held.physical)
    assert trim(registry.database, held.physical, count) == TRIM_BATCH
    assert trim(registry.database, held.physical, count) == count - 1 - TRIM_BATCH
    assert trim(registry.database, held.physical, count) == 0
    assert kept(registry, held) == [count]


def test_writers_and_trimming_get_on(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    done = threading.Event()
    trimmed: list[int] = []
    tidy = keeper(registry, LogConfig(keep_s=-1.0), tmp_path)

    def trim_on() -> None:
        while not done.is_set():
            trimmed.append(tidy.keep())

    thread = threading.Thread(target=trim_on)
    thread.start()
    try:
        write(registry, 40)
    finally:
        done.set()
        thread.join()
    assert not tidy.problems
    trimmed.append(tidy.keep())
    assert sum(trimmed) == 39
    assert kept(registry, held) == [40]


def test_positions_are_judged_right_after_a_trim(registry: Registry, held: HeldSchema, clock: Clock) -> None:
    write(registry, 6)
    positions = {lsn: start(registry, held, lsn) for lsn in range(7)}
    count_entries(registry.database, held.physical)
    trim(registry.database, held.physical, 3)
    epoch = positions[6].epoch
    for lsn in (3, 4, 5, 6):
        assert check(registry, held, positions[lsn]) == epoch
    for lsn in (0, 1, 2):
        with pytest.raises(LogGapError, match="keeps entries from 4 on"):
            check(registry, held, positions[lsn])
    for lsn in (3, 4, 6):
        with pytest.raises(EpochError, match="has another history"):
            check(registry, held, attrs.evolve(positions[lsn], chain=b"another history!"))


def test_acknowledgements_are_recorded_together(registry: Registry, held: HeldSchema, clock: Clock) -> None:
    waiting = Acknowledged(registry)
    waiting.note(held, "ncsa", "e1", 5)
    waiting.note(held, "ncsa", "e1", 7)
    waiting.note(held, "laptop", "e1", 3)
    waiting.record()
    waiting.note(held, "laptop", "e1", 2)  # its registry was restored from a backup
    waiting.record()
    waiting.record()
    with registry.database.write(held.physical) as connection:
        assert followers(connection, held.physical) == (
            RegisteredFollower("laptop", "e1", 2, clock.now),
            RegisteredFollower("ncsa", "e1", 7, clock.now),
        )
        assert forget_follower(connection, held.physical, "laptop")
        assert not forget_follower(connection, held.physical, "laptop")
        assert [one.name for one in followers(connection, held.physical)] == ["ncsa"]


def test_acknowledgements_of_a_dropped_schema_are_dropped_too(registry: Registry, held: HeldSchema) -> None:
    waiting = Acknowledged(registry)
    waiting.note(attrs.evolve(held, physical="gone"), "ncsa", "e1", 5)
    waiting.note(held, "ncsa", "e1", 5)
    waiting.record()
    with registry.database.read((held.physical,)) as connection:
        assert [one.name for one in followers(connection, held.physical)] == ["ncsa"]


def test_a_follower_of_another_history_holds_nothing(registry: Registry, held: HeldSchema) -> None:
    history = [Epoch("a", 0, b"", 0), Epoch("b", 80, b"", 0)]
    registered = [
        RegisteredFollower(name, epoch, lsn, 0)
        for name, epoch, lsn in [("before", "a", 70), ("past", "a", 90), ("now", "b", 85), ("other", "x", 1)]
    ]
    assert held_for(registered, history, 1.0, 0) == {"before": 70, "now": 85}


def test_a_replica_that_begins_anew_keeps_entries_from_there(registry: Registry, held: HeldSchema) -> None:
    write(registry, 5)
    with registry.database.write(held.physical) as connection:
        restart_log(connection, held.physical)
        floor, state = floor_of(connection, held.physical), log_state(connection, held.physical)
    assert (floor.lsn, floor.chain, floor.size_bytes) == (5, state.chain, 0)
    write(registry, 2, first=6)
    assert kept(registry, held) == [6, 7]
    count_entries(registry.database, held.physical)
    assert trim(registry.database, held.physical, 6) == 1


def test_a_full_disk_stops_neither_the_log_nor_the_thread(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(registry.database, SqliteDatabase):
        pytest.skip("a PostgreSQL server's disk can't be limited for one database")
    write(registry, 5)
    clock.now += DAY_NS
    # room for what is there, and no more
    with registry.database.write(held.physical) as connection:
        pages = connection.exec_driver_sql(f'PRAGMA "{held.physical}".page_count').scalar_one()
        connection.exec_driver_sql(f'PRAGMA "{held.physical}".max_page_count={pages}')
    before = kept(registry, held)
    with pytest.raises(LimitError, match="is full") as raised:
        write(registry, 1, first=6, text="x" * 100_000)
    assert "free some space" in raised.value.hint
    assert kept(registry, held) == before
    assert keeper(registry, NOTHING, tmp_path).keep() == 4
    write(registry, 1, first=6)
    assert kept(registry, held) == [5, 6]


def test_the_log_is_kept_for_who_copies_the_schema(
    registry: Registry, held: HeldSchema, clock: Clock, tmp_path: Path
) -> None:
    write(registry, 4)
    publisher = Publisher(registry, ShownPositions(registry, tmp_path / "shown"))
    parts = publisher.bootstrap(BootstrapFrom(BASE, "ncsa", registry.universe.fingerprint))
    next(iter(parts))
    write(registry, 3, first=5)
    clock.now += 10 * 10**9
    tidy = LogKeeper(registry, NOTHING, publisher.acknowledged, ShownPositions(registry, tmp_path / "shown"))
    assert tidy.keep() == 4
    assert kept(registry, held) == [5, 6, 7]
    publisher.stop()
