"""The page on the SQL dialect says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planner_federation import federation

from federation.planner import PlanOptions, plan
from federation.planner.breadth import JOINED_MAX, TABLES_MAX, WORDS_MAX
from federation.planner.dialect import DEPTH_MAX, FUNCTIONS, TEXT_SIZE_MAX
from federation.planner.pipeline import OPTIONAL_RULES
from federation.planner.virtual import VIRTUAL_TABLES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "sql.md").read_text()


def test_lists_exactly_the_functions_there_are() -> None:
    table = PAGE.split("| kind | functions |")[1].split("\n\n")[0]
    documented = set(re.findall(r"`([a-z_0-9]+)`", table))
    assert documented == set(FUNCTIONS)


def test_gives_the_limits() -> None:
    assert (
        f"{TEXT_SIZE_MAX:,} characters, {WORDS_MAX:,} words and signs, {DEPTH_MAX} levels of nesting" in PAGE
    )
    assert f"{JOINED_MAX} tables in one FROM, and {TABLES_MAX:,} tables and sub-selects" in PAGE


def test_names_the_virtual_tables() -> None:
    assert all(f"`federation.{name}`" in PAGE for name in VIRTUAL_TABLES)


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_its_examples_can_be_planned(sql: str) -> None:
    # every table is read, also where the catalog says that it has no rows
    options = PlanOptions(rules_off=frozenset(rule.__name__ for rule in OPTIONAL_RULES))
    assert plan(sql, federation(), options).fragments
