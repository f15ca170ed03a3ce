"""The registry inside a snapshot: rows of a closure, each kept in a replica of the schema that it came from.

Beside the replicas there is the snapshot's own schema, which says where the files are: below the snapshot itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.changelog import LogState, log_state, move_to
from federation.errors import CorruptionError
from federation.model.position import GENESIS, SchemaId
from federation.model.system_tables import system_tables
from federation.registry.bulk import upsert_columns
from federation.registry.keyed import chunks
from federation.registry.registry import DECLARING, Registry
from federation.registry.transaction import select_rows, stored_values
from federation.snapshot.packed_ids import PackedIds
from federation.snapshot.registry_seal import REGISTRY
from federation.storage import SqliteDatabase

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from federation.model.dimension import DimensionUniverse
    from federation.model.position import Position
    from federation.snapshot.closure import Closure
    from federation.snapshot.collected import TableRows

__all__ = [
    "copy_rows",
    "create_registry",
    "dataset_ids",
    "ids_with_files",
    "local_artifacts",
    "open_registry",
    "own_files",
    "own_totals",
    "read_table",
    "record_files",
    "recorded",
    "row_counts",
]

_BATCH = 5000
#: of a database that is written; rows come in order of their keys, which needs few pages
_CACHE_KIB = 6144
_ARTIFACT = next(table for table in system_tables() if table.name == "artifact")


def create_registry(directory: Path, name: str, universe: DimensionUniverse) -> Registry:
    """An empty registry of the snapshot ``name`` below ``directory``."""
    return Registry.create_in(SqliteDatabase(directory / REGISTRY), name, universe)


def open_registry(directory: Path, name: str, *, read_only: bool = False) -> Registry:
    """The registry of the snapshot ``name`` below ``directory``."""
    return Registry.open_in(SqliteDatabase(directory / REGISTRY, read_only=read_only), name)


def copy_rows(registry: Registry, closure: Closure, positions: Iterable[Position]) -> None:
    """Put the rows of a closure into replicas of their schemas, and set how far these have got.

    Each schema commits at once; doing it again changes nothing.
    """
    registry.check_writable()
    by_schema: dict[SchemaId, list[TableRows]] = {}
    for rows in closure.rows:
        by_schema.setdefault(rows.source, []).append(rows)
    known = {position.schema_id: position for position in positions}
    for schema, tables in by_schema.items():
        held = registry.ensure_replica(schema)
        with registry.database.write(held.physical) as connection:
            connection.exec_driver_sql(f'PRAGMA "{held.physical}".cache_size = -{_CACHE_KIB}')
            defined = registry.tables_in(connection, held.physical)
            for rows in sorted(tables, key=lambda rows: rows.table not in DECLARING):
                if rows.table in DECLARING:
                    for row in rows.rows:
                        values = dict(zip(rows.columns, row, strict=True))
                        table = registry.declared_table(rows.table, values)
                        defined[table.name] = table
                if rows.table not in defined:
                    raise CorruptionError(
                        f"{schema} has datasets of type {rows.table} and does not define it",
                        hint="compare the schema with: federation replica verify",
                    )
                physical = registry.physical_tables(held.physical, tuple(defined.values()))[rows.table]
                physical.create(connection, checkfirst=True)
                table = defined[rows.table]
                for batch in chunks(rows.rows, _BATCH):
                    columns = [
                        stored_values(table.column(name).type, values)
                        for name, values in zip(rows.columns, zip(*batch, strict=True), strict=True)
                    ]
                    upsert_columns(connection, physical, table, rows.columns, columns)
            for name in set(defined) - {rows.table for rows in tables}:
                registry.physical_tables(held.physical, tuple(defined.values()))[name].create(
                    connection, checkfirst=True
                )
            if schema in known:
                position = known[schema]
                state = log_state(connection, held.physical)
                move_to(connection, held.physical, state, LogState(position.epoch, position.lsn, GENESIS))


def read_table(registry: Registry, schema: SchemaId, table: str) -> Iterator[dict[str, Any]]:
    """All rows of one logical table of a schema, as mappings; nothing where it has no such table."""
    held = registry.get(schema)
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        if table in tables:
            physical = registry.physical_tables(held.physical, tuple(tables.values()))[table]
            for row in connection.execute(sa.select(physical)):
                yield dict(row._mapping)


def _own(registry: Registry) -> SchemaId:
    return SchemaId(registry.site, registry.site)


def _ids_in(registry: Registry, schema: SchemaId, table: str) -> bytes:
    """The dataset ids of a table, end to end; none where the schema has no such table."""
    held = registry.get(schema)
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        if table not in tables:
            return b""
        physical = registry.physical_tables(held.physical, tuple(tables.values()))[table]
        rows = connection.execute(sa.select(physical.c.dataset_id)).scalars()
        return b"".join(one.bytes for one in rows)


def dataset_ids(registry: Registry) -> PackedIds:
    """Every dataset of the snapshot."""
    return PackedIds.joined(b"".join(_ids_in(registry, held.schema, "dataset") for held in registry.held()))


def ids_with_files(registry: Registry) -> PackedIds:
    """The datasets whose files are below the snapshot."""
    return PackedIds.joined(_ids_in(registry, _own(registry), "artifact"))


def own_files(registry: Registry) -> Iterator[dict[str, Any]]:
    """The snapshot's own files, as ``artifact`` rows in order of path."""
    held = registry.get(_own(registry))
    with registry.database.read((held.physical,)) as connection:
        physical = registry.physical_tables(held.physical, (_ARTIFACT,))["artifact"]
        for row in connection.execute(sa.select(physical).order_by(physical.c.uri)):
            yield dict(row._mapping)


def own_totals(registry: Registry) -> tuple[int, int]:
    """(files, bytes) below the snapshot."""
    held = registry.get(_own(registry))
    with registry.database.read((held.physical,)) as connection:
        physical = registry.physical_tables(held.physical, (_ARTIFACT,))["artifact"]
        found = connection.execute(sa.select(sa.func.count(), sa.func.sum(physical.c.size_bytes))).one()
    return found[0], found[1] or 0


def recorded(registry: Registry, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Those of some datasets whose files are below the snapshot."""
    held = registry.get(_own(registry))
    with registry.database.read((held.physical,)) as connection:
        physical = registry.physical_tables(held.physical, (_ARTIFACT,))["artifact"]
        keys = [(one,) for one in ids]
        return {row["dataset_id"] for row in select_rows(connection, physical, ("dataset_id",), keys)}


def local_artifacts(registry: Registry) -> dict[uuid.UUID, dict[str, Any]]:
    """The snapshot's own files: ``artifact`` row by dataset."""
    return {row["dataset_id"]: row for row in read_table(registry, _own(registry), "artifact")}


def record_files(registry: Registry, rows: Sequence[Mapping[str, Any]]) -> None:
    """Note files that are below the snapshot, in its own schema; rows that are there are left alone.

    `write_own_log` logs them when all are there.
    """
    held = registry.get(_own(registry))
    with registry.database.write(held.physical) as connection:
        connection.exec_driver_sql(f'PRAGMA "{held.physical}".cache_size = -{_CACHE_KIB}')
        physical = registry.physical_tables(held.physical, (_ARTIFACT,))["artifact"]
        keys = [(row["dataset_id"],) for row in rows]
        there = {row["dataset_id"] for row in select_rows(connection, physical, ("dataset_id",), keys)}
        fresh = [row for row in rows if row["dataset_id"] not in there]
        names = _ARTIFACT.stored_names
        columns = [stored_values(_ARTIFACT.column(name).type, [row[name] for row in fresh]) for name in names]
        upsert_columns(connection, physical, _ARTIFACT, names, columns)


def row_counts(registry: Registry) -> dict[str, int]:
    """Rows by logical table, over all schemas."""
    counts: dict[str, int] = {}
    for held in registry.held():
        with registry.database.read((held.physical,)) as connection:
            tables = registry.tables_in(connection, held.physical)
            physical = registry.physical_tables(held.physical, tuple(tables.values()))
            for name, table in physical.items():
                count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                if count:
                    counts[name] = counts.get(name, 0) + count
    return counts
