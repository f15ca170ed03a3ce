"""Random statements give the rows of one database also where Bloom filters of keys are sent wherever they may be.

Seed ``S`` of a federation and number ``N`` of a statement are in a failure's first line.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from random_registries import Federation, RuledCoordinator, make_federation
from random_statements import Statements
from test_random_queries import check, some_rules, tables_of

from federation.execution.local_site import LocalSite
from federation.execution.result import Result
from federation.model.catalog import SiteCatalog
from federation.planner import reduce, reduction_cost

STATEMENTS = 40


class FarSite(LocalSite):
    """A registry of this process that says it is none."""

    def get_catalog(self, known_version: str = "", user: str = "") -> SiteCatalog:
        return attrs.evolve(super().get_catalog(known_version, user), is_in_process=False)


class CountingCoordinator(RuledCoordinator):
    """A coordinator that counts the filters that its queries sent."""

    filter_count = 0

    def query(self, sql: str, **more: Any) -> Result:
        result = super().query(sql, **more)
        self.filter_count += sum(use.as_filter for stats in result.fragments for use in stats.keys)
        return result


def coordinator_of(federation: Federation) -> CountingCoordinator:
    clients = {
        site: FarSite(registry, federation._catalog(site)) for site, registry in federation.registries.items()
    }
    return CountingCoordinator(federation.home, clients)


@pytest.fixture
def filters_always_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of thirty rows are worth no filter: here waiting costs nothing, and any number of keys is too many."""
    monkeypatch.setattr(reduction_cost, "ROUND_TRIP_BYTES", 0)
    monkeypatch.setattr(reduction_cost, "plain_count_max", lambda *_: 0)
    monkeypatch.setattr(reduction_cost, "filter_count_max", lambda *_: 1 << 20)
    monkeypatch.setattr(reduction_cost, "filter_gain", lambda rows, *_: rows)
    monkeypatch.setattr(reduce, "_GAIN_MIN_BYTES", 0)


@pytest.mark.usefixtures("filters_always_pay")
@pytest.mark.parametrize("seed", range(2))
def test_filters_never_change_the_rows(
    seed: int, tmp_path: Path, module_postgres_databases: Callable[[], str]
) -> None:
    with (
        make_federation(seed, tmp_path, module_postgres_databases) as federation,
        closing(coordinator_of(federation)) as coordinator,
    ):
        tables = tables_of(federation)
        for number in range(STATEMENTS):
            rng = random.Random(f"filters {seed}:{number}")
            sql = Statements(rng, tables).statement()
            coordinator.rules_off = some_rules(rng) - {"reduce_fragments"}
            check(federation, coordinator, sql, rng.choice((0.0, 1000.0)), f"seed {seed}, number {number}")
    assert coordinator.filter_count > STATEMENTS // 10
