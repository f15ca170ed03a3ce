"""Plans that are executed give the rows that one database with everything gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pytest
from planner_federation import ALICE, BASE, NCSA, SUMMIT
from planner_oracle import World
from planner_statements import QUERIES, TRANSLATED

from federation.planner import PlanOptions


def normalized(row: tuple[Any, ...]) -> tuple[Any, ...]:
    # rounding depends on the order of addition; the oracle has exact decimals where the planner writes floats
    return tuple(float(f"{value:.9g}") if isinstance(value, (float, Decimal)) else value for value in row)


def as_multiset(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(repr(normalized(row)) for row in rows)


ROUTES = {
    "owners": ("ncsa", None, PlanOptions()),
    "replicas": ("base", 3.0, PlanOptions(max_staleness_s=10)),
    "alice first": ("summit", None, PlanOptions(chain=("alice",))),
}
ORACLE_CHAINS = {
    "owners": (NCSA, ALICE, SUMMIT, BASE),
    "replicas": (BASE, NCSA, ALICE, SUMMIT),
    "alice first": (ALICE, SUMMIT, NCSA, BASE),
}


@pytest.fixture(scope="module", params=list(ROUTES))
def route(request: pytest.FixtureRequest, world: World) -> Any:
    home, staleness_s, options = ROUTES[request.param]
    return world.catalog(home, staleness_s), options, world.oracle(ORACLE_CHAINS[request.param])


@pytest.mark.parametrize("query", QUERIES)
def test_agrees_with_one_database_that_has_everything(query: str, world: World, route: Any) -> None:
    catalog, options, oracle = route
    ordered, sql = query.startswith("ordered: "), query.removeprefix("ordered: ")

    answer = world.answer(sql, catalog, options)

    expected = oracle.execute(sql.replace("SELECT summit.raw.exposure", "SELECT raw.exposure")).fetchall()
    if ordered:
        assert [normalized(row) for row in answer] == [normalized(row) for row in expected]
    assert as_multiset(answer) == as_multiset(expected)


@pytest.mark.parametrize("query", TRANSLATED)
def test_means_what_postgres_means(query: str, world: World) -> None:
    answer = world.answer(query, world.catalog("ncsa"), PlanOptions())
    expected = world.oracle(ORACLE_CHAINS["owners"]).execute(TRANSLATED[query]).fetchall()
    assert as_multiset(answer) == as_multiset(expected)


def test_a_sum_that_does_not_fit_is_an_error(world: World) -> None:
    with pytest.raises(duckdb.Error, match=r"(?i)range|overflow"):
        world.answer(
            "SELECT sum(exposure + 9223372036854775000) FROM raw", world.catalog("ncsa"), PlanOptions()
        )
