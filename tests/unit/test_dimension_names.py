"""Nothing above the universe file knows a dimension by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import federation
from federation.model.dimension import DimensionUniverse

PACKAGE = Path(federation.__file__).parent
UNIVERSE = DimensionUniverse.default()
#: a word of SQL and of user management too
OTHER_MEANINGS = {"group"}
NAMES = {element.name for element in UNIVERSE.elements} - OTHER_MEANINGS
#: what is about one universe: its demonstration, and the exchange with the software that shares it
ABOUT_THE_SURVEY = ("demo/", "registry/butler/")


def modules() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.relative_to(PACKAGE).as_posix().startswith(ABOUT_THE_SURVEY):
            yield path


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts, keywords and attributes that are a dimension's name; docstrings are prose."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if text in NAMES:
                yield node.lineno, text
            case ast.keyword(arg=str(text)) if text in NAMES:
                yield node.lineno, text
            case ast.Attribute(attr=text) if text in NAMES:
                yield node.lineno, text


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_names_no_dimension(path: Path) -> None:
    assert list(names_in(ast.parse(path.read_text()))) == []


def test_a_name_would_be_found() -> None:
    assert sorted(names_in(ast.parse("f(visit=1)\nrow['detector']\nrecord.exposure"))) == [
        (1, "visit"),
        (2, "detector"),
        (3, "exposure"),
    ]
