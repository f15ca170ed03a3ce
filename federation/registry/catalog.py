"""What a site can answer from: its schemas and replicas, their tables, and how many rows each has."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog import log_state
from federation.model.catalog import SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.logical import TableDef
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["CatalogSource"]

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
            str, tuple[tuple[str, int, bytes, int], tuple[TableDef, ...], dict[str, TableStats]]
        ] = {}

    def catalog(
        self,
        staleness_s: Mapping[SchemaId, float | None] | None = None,
        heads: Mapping[SchemaId, int] | None = None,
    ) -> SiteCatalog:
        """The catalog now; ``staleness_s`` and ``heads`` of the replicas come from their followers."""
        schemas = tuple(self._schema(held, staleness_s or {}, heads or {}) for held in self._registry.held())
        text = repr([(s.schema, s.epoch, s.lsn, s.staleness_s, sorted(s.stats.items())) for s in schemas])
        return SiteCatalog(
            self._registry.site, hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), schemas
        )

    def _schema(
        self, held: HeldSchema, staleness_s: Mapping[SchemaId, float | None], heads: Mapping[SchemaId, int]
    ) -> SchemaCatalog:
        registry = self._registry
        with registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
            # PostgreSQL: rows are visible before their entry has a number
            log = sa.table("change_log", sa.column("entry_id"), schema=held.physical)
            last = connection.execute(sa.select(sa.func.max(log.c.entry_id))).scalar() or 0
            mark = (state.epoch, state.lsn, state.chain, last)
            counted = self._counted.get(held.physical)
            if counted is None or counted[0] != mark:
                tables = tuple(registry.tables_in(connection, held.physical).values())
                counted = (mark, tables, self._count(connection, held, tables))
                self._counted[held.physical] = counted
        return SchemaCatalog(
            held.schema,
            state.epoch,
            state.lsn,
            state.lsn if held.owned else max(heads.get(held.schema, state.lsn), state.lsn),
            0.0 if held.owned else _whole_seconds(staleness_s.get(held.schema)),
            counted[1],
            counted[2],
        )

    def _count(
        self, connection: sa.Connection, held: HeldSchema, tables: tuple[TableDef, ...]
    ) -> dict[str, TableStats]:
        physical = self._registry.physical_tables(held.physical, tables)
        counts = sa.union_all(
            *(
                sa.select(sa.literal(number).label("number"), sa.func.count().label("n")).select_from(
                    physical[table.name]
                )
                for number, table in enumerate(tables)
            )
        )
        rows = {row.number: row.n for row in connection.execute(counts)}
        return {
            table.name: TableStats(rows[number], sum(_VALUE_BYTES[column.type] for column in table.columns))
            for number, table in enumerate(tables)
        }


def _whole_seconds(staleness_s: float | None) -> float | None:
    """Rounded up: never better than the truth, and the catalog's version does not change with every heartbeat."""
    return None if staleness_s is None else float(math.ceil(staleness_s))
