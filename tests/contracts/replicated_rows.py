"""Registries on both databases, and rows of every kind to put into them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import sqlalchemy as sa

from federation.changelog.log import log_tables
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import collections, dataset_types, datasets, dimensions, provenance
from federation.registry.registry import Registry
from federation.storage import Database, PostgresDatabase, SqliteDatabase

SUMMIT = SchemaId("summit", "summit")


@contextmanager
def open_registry(database: Database, site: str) -> Iterator[Registry]:
    registry = Registry.create_in(database, site, DimensionUniverse.default())
    try:
        yield registry
    finally:
        registry.close()


def database_of(kind: str, directory: Path, url: str = "") -> Database:
    return SqliteDatabase(directory) if kind == "sqlite" else PostgresDatabase(url, label="test")


@contextmanager
def numbered_elsewhere(registry: Registry) -> Iterator[None]:
    """While this lasts, writers must leave their entries without a number."""
    if registry.database.kind == "sqlite":
        yield
        return
    with registry.database.write(registry.site) as connection:
        connection.execute(sa.select(log_tables(registry.site).state).with_for_update())
        yield


def write(registry: Registry, first: int, count: int = 1) -> None:
    """Transactions that touch every kind of table, each numbered by what it writes.

    On PostgreSQL every second one commits while its log is being numbered by somebody else.
    """
    for number in range(first, first + count):
        beside = numbered_elsewhere(registry) if number % 2 else nullcontext()
        with beside, registry.transaction(registry.site) as tx:
            dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
            dimensions.insert_records(
                tx, "physical_filter", [{"instrument": "Cam", "name": "r1", "band": "r"}]
            )
            dimensions.insert_records(
                tx, "detector", [{"instrument": "Cam", "id": number, "full_name": f"d{number}"}]
            )
            kind = DatasetType(
                "flat",
                ("detector", "physical_filter"),
                "Exposure",
                True,
                (Field("noise", LogicalType.FLOAT64),),
            )
            dataset_types.declare(tx, kind)
            collections.register(tx, Collection("run/a", CollectionType.RUN))
            collections.register(tx, Collection("cal", CollectionType.CALIBRATION))
            new = datasets.NewDataset(
                "flat",
                "run/a",
                {"instrument": "Cam", "detector": number, "physical_filter": "r1"},
                once=True,
                metadata={"noise": number / 7},
            )
            first_ref = datasets.insert_datasets(tx, [new]).refs[0]
            collections.certify(tx, "cal", Timespan(number, number + 5), [first_ref.id])
            provenance.add_edges(tx, [(first_ref.id, uuid.uuid5(uuid.NAMESPACE_URL, str(number)), "task")])


def rows(registry: Registry, schema: SchemaId) -> dict[str, set[tuple[object, ...]]]:
    """Every row of every table of a schema."""
    held = registry.get(schema)
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        found = {
            name: [tuple(row) for row in connection.execute(sa.select(physical[name]))] for name in tables
        }
    for name, values in found.items():
        assert len(values) == len(set(values)), f"{name} has a row twice"
    return {name: set(values) for name, values in found.items()}
