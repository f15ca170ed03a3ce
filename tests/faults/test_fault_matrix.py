"""Each process of two sites killed at each step that it takes: what is committed arrives, once and whole.

Every row of the tables below is a kill at one pass of one point, on either database. Steps that other files kill at,
with what is there right after the kill, are not repeated here; ``docs/fault-tolerance.md`` tells where each is.
"""

from __future__ import annotations

import random
import signal
import time

import pytest
from replicated_rows import SUMMIT
from site_fleet import Fleet

from federation.changelog.floor import Floor, set_floor
from federation.changelog.log import log_state, log_tables
from federation.config import SiteConfig
from federation.registry.registry import Registry
from federation.replication.snapshots import stamp_all

pytestmark = pytest.mark.slow

WRITER = tuple(
    f"transaction.{point}:{number}"
    for point in ("before_append", "before_commit", "after_commit")
    for number in (1, 5)
)
PUBLISHER = ("publisher.before_send:1", "publisher.before_send:6")
#: only where numbers are given after the commit
SEQUENCER = ("stamp.before_commit:1", "stamp.before_commit:4", "stamp.after_commit:1", "stamp.after_commit:4")
TRIMMER = ("trim.before_commit:2", "trim.before_commit:4", "trim.after_commit:2", "trim.after_commit:4")
APPLIER = tuple(
    f"apply.{point}:{number}"
    for point in ("before_rows", "before_watermark", "before_commit", "after_commit")
    for number in (1, 4)
)
PULLER = ("files.before_rename:2", "files.after_rename:2", "files.before_record:2")
SENDER = ("copy.writing:1", "copy.before_send:1")
TAKER = ("copy.staged:1",)

#: logs that are trimmed all the time, a few entries in each transaction
TRIMMING = {
    "federation.services.log_keeping:TICK_S": 0.1,
    "federation.services.log_keeping:RECORD_TICKS": 1,
    "federation.services.log_keeping:TRIM_TICKS": 2,
    "federation.changelog.retention:TRIM_BATCH": 2,
}
RANDOM_KILLS = 20


def _trim_all(config: SiteConfig) -> None:
    """Leave nothing of summit's log, so that whoever is behind has to copy."""
    with Registry.open(config) as registry:
        held = registry.get(SUMMIT)
        stamp_all(registry, held)
        with registry.database.write(held.physical) as connection:
            state = log_state(connection, held.physical)
            connection.execute(log_tables(held.physical).log.delete())
            set_floor(connection, held.physical, Floor(state.lsn, state.chain, state.lsn))


def test_a_writer_killed_at_each_step_of_a_commit(fleet: Fleet, subtests: pytest.Subtests) -> None:
    for kill in WRITER:
        with subtests.test(kill=kill):
            number = int(kill.partition(":")[2])
            fleet.sites.run("write", fleet.sites.summit, fleet.count + 1, number + 1, kill=kill)
            fleet.count += number if kill.startswith("transaction.after_commit") else number - 1
            fleet.check()


def test_a_source_killed_at_each_step_of_publishing(
    fleet: Fleet, kind: str, subtests: pytest.Subtests
) -> None:
    fleet.check()
    for kill in PUBLISHER + (SEQUENCER if kind == "postgresql" else ()):
        with subtests.test(kill=kill):
            fleet.end("summit")
            process = fleet.serve("summit", kill)
            fleet.write_until_killed(process)
            fleet.write()
            fleet.witness.assert_owns_up(time.monotonic())
            fleet.check()


def test_a_source_killed_at_each_step_of_trimming(fleet: Fleet, subtests: pytest.Subtests) -> None:
    path = fleet.sites.summit.path
    path.write_text(path.read_text() + "\n[log]\nkeep_s = 0\n")
    fleet.sites.summit = SiteConfig.load(path)
    fleet.check()
    for kill in TRIMMER:
        with subtests.test(kill=kill):
            fleet.write_until_killed(fleet.serve("summit", kill, **TRIMMING))
            fleet.check()


def test_a_follower_killed_at_each_step_of_applying(fleet: Fleet, subtests: pytest.Subtests) -> None:
    fleet.check()
    for kill in APPLIER:
        with subtests.test(kill=kill):
            fleet.write_until_killed(fleet.serve("base", kill))
            fleet.check()


def test_a_follower_killed_at_each_step_of_bringing_files(fleet: Fleet, subtests: pytest.Subtests) -> None:
    fleet.check()
    for kill in PULLER:
        with subtests.test(kill=kill):
            fleet.write_until_killed(fleet.serve("base", kill), with_file=True)
            fleet.check()


@pytest.mark.parametrize("kill", SENDER + TAKER)
def test_either_side_killed_at_the_first_step_of_a_copy(fleet: Fleet, kill: str) -> None:
    fleet.write(3)
    fleet.check()
    fleet.end("base")
    fleet.write(3)
    _trim_all(fleet.sites.summit)
    victim = "summit" if kill in SENDER else "base"
    fleet.end(victim)
    killed = fleet.serve(victim, kill)
    if victim == "summit":
        fleet.serve("base")
    assert killed.wait() == -signal.SIGKILL
    fleet.check()


@pytest.mark.parametrize("seed", [1])
def test_any_of_them_killed_anywhere_again_and_again(fleet: Fleet, kind: str, seed: int) -> None:
    chance = random.Random(seed)
    fleet.check()
    points = {
        "writer": [kill.partition(":")[0] for kill in WRITER],
        "summit": [kill.partition(":")[0] for kill in PUBLISHER + SEQUENCER * (kind == "postgresql")],
        "base": [kill.partition(":")[0] for kill in APPLIER],
    }
    for _ in range(RANDOM_KILLS):
        victim = chance.choice(list(points))
        kill = f"{chance.choice(points[victim])}:{(number := chance.randint(1, 5))}"
        if victim == "writer":
            fleet.sites.run("write", fleet.sites.summit, fleet.count + 1, number, kill=kill)
            fleet.count += number if kill.startswith("transaction.after_commit") else number - 1
        else:
            fleet.write_until_killed(fleet.serve(victim, kill))
            if chance.random() < 0.5:  # the other goes too, wherever it is
                fleet.end("base" if victim == "summit" else "summit")
                fleet.write(2)
        for name in ("summit", "base"):
            if name not in fleet.running or fleet.running[name].poll() is not None:
                fleet.serve(name)
        fleet.witness.look()
    fleet.check()


def test_two_processes_that_follow_as_one_site_apply_each_entry_once(fleet: Fleet) -> None:
    fleet.write(3)
    fleet.serve("summit")
    for _ in range(2):  # the first time both want to copy
        both = [fleet.sites.start("follow", fleet.sites.base) for _ in range(2)]
        fleet.write(10)
        assert [process.wait() for process in both] == [0, 0]
    fleet.check()


def test_there_are_fifty_kills() -> None:
    both = WRITER + PUBLISHER + TRIMMER + APPLIER + PULLER + SENDER + TAKER
    assert len(set(both)) == len(both)
    assert 2 * len(both) + len(SEQUENCER) >= 50
