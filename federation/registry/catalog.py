"""What a site can answer from: its schemas and replicas, their tables, and how many rows each has."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import attrs

from federation.changelog.replica_source import replica_source
from federation.errors import NotFoundError
from federation.model.catalog import SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import LogicalType
from federation.registry.marks import glance_at_marks, read_marks
from federation.registry.metrics import metric_types
from federation.registry.row_counts import RowCount, count_rows
from federation.registry.schemas import FORMAT_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy as sa

    from federation.model.logical import TableDef
    from federation.model.position import SchemaId
    from federation.registry.marks import Mark
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.registry.statistics import SchemaStatistics, StatisticsSource

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


@attrs.frozen
class _Counted:
    """A schema at a mark; ``layout`` stands for its tables and metrics."""

    mark: Mark
    tables: tuple[TableDef, ...]
    counts: dict[str, RowCount]
    stats: dict[str, TableStats]
    metrics: dict[str, LogicalType]
    layout: str


class CatalogSource:
    """Makes a site's catalog; rows of a schema are counted again only when its log or watermark has moved.

    ``statistics`` knows the values of columns, as far as somebody has it look at them.
    """

    def __init__(self, registry: Registry, statistics: StatisticsSource | None = None) -> None:
        self._registry = registry
        self._statistics = statistics
        self._counted: dict[str, _Counted] = {}

    def catalog(
        self,
        staleness_s: Mapping[SchemaId, float | None] | None = None,
        heads: Mapping[SchemaId, int] | None = None,
    ) -> SiteCatalog:
        """The catalog now; ``staleness_s`` and ``heads`` of the replicas come from their followers."""
        all_held = self._registry.held()
        marks = self._marks(all_held)
        found = tuple(
            one
            for held in all_held
            if (one := self._unless_dropped(held, marks.get(held), staleness_s or {}, heads or {}))
            is not None
        )
        # a mark stands for all rows, those that declare tables among them
        layout = _digest([(schema.schema, layout) for schema, _, layout, _ in found])
        statistics = _digest([(schema.schema, version) for schema, _, _, version in found])
        version = [
            (schema.schema, schema.staleness_s, schema.head_lsn, sorted(schema.partial_tables), mark)
            for schema, mark, *_ in found
        ]
        current = [name for schema, *_ in found for name, stats in schema.stats.items() if stats.is_current]
        return SiteCatalog(
            self._registry.site,
            _digest([layout, statistics, version, current]),
            tuple(schema for schema, *_ in found),
            layout=layout,
            statistics=statistics,
        )

    def _marks(self, held: Sequence[HeldSchema]) -> dict[HeldSchema, Mark]:
        """The marks by one statement, where one sees all schemas; none where one of them went meanwhile."""
        if self._registry.database.kind != "postgresql" or not held:
            return {}
        try:
            marks = glance_at_marks(self._registry.database, [one.physical for one in held])
        except NotFoundError:
            return {}
        return dict(zip(held, marks, strict=True))

    def _unless_dropped(
        self,
        held: HeldSchema,
        mark: Mark | None,
        staleness_s: Mapping[SchemaId, float | None],
        heads: Mapping[SchemaId, int],
    ) -> tuple[SchemaCatalog, Mark, str, str] | None:
        """The schema, its mark, and versions of its tables and statistics; None where it went while looked at."""
        try:
            return self._schema(held, mark, staleness_s, heads)
        except NotFoundError:
            if held in self._registry.held():
                raise
            return None

    def _schema(
        self,
        held: HeldSchema,
        mark: Mark | None,
        staleness_s: Mapping[SchemaId, float | None],
        heads: Mapping[SchemaId, int],
    ) -> tuple[SchemaCatalog, Mark, str, str]:
        registry = self._registry
        if mark is None:
            (mark,) = glance_at_marks(registry.database, (held.physical,))
        counted = self._counted.get(held.physical)
        if counted is None or counted.mark != mark:
            with registry.database.read((held.physical,)) as connection:
                (mark,) = read_marks(connection, (held.physical,))
                counted = self._count(connection, held, mark, counted)
                self._counted[held.physical] = counted
        partial = self._partial(held, counted.tables)
        known = self._statistics.known(held.physical) if self._statistics else None
        schema = SchemaCatalog(
            held.schema,
            mark.epoch,
            mark.lsn,
            mark.lsn if held.owned else max(heads.get(held.schema, mark.lsn), mark.lsn),
            0.0 if held.owned else _whole_seconds(staleness_s.get(held.schema)),
            counted.tables,
            counted.stats if known is None else _with_columns(known, mark, counted.stats),
            counted.metrics,
            partial_tables=partial,
        )
        return schema, mark, f"{counted.layout} {sorted(partial)}", known.version if known else ""

    def _count(
        self, connection: sa.Connection, held: HeldSchema, mark: Mark, last: _Counted | None
    ) -> _Counted:
        tables = tuple(self._registry.tables_in(connection, held.physical).values())
        physical = self._registry.physical_tables(held.physical, tables)
        counts = count_rows(
            connection,
            held.physical,
            {table.name: physical[table.name] for table in tables},
            last.counts if last else None,
        )
        stats = {
            table.name: TableStats(
                counts[table.name].row_count,
                sum(_VALUE_BYTES[column.type] for column in table.columns),
                counts[table.name].is_exact,
            )
            for table in tables
        }
        metrics = self._metrics(connection, held, tables, stats)
        if last is not None and last.tables == tables and last.metrics == metrics:
            return attrs.evolve(last, mark=mark, counts=counts, stats=stats)
        return _Counted(mark, tables, counts, stats, metrics, _digest([tables, sorted(metrics.items())]))

    def _partial(self, held: HeldSchema, tables: tuple[TableDef, ...]) -> frozenset[str]:
        """Tables of which a filtered replica may lack rows; while its filter is changed, by the one or the other."""
        if held.owned or self._registry.format_version != FORMAT_VERSION:
            return frozenset()
        with self._registry.database.read((held.physical,)) as connection:
            source = replica_source(connection, held.physical)
        return source.filter.partial_tables(tables) | source.wanted.partial_tables(tables)

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


def _with_columns(
    known: SchemaStatistics, mark: Mark, stats: Mapping[str, TableStats]
) -> dict[str, TableStats]:
    """Counts of tables with what is known of their columns, of this mark or an older one."""
    is_current = known.mark == mark
    return {
        name: attrs.evolve(table, columns=known.columns[name], is_current=is_current)
        if name in known.columns
        else table
        for name, table in stats.items()
    }


def _digest(parts: object) -> str:
    """A short text that stands for values, by what they are written as."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _whole_seconds(staleness_s: float | None) -> float | None:
    """Rounded up: never better than the truth, and the catalog's version does not change with every heartbeat."""
    return None if staleness_s is None else float(math.ceil(staleness_s))
