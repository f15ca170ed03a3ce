"""What changes of a catalog while its tables stay: positions and row counts, and the statistics of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs
import msgspec

from federation.errors import CorruptionError
from federation.model.position import SchemaId
from federation.model.statistics import ColumnStats, TableStats, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.catalog import SiteCatalog

__all__ = [
    "Statistics",
    "decode_statistics",
    "encode_state",
    "encode_statistics",
    "statistics_of",
    "with_state",
    "with_statistics",
]

#: columns' statistics by schema and table
Statistics = dict[tuple[SchemaId, str], dict[str, ColumnStats]]

T = TypeVar("T")


class _Count(msgspec.Struct, array_like=True):
    row_count: int
    is_exact: bool
    is_current: bool


class _State(msgspec.Struct, array_like=True):
    """One schema; tables that ``counts`` leaves out are known to be empty."""

    site: str
    name: str
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float | None
    counts: dict[str, _Count]


class _Column(msgspec.Struct, array_like=True):
    distinct_count: float | None
    null_fraction: float
    low: Value | None
    high: Value | None
    is_exact: bool
    common: tuple[tuple[Value, float], ...]
    width: float | None
    is_complete: bool = False


class _Table(msgspec.Struct, array_like=True):
    site: str
    schema: str
    table: str
    columns: dict[str, _Column]


def encode_state(catalog: SiteCatalog) -> bytes:
    """Positions, ages and row counts of a site's schemas as msgpack."""
    states = [
        _State(
            held.schema.site,
            held.schema.name,
            held.epoch,
            held.lsn,
            held.head_lsn,
            held.staleness_s,
            {
                name: _Count(stats.row_count, stats.is_exact, stats.is_current)
                for name, stats in held.stats.items()
                if stats.row_count or not stats.is_exact
            },
        )
        for held in catalog.schemas
    ]
    return msgspec.msgpack.encode(states)


def with_state(layout: SiteCatalog, data: bytes, version: str, layout_version: str) -> SiteCatalog:
    """A catalog with the state from `encode_state`; `CorruptionError` where that is of other schemas."""
    states = {
        SchemaId(state.site, state.name): state for state in _decoded(data, list[_State], "a site's state")
    }
    if set(states) != {held.schema for held in layout.schemas}:
        raise CorruptionError(
            f"site {layout.site} tells the state of other schemas than it has", hint="ask again"
        )
    schemas = []
    for held in layout.schemas:
        state = states[held.schema]
        stats = {
            name: attrs.evolve(
                known, row_count=count.row_count, is_exact=count.is_exact, is_current=count.is_current
            )
            for name, known in held.stats.items()
            for count in (state.counts.get(name, _Count(0, True, False)),)
        }
        schemas.append(
            attrs.evolve(
                held,
                epoch=state.epoch,
                lsn=state.lsn,
                head_lsn=state.head_lsn,
                staleness_s=state.staleness_s,
                stats=stats,
            )
        )
    return attrs.evolve(layout, version=version, layout=layout_version, schemas=tuple(schemas))


def statistics_of(catalog: SiteCatalog) -> Statistics:
    """The columns' statistics that a catalog has."""
    return {
        (held.schema, name): dict(stats.columns)
        for held in catalog.schemas
        for name, stats in held.stats.items()
        if stats.columns
    }


def encode_statistics(catalog: SiteCatalog) -> bytes:
    """The columns' statistics of a catalog as msgpack."""
    tables = [
        _Table(
            schema.site,
            schema.name,
            table,
            {
                name: _Column(
                    stats.distinct_count,
                    stats.null_fraction,
                    stats.low,
                    stats.high,
                    stats.is_exact,
                    stats.common,
                    stats.width,
                    stats.is_complete,
                )
                for name, stats in columns.items()
            },
        )
        for (schema, table), columns in statistics_of(catalog).items()
    ]
    return msgspec.msgpack.encode(tables)


def decode_statistics(data: bytes) -> Statistics:
    """Statistics from `encode_statistics`; `CorruptionError` when they are something else."""
    return {
        (SchemaId(table.site, table.schema), table.table): {
            name: ColumnStats(
                column.distinct_count,
                column.null_fraction,
                column.low,
                column.high,
                column.is_exact,
                column.common,
                column.width,
                column.is_complete,
            )
            for name, column in table.columns.items()
        }
        for table in _decoded(data, list[_Table], "statistics")
    }


def with_statistics(
    catalog: SiteCatalog, statistics: Mapping[tuple[SchemaId, str], Mapping[str, ColumnStats]], version: str
) -> SiteCatalog:
    """The catalog with these statistics of columns, and none besides."""
    schemas = tuple(
        attrs.evolve(
            held,
            stats={
                name: _with_columns(stats, statistics.get((held.schema, name), {}))
                for name, stats in held.stats.items()
            },
        )
        for held in catalog.schemas
    )
    return attrs.evolve(catalog, schemas=schemas, statistics=version)


def _with_columns(stats: TableStats, columns: Mapping[str, ColumnStats]) -> TableStats:
    return attrs.evolve(stats, columns=dict(columns)) if columns or stats.columns else stats


def _decoded(data: bytes, type_: type[T], what: str) -> T:
    try:
        return msgspec.msgpack.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"not {what} of a catalog: {error}", hint="bring both sites to one version"
        ) from error
