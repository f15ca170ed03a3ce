"""Fifty users write to one site at once: nothing is lost, no log has a gap, nobody sees a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from federation.changelog import decode_changes, read_entries
from federation.model.dimension import DimensionUniverse
from federation.model.position import SchemaId
from federation.registry import grants
from federation.registry.registry import Registry
from federation.registry.schema_admin import create_schema
from federation.registry.user_tables import append_rows, create_table
from federation.replication.snapshots import stamp_all
from federation.storage import Database, PostgresDatabase, SqliteDatabase

USERS = 50
APPENDS = 3
#: as many processes would have a registry each
REGISTRIES = 5


@pytest.fixture(params=["sqlite", "postgresql"])
def registries(
    request: pytest.FixtureRequest, tmp_path: Path, universe: DimensionUniverse
) -> Iterator[list[Registry]]:
    """One site's registry, opened several times."""

    def database() -> Database:
        if request.param == "sqlite":
            return SqliteDatabase(tmp_path / "registry")
        return PostgresDatabase(request.getfixturevalue("fresh_postgres_database"), label="test")

    with ExitStack() as stack:
        first = stack.enter_context(Registry.create_in(database(), "base", universe))
        others = [stack.enter_context(Registry.open_in(database(), "base")) for _ in range(REGISTRIES - 1)]
        yield [first, *others]


def at_once(registries: list[Registry], work: Callable[[Registry, str], None]) -> None:
    """Run ``work`` for every user, all beginning together; raises what one of them met."""
    begin = threading.Barrier(USERS)

    def one(number: int) -> None:
        begin.wait()
        work(registries[number % len(registries)], f"user{number}")

    with ThreadPoolExecutor(USERS) as pool:
        for done in [pool.submit(one, number) for number in range(USERS)]:
            done.result()


def logged(registry: Registry, schema: str, table: str) -> list[tuple[int, set[int]]]:
    """(lsn, first column of the rows of the table) of each entry, which must follow one another."""
    held = registry.get(SchemaId("base", schema))
    stamp_all(registry, held)
    found = []
    with registry.database.read((held.physical,)) as connection:
        lsn = 0
        while entries := read_entries(connection, held.physical, lsn, 1 << 20):
            for entry in entries:
                assert entry.lsn == lsn + 1
                lsn = entry.lsn
                changes = [change for change in decode_changes(entry.body) if change.table == table]
                found.append((lsn, {row[0] for change in changes for row in change.rows}))
    return found


def stored(registry: Registry, schema: str, table: str) -> set[int]:
    held = registry.get(SchemaId("base", schema))
    with registry.database.read((held.physical,)) as connection:
        tables = registry.physical_tables(held.physical, tuple(registry.tables(held.schema).values()))
        return set(connection.execute(sa.select(tables[table].c.x)).scalars())


@pytest.mark.slow
def test_each_to_a_schema_of_their_own(registries: list[Registry]) -> None:
    def work(registry: Registry, user: str) -> None:
        create_schema(registry, user, user=user)
        create_table(registry, user, "night", pa.table({"x": range(10)}), key=["x"], user=user)
        for number in range(1, APPENDS + 1):
            rows = pa.table({"x": range(10 * number, 10 * number + 10)})
            append_rows(registry, user, "night", rows, user=user)
        grants.grant(registry, user, "read", user, "commissioning")

    at_once(registries, work)

    registry = registries[0]
    held = registry.held()
    assert {one.schema.name for one in held} == {"base", *(f"user{n}" for n in range(USERS))}
    for number in range(USERS):
        entries = logged(registry, f"user{number}", "night")
        assert [rows for _, rows in entries] == [set(range(10 * n, 10 * n + 10)) for n in range(APPENDS + 1)]
        assert stored(registry, f"user{number}", "night") == set(range(10 * (APPENDS + 1)))
    assert len(grants.read_grants(registry).grants) == USERS
    assert len(logged(registry, "base", "schema_grant")) == USERS


@pytest.mark.slow
def test_all_to_the_schema_of_their_group(registries: list[Registry]) -> None:
    registry = registries[0]
    create_schema(registry, "commissioning")
    create_table(registry, "commissioning", "night", pa.table({"x": pa.array([], pa.int64())}), key=["x"])
    for number in range(USERS):
        grants.add_member(registry, None, "commissioning", f"user{number}")

    def work(registry: Registry, user: str) -> None:
        first = int(user.removeprefix("user")) * 100
        for number in range(APPENDS):
            rows = pa.table({"x": range(first + 10 * number, first + 10 * number + 10)})
            append_rows(registry, "commissioning", "night", rows, user=user)

    at_once(registries, work)

    entries = [rows for _, rows in logged(registry, "commissioning", "night") if rows]
    assert len(entries) == USERS * APPENDS
    assert sum(map(len, entries)) == len(set().union(*entries)) == 10 * USERS * APPENDS
    assert stored(registry, "commissioning", "night") == set().union(*entries)
