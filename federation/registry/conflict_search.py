"""Finding conflicts between schemas: one dataset id that two of them give different contents or definitions."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.model.data_id import data_id_text
from federation.model.dataset import DatasetType
from federation.registry.artifacts import differ
from federation.registry.conflicts import Conflict, conflict_id, note_conflicts, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["find_across"]


def find_across(registry: Registry, *, record: bool = True) -> list[Conflict]:
    """The conflicts, not resolved at this site, between any two schemas held here, replicas included.

    Compared are checksums of present files, and dataset type, run and data ID. With ``record`` new ones are written
    into the site's own schema. The work is a join by dataset id for each pair of schemas that have any such rows.
    """
    found: dict[Any, Conflict] = {}
    artifacts = _with_rows(registry, "artifact")
    for one, other in [*((held, held) for held in artifacts), *combinations(artifacts, 2)]:
        for conflict in _contents(registry, one, other):
            found.setdefault(conflict.conflict_id, conflict)
    for one, other in combinations(_with_rows(registry, "dataset"), 2):
        for conflict in _definitions(registry, one, other):
            found.setdefault(conflict.conflict_id, conflict)
    if not found:
        return []
    known = {conflict.conflict_id: conflict for conflict in read(registry, list(found))}
    fresh = [conflict for identity, conflict in found.items() if identity not in known]
    if fresh and record:
        with registry.transaction(registry.site) as tx:
            note_conflicts(tx, fresh)
    answer = [known.get(identity, conflict) for identity, conflict in found.items()]
    return [conflict for conflict in answer if conflict.resolution is None]


def _with_rows(registry: Registry, table: str) -> list[HeldSchema]:
    """Schemas in which a table has any rows."""
    found = []
    for held in registry.held():
        with registry.database.read((held.physical,)) as connection:
            physical = _tables(registry, connection, held)[table]
            if connection.execute(sa.select(sa.literal(1)).select_from(physical).limit(1)).first():
                found.append(held)
    return found


def _tables(registry: Registry, connection: sa.Connection, held: HeldSchema) -> dict[str, sa.Table]:
    tables = tuple(registry.tables_in(connection, held.physical).values())
    return registry.physical_tables(held.physical, tables)


def _contents(registry: Registry, one: HeldSchema, other: HeldSchema) -> Iterator[Conflict]:
    """Files of one dataset whose checksums differ."""
    with registry.database.read(dict.fromkeys((one.physical, other.physical))) as connection:
        datasets = [_tables(registry, connection, held)["dataset"].alias() for held in (one, other)]
        a = _tables(registry, connection, one)["artifact"].alias()
        b = _tables(registry, connection, other)["artifact"].alias()
        same = sa.and_(a.c.dataset_id == b.c.dataset_id, a.c.checksum != b.c.checksum)
        if one == other:  # files at two sites, recorded by one schema
            same = sa.and_(same, a.c.site < b.c.site)
        names = (
            sa.func.coalesce(datasets[0].c[name], datasets[1].c[name]).label(name)
            for name in ("dataset_type", "run")
        )
        chosen = (
            sa.select(a.c.dataset_id, *names, a.c.checksum, a.c.size_bytes, b.c.checksum.label("other"),
                      b.c.size_bytes.label("other_size"), b.c.uri, b.c.site)
            .select_from(
                a.join(b, same)
                .outerjoin(datasets[0], datasets[0].c.dataset_id == a.c.dataset_id)
                .outerjoin(datasets[1], datasets[1].c.dataset_id == a.c.dataset_id)
            )
            .where(a.c.present, b.c.present)
        )  # fmt: skip
        noticed = registry.clock()
        for row in connection.execute(chosen):
            if differ(row.checksum, row.other, row.size_bytes, row.other_size):
                yield Conflict(
                    conflict_id(row.dataset_id, "checksum", row.checksum, row.other),
                    row.dataset_id,
                    row.dataset_type or "",
                    row.run or "",
                    "checksum",
                    row.checksum,
                    row.other,
                    row.uri if "://" in row.uri else f"{row.site}:{row.uri}",
                    registry.site,
                    noticed,
                )


def _definitions(registry: Registry, one: HeldSchema, other: HeldSchema) -> Iterator[Conflict]:
    """Datasets whose type, run or data ID differ."""
    with registry.database.read((one.physical, other.physical)) as connection:
        first, second = (_tables(registry, connection, held) for held in (one, other))
        required = {
            name: _required(registry, connection, first, name)
            for name in sorted(_declared(connection, first) & _declared(connection, second))
        }
        for name, columns in [("dataset", ("dataset_type", "run")), *required.items()]:
            if not columns:
                continue
            a, b = first[name].alias(), second[name].alias()
            unlike = sa.or_(*(a.c[column] != b.c[column] for column in columns))
            chosen = sa.select(
                a.c.dataset_id, a.c.run, *(a.c[column].label(f"a_{column}") for column in columns),
                *(b.c[column].label(f"b_{column}") for column in columns),
            ).where(a.c.dataset_id == b.c.dataset_id, unlike)  # fmt: skip
            noticed = registry.clock()
            for row in connection.execute(chosen):
                recorded = data_id_text(columns, row[2 : 2 + len(columns)])
                offered = data_id_text(columns, row[2 + len(columns) :])
                yield Conflict(
                    conflict_id(row.dataset_id, "definition", recorded, offered),
                    row.dataset_id,
                    row.a_dataset_type if name == "dataset" else name,
                    row.run,
                    "definition",
                    recorded,
                    offered,
                    None,
                    registry.site,
                    noticed,
                )


def _declared(connection: sa.Connection, tables: Mapping[str, sa.Table]) -> set[str]:
    """Dataset types that a schema declares."""
    return set(connection.scalars(sa.select(tables["dataset_type"].c.name)))


def _required(
    registry: Registry, connection: sa.Connection, tables: Mapping[str, sa.Table], name: str
) -> tuple[str, ...]:
    """The dimensions that identify a dataset of a type."""
    table = tables["dataset_type"]
    row = connection.execute(sa.select(table).where(table.c.name == name)).one()
    return registry.universe.group(DatasetType.from_row(dict(row._mapping)).dimensions).required
