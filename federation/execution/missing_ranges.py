"""What is known of the rows that a partial answer lacks: from the last word of their site, or of a replica's holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.model.logical import LogicalType
from federation.model.timespan import format_tai
from federation.planner.plan import MissingRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from federation.model.catalog import SchemaCatalog, SiteCatalog
    from federation.model.logical import TableDef
    from federation.model.statistics import TableStats
    from federation.planner.plan import Missing

__all__ = ["with_ranges"]


def with_ranges(missing: Iterable[Missing], catalogs: Iterable[SiteCatalog]) -> tuple[Missing, ...]:
    """``missing`` with counts and ranges by the last known ``catalogs``, of sites that are up or down.

    A site of whose schemas the planner knew nothing stands there with each of its own that has the table.
    """
    known = list(catalogs)
    return tuple(told for one in missing for told in _told(one, known))


def _told(missing: Missing, catalogs: list[SiteCatalog]) -> Iterator[Missing]:
    copies: dict[object, SchemaCatalog] = {}
    refused = {
        held.schema
        for site in catalogs
        for held in site.schemas
        if held.forbidden is not None and held.schema.site == site.site
    }
    for site in sorted(catalogs, key=lambda catalog: catalog.site != missing.site):
        for held in site.schemas:
            is_meant = held.schema == missing.schema or (
                missing.schema is None and held.schema.site == missing.site
            )
            is_told = held.forbidden is None and held.schema not in refused
            if is_meant and is_told and missing.table in held.stats:
                copies.setdefault(held.schema, held)  # the owner's own word comes first
    if not copies:
        yield missing
    for held in copies.values():
        stats, table = held.stats[missing.table], held.table(missing.table)
        ranges = _ranges(table, stats) if table is not None else ()
        yield attrs.evolve(missing, schema=held.schema, row_count=stats.row_count, ranges=ranges)


def _ranges(table: TableDef, stats: TableStats) -> tuple[MissingRange, ...]:
    """From when to when: of timestamps, or else of the whole numbers of the key, which count days and exposures."""
    names = [column.name for column in table.columns if column.type is LogicalType.TIMESTAMP]
    if not names:
        names = [
            column.name
            for column in table.columns
            if column.type is LogicalType.INT64 and (not table.key or column.name in table.key)
        ]
    found = []
    for name in names:
        known = stats.columns.get(name)
        if known is not None and known.low is not None and known.high is not None:
            is_time = table.column(name).type is LogicalType.TIMESTAMP
            low, high = (
                format_tai(int(value)) if is_time else str(value) for value in (known.low, known.high)
            )
            found.append(MissingRange(name, low, high))
    return tuple(found)
