"""Whatever fragments are asked with keys of others, the rows are those of one database."""

from __future__ import annotations

import random

import duckdb
import pytest
from join_statements import JOINS
from planner_federation import ALICE, BASE, NCSA, SUMMIT
from planner_oracle import World
from planner_statements import QUERIES
from test_oracle import as_multiset

from federation.planner import PlanOptions, plan


@pytest.fixture(scope="module")
def oracle(world: World) -> duckdb.DuckDBPyConnection:
    return world.oracle((NCSA, ALICE, SUMMIT, BASE))


@pytest.mark.parametrize("sql", JOINS)
def test_keys_never_change_the_rows(sql: str, world: World, oracle: duckdb.DuckDBPyConnection) -> None:
    expected = as_multiset(oracle.execute(sql).fetchall())
    texts = set()
    for seed in range(4):
        catalog = world.catalog("ncsa", 3.0, seed=seed)
        made = plan(sql, catalog)
        text = tuple(fragment.sql for fragment in made.fragments)
        if text not in texts:
            texts.add(text)
            options = PlanOptions(max_staleness_s=seed % 2 * 10.0)
            assert as_multiset(world.answer(sql, catalog, options)) == expected
            if any(fragment.keys for fragment in made.fragments):
                without = world.answer(sql, catalog, options, with_keys=False)
                assert as_multiset(without) == expected
                filtered = world.answer(sql, catalog, options, as_filters=True)
                assert as_multiset(filtered) == expected


def test_every_rule_off_gives_the_same_rows(world: World, oracle: duckdb.DuckDBPyConnection) -> None:
    options = PlanOptions(rules_off=frozenset({"reduce_fragments"}))
    for sql in JOINS[:3]:
        catalog = world.catalog("ncsa", seed=1)
        assert not any(fragment.keys for fragment in plan(sql, catalog, options).fragments)
        assert as_multiset(world.answer(sql, catalog, options)) == as_multiset(oracle.execute(sql).fetchall())


def test_keys_are_shipped_for_all_but_those_that_need_all_rows(world: World) -> None:
    catalogs = [world.catalog("ncsa", seed=seed) for seed in range(4)]
    whole = {
        sql
        for sql in JOINS
        if not any(fragment.keys for catalog in catalogs for fragment in plan(sql, catalog).fragments)
    }
    nullable = {sql for sql in JOINS if "NOT IN" in sql and "seq_num" in sql}
    assert whole == nullable | {sql for sql in JOINS if "FULL JOIN summit.raw" in sql}


@pytest.mark.parametrize("part", range(2))
def test_other_statements_stay_as_they_are_under_any_statistics(part: int, world: World) -> None:
    rng = random.Random(part)
    for number, statement in enumerate(QUERIES):
        if number % 4 == part and "JOIN" in statement:
            sql = statement.removeprefix("ordered: ")
            off = PlanOptions(rules_off=frozenset({"reduce_fragments"}))
            catalog = world.catalog("ncsa", seed=rng.randrange(10**6))
            expected = as_multiset(world.answer(sql, catalog, off))
            assert as_multiset(world.answer(sql, catalog, PlanOptions())) == expected
