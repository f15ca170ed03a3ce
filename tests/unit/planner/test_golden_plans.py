"""Plans are what the files beside their statements say.

``UPDATE_GOLDEN=1 pytest tests/unit/planner/test_golden_plans.py`` writes the files anew; look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from planner_federation import federation

from federation.model.catalog import FederationCatalog
from federation.planner import PlanOptions, explain_json, explain_text, plan

PLANS = Path(__file__).parents[2] / "golden" / "plans"
STATEMENTS = sorted(PLANS.glob("*.sql"))


def read_case(path: Path) -> tuple[str, FederationCatalog, PlanOptions]:
    """The statement, and what its first line says of the federation and the caller's wishes."""
    text = path.read_text()
    words: dict[str, str] = {}
    if text.startswith("-- "):
        header, text = text[3:].split("\n", 1)
        words = {
            key.strip(): value.strip()
            for key, _, value in (item.partition(":") for item in header.split(";"))
        }
    catalog = federation(
        home=words.get("home", "ncsa"), **dict.fromkeys(words.get("down", "").split(), "connection refused")
    )
    options = PlanOptions(
        float(words.get("max-staleness", 0)), "partial" in words, tuple(words.get("chain", "").split())
    )
    return text.strip(), catalog, options


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_plan_is_as_recorded(path: Path) -> None:
    made = plan(*read_case(path))
    text = explain_text(made)
    recorded = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        recorded.write_text(text)
    assert text == recorded.read_text()
    assert explain_json(made)["local_sql"] == made.local_sql


def test_every_recorded_plan_has_its_statement() -> None:
    assert {path.stem for path in PLANS.glob("*.txt")} == {path.stem for path in STATEMENTS}
