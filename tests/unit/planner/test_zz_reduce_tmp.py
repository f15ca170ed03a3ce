"""Whatever is pushed to a site, the rows are those of one database: random statements, any rules."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_federation import ALICE, BASE, NCSA, SUMMIT
from planner_oracle import World
from planner_random import any_statements

from federation.planner import PlanOptions, groups
from federation.planner.pipeline import OPTIONAL_RULES

OPTIONAL = st.sampled_from([rule.__name__ for rule in OPTIONAL_RULES])
#: nothing left out, one rule, or some
RULES_OFF = st.one_of(
    st.just(frozenset[str]()), OPTIONAL.map(lambda name: frozenset({name})), st.frozensets(OPTIONAL)
)


@pytest.fixture(scope="module")
def oracle(world: World) -> duckdb.DuckDBPyConnection:
    return world.oracle((NCSA, ALICE, SUMMIT, BASE))


@pytest.fixture(scope="module", autouse=True)
def _grouping_always_pays() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "SHARE", 1e9)
        yield


@settings(max_examples=1200, deadline=None)
@given(
    sql=any_statements(),
    max_staleness_s=st.sampled_from([0.0, 10.0]),
    rules_off=RULES_OFF,
    statistics=st.one_of(st.none(), st.integers(0, 99)),
)
def test_no_rule_ever_changes_the_rows(
    sql: str,
    max_staleness_s: float,
    rules_off: frozenset[str],
    statistics: int | None,
    world: World,
    oracle: duckdb.DuckDBPyConnection,
) -> None:
    options = PlanOptions(max_staleness_s=max_staleness_s, rules_off=rules_off)
    answer = world.answer(sql, world.catalog("ncsa", 3.0, statistics), options)
    assert sorted(map(repr, answer)) == sorted(map(repr, oracle.execute(sql).fetchall()))
