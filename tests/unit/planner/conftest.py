"""Fixtures of the planner's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from planner_federation import ALICE, BASE, COUNTS, NCSA, SUMMIT, TYPES, WANTED, federation, tables
from planner_oracle import World, agree_where_the_key_decides, make_rows

from federation.model.catalog import FederationCatalog


@pytest.fixture
def catalog() -> FederationCatalog:
    return federation()


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    directory: Path = tmp_path_factory.mktemp("sites")
    own = {s: tuple(t for t in tables(*types) if t.name in WANTED) for s, types in TYPES.items()}
    rows = {
        (schema, table.name): make_rows(
            table,
            COUNTS[schema].get(table.name, 0),
            seed,
            instrument=["Cam", "Cam", "Cam2"],
            band=["g", "r", None],
        )
        for schema, known in own.items()
        for seed, table in enumerate(known, 1000 * len(schema.name))
    }
    agree_where_the_key_decides(own, rows)
    holders = {"ncsa": (NCSA, ALICE), "summit": (SUMMIT,), "base": (BASE, SUMMIT)}
    made = World(own, rows, holders, directory)
    made.open_sites()
    return made
