"""The pictures in the documentation are those that the code draws: the logical tables, and the layers."""

from __future__ import annotations

import re
import tomllib
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


def test_draws_the_layers_that_imports_are_held_to():
    contracts = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [one["layers"] for one in contracts["contracts"] if one["type"] == "layers"]
    wanted = [
        {re.sub(r"^\w+_verbs$", "*_verbs", name[11:]) for name in layer.split(" | ")} for layer in layers
    ]
    known = set().union(*wanted)

    picture = re.search(r"```\n(cli .*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert picture is not None
    drawn = [{word for word in line[:40].split() if word in known} for line in picture[1].splitlines()]

    assert drawn == wanted
