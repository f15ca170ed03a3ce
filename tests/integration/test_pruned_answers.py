"""Leaving out sites by what is certain of their columns changes no answer: random statements with and without it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.dimension import DimensionUniverse
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.registry.statistics import StatisticsSource
from federation.storage import SqliteDatabase

SITES = ("summit", "base", "ncsa")
INSTRUMENTS = ("Cam", "Dam", "Eam", "cam")
PURPOSES = ("SCIENCE", "GUIDER", None)
COLUMNS = ("instrument", "id", "purpose")


@pytest.fixture
def registries(tmp_path: Path, universe: DimensionUniverse) -> Iterator[list[Registry]]:
    made = [Registry.create_in(SqliteDatabase(tmp_path / site), site, universe) for site in SITES]
    yield made
    for registry in made:
        registry.close()


def fill(registry: Registry, source: random.Random) -> None:
    """Detectors of some instruments in a range of numbers; keys of two sites may be the same."""
    first = source.choice((0, 0, 20, 40))
    names = source.sample(INSTRUMENTS, source.randrange(1, 3))
    rows = [
        {"instrument": name, "id": number, "purpose": source.choice(PURPOSES)}
        for name in names
        for number in source.sample(range(first, first + 30), 12)
    ]
    with registry.transaction(registry.site) as tx:
        tx.put("instrument", [{"name": name, "detector_max": source.randrange(100)} for name in names])
        tx.put("detector", rows)


def condition(source: random.Random, alias: str) -> str:
    column = source.choice(COLUMNS)
    if column == "id":
        low = source.randrange(-5, 80)
        return source.choice(
            (
                f"{alias}.id = {low}",
                f"{low} < {alias}.id",
                f"{alias}.id <= {low}",
                f"{alias}.id BETWEEN {low} AND {low + source.randrange(-2, 15)}",
                f"{alias}.id IN ({low}, {low + 30})",
                f"NOT {alias}.id > {low}",
            )
        )
    value = source.choice(INSTRUMENTS if column == "instrument" else ("SCIENCE", "GUIDER", "nothing"))
    return source.choice(
        (
            f"{alias}.{column} = '{value}'",
            f"{alias}.{column} IN ('{value}', 'Nam')",
            f"{alias}.{column} <> '{value}'",
            f"{alias}.{column} > '{value}'",
            f"{alias}.{column} IS NULL",
        )
    )


def statement(source: random.Random) -> str:
    both = " OR " if source.random() < 0.3 else " AND "
    where = both.join(condition(source, "d") for _ in range(source.randrange(1, 4)))
    kind = source.randrange(4)
    if kind == 0:
        return f"SELECT d.instrument, d.id, d.purpose FROM detector d WHERE {where}"
    if kind == 1:
        return f"SELECT d.instrument, count(*) AS n FROM detector d WHERE {where} GROUP BY d.instrument"
    join = source.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"))
    other = source.choice(("detector", f"{source.choice(SITES)}.detector"))
    on = f"e.id = d.id AND {condition(source, source.choice('de'))}"
    return f"SELECT d.instrument, d.id, e.id AS other FROM detector d {join} {other} e ON {on} WHERE {where}"


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_those_without_statistics(seed: int, registries: list[Registry]) -> None:
    source = random.Random(seed)
    for registry in registries:
        fill(registry, source)
    known = {}
    for registry in registries:
        statistics = StatisticsSource(registry)
        statistics.refresh()
        known[registry.site] = LocalSite(registry, CatalogSource(registry, statistics).catalog)
    unknown = {registry.site: LocalSite(registry) for registry in registries}
    saved = 0
    with Coordinator("base", known) as informed, Coordinator("base", unknown) as plain:
        for number in range(16):
            sql = statement(source)
            found, expected = informed.query(sql), plain.query(sql)
            assert sorted(map(repr, found)) == sorted(map(repr, expected)), (seed, number, sql)
            read = [{p.schema_id for p in result.positions} for result in (found, expected)]
            assert read[0] <= read[1], (seed, number, sql)
            saved += len(read[1]) - len(read[0])
    assert saved > 5
