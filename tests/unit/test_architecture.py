"""The picture of the logical tables in the documentation is the one the code draws."""

from __future__ import annotations

import re
from pathlib import Path

from federation.model.dataset import DatasetType
from federation.model.diagram import relationship_diagram
from federation.model.dimension import DimensionUniverse

#: stand for the tables that each declared dataset type adds
EXAMPLES = (
    DatasetType("raw", ("exposure", "detector"), "Exposure"),
    DatasetType("calexp", ("visit", "detector"), "ExposureF"),
)
PAGE = Path(__file__).parents[2] / "docs" / "ARCHITECTURE.md"


def test_draws_the_diagram_that_the_code_draws():
    drawn = re.search(r"```mermaid\n(.*?)\n```", PAGE.read_text(), flags=re.DOTALL)

    assert drawn is not None
    assert drawn[1] == relationship_diagram(DimensionUniverse.default(), EXAMPLES)


def test_names_only_modules_that_exist():
    package = PAGE.parents[1] / "federation"

    named = re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE.read_text())

    assert named
    assert [name for name in named if not (package / name).is_file()] == []
