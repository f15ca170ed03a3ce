"""Tables that are filled at once are what they were, with all their rows and indexes."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from federation.model.logical import TableDef
from federation.registry import filling
from federation.registry.filling import Filling
from federation.registry.registry import Registry


class Doubted(Exception):
    """Takes a transaction back."""


ROWS = filling.TWIN_ROWS_MIN


def dataset_columns(count: int, start: int = 0) -> dict[str, list[Any]]:
    numbers = range(start, start + count)
    return {
        "dataset_id": [uuid.UUID(int=number).bytes for number in numbers],
        "dataset_type": ["raw"] * count,
        "run": ["night"] * count,
        "ingest_date": list(numbers),
    }


def fill(registry: Registry, *parts: dict[str, list[Any]]) -> None:
    with registry.database.write("base") as connection:
        fill_within(connection, registry, *parts)


def fill_within(connection: sa.Connection, registry: Registry, *parts: dict[str, list[Any]]) -> None:
    table, physical = dataset_table(registry)
    made = Filling(connection)
    for part in parts:
        made.insert(physical, table, tuple(part), tuple(part.values()))
    made.finish()


def dataset_table(registry: Registry) -> tuple[TableDef, sa.Table]:
    tables = registry.tables(registry.held()[0].schema)
    return tables["dataset"], registry.physical_tables("base", tuple(tables.values()))["dataset"]


def form(registry: Registry) -> tuple[object, ...]:
    """What the database says of the table and its indexes."""
    with registry.database.read(("base",)) as connection:
        found = sa.inspect(connection)
        place = {"table_name": "dataset", "schema": "base"}
        columns = [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(**place)]
        indexes = sorted(
            (str(i["name"]), tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(**place)
        )
        unique = sorted(str(u["name"]) for u in found.get_unique_constraints(**place))
        return (
            columns,
            found.get_pk_constraint(**place),
            indexes,
            unique,
            sorted(found.get_table_names("base")),
        )


def stored(registry: Registry) -> list[int]:
    _, physical = dataset_table(registry)
    with registry.database.read(("base",)) as connection:
        return list(
            connection.execute(sa.select(physical.c.ingest_date).order_by(physical.c.ingest_date)).scalars()
        )


def test_a_filled_table_has_its_rows_and_the_indexes_it_had(registry: Registry) -> None:
    before = form(registry)
    fill(registry, dataset_columns(ROWS), dataset_columns(10, ROWS))
    assert stored(registry) == list(range(ROWS + 10))
    assert form(registry) == before
    # and is filled no otherwise once it has rows
    fill(registry, dataset_columns(ROWS, ROWS + 10))
    assert stored(registry) == list(range(2 * ROWS + 10))
    assert form(registry) == before


def test_a_key_that_comes_twice_leaves_the_table_as_it_was(registry: Registry) -> None:
    before = form(registry)
    with suppress(Doubted), registry.database.write("base") as connection:
        with pytest.raises(sa.exc.IntegrityError):
            fill_within(connection, registry, dataset_columns(ROWS), dataset_columns(1))
        raise Doubted
    assert stored(registry) == []
    assert form(registry) == before


def test_nobody_waits_while_a_table_is_filled(registry: Registry) -> None:
    table, physical = dataset_table(registry)
    part = dataset_columns(ROWS)
    with registry.database.write("base") as connection:
        made = Filling(connection)
        made.insert(physical, table, tuple(part), tuple(part.values()))
        assert stored(registry) == []
        made.finish()
    assert len(stored(registry)) == ROWS
