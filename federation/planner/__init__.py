"""From one SQL statement to fragments for sites and a statement for the local engine; pure, without I/O."""

from __future__ import annotations

from federation.planner.explain import explain_json, explain_text
from federation.planner.pipeline import plan
from federation.planner.plan import (
    FindFirst,
    Fragment,
    LiteralTable,
    Missing,
    OutputColumn,
    PairTable,
    Plan,
    PlanOptions,
    Source,
)

__all__ = [
    "FindFirst",
    "Fragment",
    "LiteralTable",
    "Missing",
    "OutputColumn",
    "PairTable",
    "Plan",
    "PlanOptions",
    "Source",
    "explain_json",
    "explain_text",
    "plan",
]
