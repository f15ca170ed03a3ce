"""A registry on each kind of database: what these tests say holds for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federation.model.dimension import DimensionUniverse
from federation.registry.registry import Registry
from federation.storage import Database, PostgresDatabase, SqliteDatabase

DatabaseFactory = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseFactory:
    """Opens one and the same database each time it is called; empty at first, where no ``registry`` is made in it."""
    if request.param == "sqlite":
        return lambda: SqliteDatabase(tmp_path / "registry")
    is_made = "registry" in request.fixturenames  # it takes a while, and is the same each time
    url: str = request.getfixturevalue("postgres_database_of_base" if is_made else "fresh_postgres_database")
    return lambda: PostgresDatabase(url, label="test")


@pytest.fixture
def registry(open_database: DatabaseFactory, universe: DimensionUniverse) -> Iterator[Registry]:
    """The registry of site ``base``, with an empty schema of that name."""
    with Registry.create_in(open_database(), "base", universe) as registry:
        yield registry
