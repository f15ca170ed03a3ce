"""A cache is killed at any point of a night; no file is lost, no row is without its file, and the marks hold."""

from __future__ import annotations

import hashlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from cache_sites import Sites, content, identity, served, write_sites
from forked import ForkedProcess
from free_ports import free_port

from federation.config import SiteConfig

POINTS = (
    "cache.taken_in",
    "cache.before_chosen",
    "cache.after_chosen",
    "cache.after_row",
    "cache.before_aside",
    "cache.after_aside",
    "cache.after_delete",
)
HOURS, KILLS = 24, 20
#: LSSTCam takes an exposure each 37 s with 189 science and 16 corner detectors, in ten dark hours; of its files one in
#: 1250 is delivered here, of about 1 kB, to a cache of 60 kB
EXPOSURE_S, DETECTORS, SCALE = 37, 189 + 16, 1250
DARK = range(7, 17)
RATE, CAPACITY, HIGH, LOW = round(3600 / EXPOSURE_S * DETECTORS / SCALE), 60_000, 0.7, 0.5


def work(base: str, ncsa: str, directory: str, now_ns: int) -> None:
    """What a cache does in an hour, in a process of its own."""
    _work(Sites(Path(directory), SiteConfig.load(Path(base)), SiteConfig.load(Path(ncsa)), now_ns))


def _work(sites: Sites) -> None:
    with sites.cache() as cache:
        cache.take_in()
        for _ in range(4):
            cache.expire()
            sites.later(61)
        cache.tidy()


@attrs.define
class Night:
    """The sites, how many files have been delivered, and the kills so far."""

    sites: Sites
    delivered: int = 0

    def deliver(self, count: int) -> None:
        self.sites.deliver(*range(self.delivered, self.delivered + count))
        self.delivered += count

    def hour(self, kill: str = "") -> bool:
        """Let the cache work for an hour; whether it was killed."""
        sites = self.sites
        if not kill:
            _work(sites)
            return False
        process = ForkedProcess(
            work, str(sites.base.path), str(sites.ncsa.path), str(sites.directory), sites.now_ns, kill=kill
        )
        try:
            ended = process.wait()
        finally:
            process.end()
        assert ended in (0, -signal.SIGKILL)
        return ended == -signal.SIGKILL

    def check(self) -> None:
        """Every file is whole in the inbox, at base or at ncsa, and each row of base has its file."""
        base, ncsa = self.sites.named("base"), self.sites.named("ncsa")
        roots = {"base": self.sites.base, "ncsa": self.sites.ncsa}
        places = {name: Path(one.datastore_url.removeprefix("file://")) for name, one in roots.items()}
        for number in range(self.delivered):
            wanted, key = hashlib.sha256(content(number)).digest(), identity(number)
            held = [places["base"] / base[key]] if key in base else []
            assert all(path.exists() for path in held), f"base names file {number}, which is not there"
            held += [places["ncsa"] / ncsa[key]] if key in ncsa else []
            held.append(self.sites.inbox / f"flat{number}.dat")
            found = [hashlib.sha256(path.read_bytes()).digest() == wanted for path in held if path.exists()]
            assert any(found), f"file {number} is lost"
            assert all(found), f"file {number} is damaged"


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    sites = write_sites(
        tmp_path,
        (free_port(), free_port()),
        keep_s=12 * 3600.0,
        capacity=f"{CAPACITY // 1000}kB",
        high_water=HIGH,
        low_water=LOW,
        grace_s=60.0,
    )
    with served(sites.base, sites.ncsa):
        yield Night(sites)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_it_goes_on(night: Night, point: str) -> None:
    night.deliver(RATE)
    night.hour()
    night.sites.await_permanent(*range(RATE))
    night.sites.later(13 * 3600)
    night.deliver(2)
    assert night.hour(point)
    night.check()
    night.sites.later(200)
    night.hour()
    night.check()
    assert night.sites.named("base").keys() == {identity(number) for number in range(RATE, RATE + 2)}
    with night.sites.cache() as cache:
        assert cache.index.leaving() == []


def test_a_night_with_twenty_kills_loses_nothing_and_keeps_the_marks(night: Night) -> None:
    chance = random.Random(20261121)
    kills = 0
    for hour in range(HOURS):
        if hour in DARK:
            night.deliver(RATE)
        # those of the hour that are killed are so before anything new has come to ncsa
        for _ in range(4 if hour in DARK else 1):
            if kills < KILLS and night.hour(f"{chance.choice(POINTS)}:{chance.randint(1, 2)}"):
                kills += 1
                night.check()
        night.hour()
        night.sites.await_permanent(*range(night.delivered))
        night.hour()
        night.check()
        with night.sites.cache() as cache:
            assert cache.expiry.room().used_bytes <= HIGH * CAPACITY, f"hour {hour}"
        night.sites.later(3000)
    assert kills >= KILLS
