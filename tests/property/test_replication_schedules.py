"""Thousands of random schedules of commits, cuts, crashes, relays, trims and restores; a seed reproduces each.

``FEDERATION_SCHEDULE_SEED=N pytest tests/property/test_replication_schedules.py`` runs that one alone.
"""

from __future__ import annotations

import os

import pytest
from replication_world import OWNER, World

BATCHES, SCHEDULES, STEPS = 10, 300, 150


def run(seed: int) -> World:
    """One schedule from beginning to end."""
    world = World(seed)
    try:
        for _ in range(STEPS):
            world.step()
        world.settle()
    except Exception as error:
        error.add_note(f"seed {seed}, after {len(world.trace)} steps: {', '.join(world.trace[-20:])}")
        raise
    return world


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_schedule_ends_with_equal_rows_and_none_shows_others_on_its_way(batch: int) -> None:
    chosen = os.environ.get("FEDERATION_SCHEDULE_SEED")
    seeds = [int(chosen)] if chosen else range(batch * SCHEDULES, (batch + 1) * SCHEDULES)
    for seed in seeds:
        run(seed)


def test_schedules_do_what_they_are_for() -> None:
    worlds = [run(seed) for seed in range(40)]
    happened = {name for world in worlds for name in world.trace}
    assert {"commit", "serve", "take", "harm", "cut", "crash", "trim", "restore", "settle"} <= happened
    assert any(len(world.owner.log.history) > 1 for world in worlds)
    assert any(world.owner.log.floor.lsn > 0 for world in worlds)
    assert any(site.log.former for world in worlds for site in world.sites.values())
    assert sum(world.owner.log.state.lsn for world in worlds) > 10 * len(worlds)
    assert {site for world in worlds for site in world.sites} == {OWNER, "base", "relay", "ncsa", "far"}


def test_a_seed_is_a_schedule() -> None:
    first, second = run(7), run(7)
    assert first.trace == second.trace
    assert {n: s.log.state for n, s in first.sites.items()} == {
        n: s.log.state for n, s in second.sites.items()
    }
