"""The end of a log, watched once for all who follow it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from federation.changelog import log_state
from federation.errors import EpochError
from federation.model.position import SchemaId
from federation.registry.registry import Registry
from federation.registry.schemas import HeldSchema
from federation.replication import log_watch
from federation.replication.log_tail import LogTail
from federation.replication.log_watch import LogWatches

WAIT_S = 20.0


@pytest.fixture
def held(registry: Registry) -> HeldSchema:
    return registry.get(SchemaId("base", "base"))


@pytest.fixture
def watches(registry: Registry) -> Iterator[LogWatches]:
    watches = LogWatches(registry)
    yield watches
    watches.stop()


def write(registry: Registry, *instruments: str) -> None:
    for name in instruments:
        with registry.transaction("base") as tx:
            tx.put("instrument", [{"name": name}])


def tail(watches: LogWatches, registry: Registry, held: HeldSchema, lsn: int = 0) -> LogTail:
    with registry.database.read((held.physical,)) as connection:
        epoch = log_state(connection, held.physical).epoch
    return LogTail(watches, held, epoch, lsn, threading.Event())


def lsns(tail: LogTail, timeout_s: float = WAIT_S) -> list[int]:
    return [entry.lsn for entry in tail.next(timeout_s)]


def test_each_who_follows_gets_every_entry_in_order(
    watches: LogWatches, registry: Registry, held: HeldSchema
) -> None:
    with tail(watches, registry, held) as one, tail(watches, registry, held) as other:
        assert (lsns(one, 0.0), lsns(other, 0.0)) == ([], [])
        write(registry, "A")
        assert (lsns(one), lsns(other)) == ([1], [1])
        write(registry, "B")
        assert (lsns(one), lsns(other)) == ([2], [2])
        assert one.head_lsn == other.head_lsn == 2


def test_who_comes_later_gets_what_was_written_before(
    watches: LogWatches, registry: Registry, held: HeldSchema
) -> None:
    with tail(watches, registry, held) as early:
        assert lsns(early, 0.0) == []
        write(registry, "A")
        assert lsns(early) == [1]
        with tail(watches, registry, held) as late:
            assert lsns(late) == [1]
            assert lsns(late, 0.0) == []


def test_who_is_behind_what_is_kept_reads_the_database(
    watches: LogWatches, registry: Registry, held: HeldSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_watch, "KEPT_BYTES", 0)
    with tail(watches, registry, held) as one:
        assert lsns(one, 0.0) == []
        write(registry, "A", "B")
        seen: list[int] = []
        while len(seen) < 2:
            seen += lsns(one)
        assert seen == [1, 2]


def test_a_log_that_was_replaced_by_another_is_not_followed(
    watches: LogWatches, registry: Registry, held: HeldSchema
) -> None:
    with LogTail(watches, held, "another", 0, threading.Event()) as one, pytest.raises(EpochError):
        one.next(WAIT_S)


def test_the_last_to_leave_ends_the_watch(watches: LogWatches, registry: Registry, held: HeldSchema) -> None:
    def watching() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "watch-base/base"]

    with tail(watches, registry, held):
        with tail(watches, registry, held):
            assert len(watching()) == 1
        assert len(watching()) == 1
    assert watching() == []
    with tail(watches, registry, held) as again:
        write(registry, "A")
        while not lsns(again):
            pass


def test_what_was_committed_without_waiting_for_the_disk_is_there_after_it_is_made_durable(
    registry: Registry, held: HeldSchema
) -> None:
    with registry.database.write(held.physical, durable=False) as connection:
        connection.exec_driver_sql(f"INSERT INTO \"{held.physical}\".instrument (name) VALUES ('A')")
    registry.database.make_durable(held.physical)
    with registry.database.read((held.physical,)) as connection:
        found = connection.exec_driver_sql(f'SELECT name FROM "{held.physical}".instrument').scalars().all()
    assert found == ["A"]
