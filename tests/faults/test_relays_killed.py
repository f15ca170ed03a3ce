"""A relay, and a filtered follower, killed at every point of applying: rows, entries and position stay together."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from replicated_rows import SUMMIT, rows, write
from site_processes import Sites

from federation.changelog.log import log_tables
from federation.config import SiteConfig
from federation.registry.registry import Registry

pytestmark = pytest.mark.slow

POINTS = ["before_rows", "before_watermark", "before_commit", "after_commit"]


def _with(sites: Sites, line: str) -> None:
    """Add a key to base's only peer."""
    path = sites.base.path
    text = path.read_text()
    begin = text.index("\n", text.index("follow = "))
    path.write_text(f"{text[:begin]}\n{line}{text[begin:]}")
    sites.base = SiteConfig.load(path)


def _write(sites: Sites, first: int, count: int) -> None:
    with Registry.open(sites.summit) as summit:
        write(summit, first, count)


def _kept(registry: Registry) -> list[tuple[int, bytes]]:
    held = registry.get(SUMMIT)
    log = log_tables(held.physical).log
    with registry.database.read((held.physical,)) as connection:
        found = connection.execute(sa.select(log.c.lsn, log.c.chain).order_by(log.c.lsn))
        return [(lsn, bytes(chain)) for lsn, chain in found]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_relay_has_kept_what_it_has_applied(sites: Sites, point: str) -> None:
    _with(sites, "relay = true")
    _write(sites, 1, 3)
    sites.serve_here(sites.summit)
    sites.run("follow", sites.base)
    _write(sites, 4, 2)
    sites.run("follow", sites.base, kill=f"apply.{point}")
    with Registry.open(sites.base) as base:
        applied = base.position(SUMMIT).lsn
        assert applied == (5 if point == "after_commit" else 3)
        assert [lsn for lsn, _ in _kept(base)] == list(range(1, applied + 1))
        assert len(rows(base, SUMMIT)["detector"]) == applied
    sites.run("follow", sites.base)
    with Registry.open(sites.base) as base, Registry.open(sites.summit) as summit:
        assert _kept(base) == _kept(summit)
        assert rows(base, SUMMIT) == rows(summit, SUMMIT)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_filtered_follower_misses_and_doubles_nothing(sites: Sites, point: str) -> None:
    _with(sites, 'filter = { dataset_types = ["other"] }')
    _write(sites, 1, 4)
    sites.serve_here(sites.summit)
    sites.run("follow", sites.base, kill=f"apply.{point}")
    sites.run("follow", sites.base)
    with Registry.open(sites.base) as base, Registry.open(sites.summit) as summit:
        assert base.position(SUMMIT) == summit.position(SUMMIT)
        here, there = rows(base, SUMMIT), rows(summit, SUMMIT)
        assert here["detector"] == there["detector"]
        assert (here["flat"], here["dataset"], here["calibration"]) == (set(), set(), set())


@pytest.mark.parametrize("point", ["copy.before_rows", "copy.before_watermark", "copy.after_commit"])
def test_a_follower_killed_while_its_filter_changes_copies_again(sites: Sites, point: str) -> None:
    _write(sites, 1, 4)
    sites.serve_here(sites.summit)
    sites.run("follow", sites.base)
    _with(sites, 'filter = { dataset_types = ["other"] }')
    sites.run("follow", sites.base, kill=point)
    sites.run("follow", sites.base)
    with Registry.open(sites.base) as base:
        assert rows(base, SUMMIT)["flat"] == set()
        assert len(rows(base, SUMMIT)["detector"]) == 4
