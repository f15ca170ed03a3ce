"""What a site can answer from: its schemas and replicas, their tables, and how many rows each has."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog.replica_source import replica_source
from federation.errors import NotFoundError
from federation.model.catalog import SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import LogicalType
from federation.registry.marks import glance_at_marks, read_marks
from federation.registry.metrics import metric_types
from federation.registry.schemas import FORMAT_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.logical import TableDef
    from federation.model.position import SchemaId
    from federation.registry.marks import Mark
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["CatalogSource"]

#: tables of PostgreSQL with more rows than this are not counted after every commit
COUNTED_ROWS_MAX = 200_000
#: mean bytes of a value in an Arrow column, for estimates
_VALUE_BYTES = {
    LogicalType.INT64: 8.0,
    LogicalType.FLOAT64: 8.0,
    LogicalType.BOOL: 0.125,
    LogicalType.STRING: 16.0,
    LogicalType.BYTES: 120.0,
    LogicalType.UUID: 16.0,
    LogicalType.TIMESTAMP: 8.0,
}


class CatalogSource:
    """Makes a site's catalog; rows of a schema are counted again only when its log or watermark has moved."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._counted: dict[
            str, tuple[Mark, tuple[TableDef, ...], dict[str, TableStats], dict[str, LogicalType]]
        ] = {}

    def catalog(
        self,
        staleness_s: Mapping[SchemaId, float | None] | None = None,
        heads: Mapping[SchemaId, int] | None = None,
    ) -> SiteCatalog:
        """The catalog now; ``staleness_s`` and ``heads`` of the replicas come from their followers."""
        found = tuple(
            one
            for held in self._registry.held()
            if (one := self._unless_dropped(held, staleness_s or {}, heads or {})) is not None
        )
        # a mark stands for all rows, those that declare tables among them
        text = repr(
            [
                (schema.schema, schema.staleness_s, schema.head_lsn, sorted(schema.partial_tables), mark)
                for schema, mark in found
            ]
        )
        return SiteCatalog(
            self._registry.site,
            hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
            tuple(schema for schema, _ in found),
        )

    def _unless_dropped(
        self, held: HeldSchema, staleness_s: Mapping[SchemaId, float | None], heads: Mapping[SchemaId, int]
    ) -> tuple[SchemaCatalog, Mark] | None:
        """The schema with its mark, or None where it went while it was looked at."""
        try:
            return self._schema(held, staleness_s, heads)
        except NotFoundError:
            if held in self._registry.held():
                raise
            return None

    def _schema(
        self, held: HeldSchema, staleness_s: Mapping[SchemaId, float | None], heads: Mapping[SchemaId, int]
    ) -> tuple[SchemaCatalog, Mark]:
        registry = self._registry
        (mark,) = glance_at_marks(registry.database, (held.physical,))
        counted = self._counted.get(held.physical)
        if counted is None or counted[0] != mark:
            with registry.database.read((held.physical,)) as connection:
                (mark,) = read_marks(connection, (held.physical,))
                tables = tuple(registry.tables_in(connection, held.physical).values())
                stats = self._count(connection, held, tables)
                counted = (mark, tables, stats, self._metrics(connection, held, tables, stats))
                self._counted[held.physical] = counted
        schema = SchemaCatalog(
            held.schema,
            mark.epoch,
            mark.lsn,
            mark.lsn if held.owned else max(heads.get(held.schema, mark.lsn), mark.lsn),
            0.0 if held.owned else _whole_seconds(staleness_s.get(held.schema)),
            counted[1],
            counted[2],
            counted[3],
            partial_tables=self._partial(held, counted[1]),
        )
        return schema, mark

    def _partial(self, held: HeldSchema, tables: tuple[TableDef, ...]) -> frozenset[str]:
        """Tables of which a filtered replica may lack rows; while its filter is changed, by the one or the other."""
        if held.owned or self._registry.format_version != FORMAT_VERSION:
            return frozenset()
        with self._registry.database.read((held.physical,)) as connection:
            source = replica_source(connection, held.physical)
        return source.filter.partial_tables(tables) | source.wanted.partial_tables(tables)

    def _count(
        self, connection: sa.Connection, held: HeldSchema, tables: tuple[TableDef, ...]
    ) -> dict[str, TableStats]:
        physical = self._registry.physical_tables(held.physical, tables)
        large = _large_tables(connection, held.physical)
        rows = {table.name: large[table.physical_name] for table in tables if table.physical_name in large}
        counted = [table for table in tables if table.name not in rows]
        counts = sa.union_all(
            *(
                sa.select(sa.literal(number).label("number"), sa.func.count().label("n")).select_from(
                    physical[table.name]
                )
                for number, table in enumerate(counted)
            )
        )
        rows |= {counted[row.number].name: row.n for row in connection.execute(counts)}
        return {
            table.name: TableStats(
                rows[table.name], sum(_VALUE_BYTES[column.type] for column in table.columns)
            )
            for table in tables
        }

    def _metrics(
        self,
        connection: sa.Connection,
        held: HeldSchema,
        tables: tuple[TableDef, ...],
        stats: Mapping[str, TableStats],
    ) -> dict[str, LogicalType]:
        if "metric" not in stats or not stats["metric"].row_count:
            return {}
        return metric_types(connection, self._registry.physical_tables(held.physical, tables)["metric"])


def _large_tables(connection: sa.Connection, physical: str) -> dict[str, int]:
    """PostgreSQL's own estimate of the rows of its large tables: counting them would read them whole."""
    if connection.dialect.name != "postgresql":
        return {}
    found = connection.execute(
        sa.text(
            "SELECT c.relname, c.reltuples::bigint AS n FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace "
            "WHERE s.nspname = :schema AND c.relkind = 'r' AND c.reltuples >= :least"
        ),
        {"schema": physical, "least": COUNTED_ROWS_MAX},
    )
    return {row.relname: row.n for row in found}


def _whole_seconds(staleness_s: float | None) -> float | None:
    """Rounded up: never better than the truth, and the catalog's version does not change with every heartbeat."""
    return None if staleness_s is None else float(math.ceil(staleness_s))
