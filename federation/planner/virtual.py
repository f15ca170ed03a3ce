"""The tables of schema ``federation``: what the planner itself knows, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.model.logical import ColumnDef, LogicalType
from federation.planner.plan import LiteralTable, OutputColumn

if TYPE_CHECKING:
    from federation.model.catalog import FederationCatalog, SchemaCatalog
    from federation.model.position import SchemaId

__all__ = ["SCHEMA", "VIRTUAL_TABLES", "literal_table"]

#: the schema's name
SCHEMA = "federation"

_L = LogicalType

#: columns of each virtual table
VIRTUAL_TABLES: dict[str, tuple[ColumnDef, ...]] = {
    "tables": (
        ColumnDef("name", _L.STRING, nullable=False, doc="name of the logical table"),
        ColumnDef("schema", _L.STRING, nullable=False, doc="schema it is in"),
        ColumnDef("owner", _L.STRING, nullable=False, doc="site that owns the schema"),
        ColumnDef("kind", _L.STRING, nullable=False, doc="dimension, dataset_type, system or user"),
        ColumnDef("rows", _L.INT64, doc="rows in the copy nearest to here; NULL: not counted"),
        ColumnDef("columns", _L.INT64, nullable=False, doc="how many columns it has"),
        ColumnDef("held_by", _L.STRING, nullable=False, doc="sites that hold a copy, nearest first"),
        ColumnDef("lag_lsn", _L.INT64, doc="log entries the nearest copy lacks", unit=""),
        ColumnDef("lag_s", _L.FLOAT64, doc="age of the nearest copy; NULL: never complete", unit="s"),
        ColumnDef("doc", _L.STRING, nullable=False, doc="what it is"),
    ),
    "columns": (
        ColumnDef("table_name", _L.STRING, nullable=False, doc="name of the logical table"),
        ColumnDef("schema", _L.STRING, nullable=False, doc="schema it is in"),
        ColumnDef("owner", _L.STRING, nullable=False, doc="site that owns the schema"),
        ColumnDef("position", _L.INT64, nullable=False, doc="0 is the first column"),
        ColumnDef("name", _L.STRING, nullable=False, doc="name of the column"),
        ColumnDef("type", _L.STRING, nullable=False, doc="its logical type"),
        ColumnDef("nullable", _L.BOOL, nullable=False, doc="whether it may be NULL"),
        ColumnDef("is_key", _L.BOOL, nullable=False, doc="whether it is part of the key"),
        ColumnDef("unit", _L.STRING, nullable=False, doc="unit of its values"),
        ColumnDef("ucd", _L.STRING, nullable=False, doc="UCD (IVOA) of its values; empty: none"),
        ColumnDef("doc", _L.STRING, nullable=False, doc="what it is"),
    ),
    "sites": (
        ColumnDef("site", _L.STRING, nullable=False, doc="name of the site"),
        ColumnDef("reachable", _L.BOOL, nullable=False, doc="whether it answered"),
        ColumnDef(
            "detail", _L.STRING, nullable=False, doc="what it owns and holds, or why it did not answer"
        ),
    ),
}


def literal_table(name: str, catalog: FederationCatalog) -> LiteralTable:
    """The rows of one virtual table."""
    columns = tuple(OutputColumn(column.name, column.type) for column in VIRTUAL_TABLES[name])
    rows = {"tables": _tables, "columns": _columns, "sites": _sites}[name](catalog)
    return LiteralTable(f"{SCHEMA}_{name}", columns, tuple(rows))


def _nearest(catalog: FederationCatalog, schema: SchemaId) -> SchemaCatalog:
    return catalog.holders(schema)[0][1]


def _tables(catalog: FederationCatalog) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for schema in catalog.schemas:
        held = _nearest(catalog, schema)
        held_by = ", ".join(site for site, _ in catalog.holders(schema))
        for table in held.tables:
            # a filtered replica knows only how many rows it has itself
            stats = None if table.name in held.partial_tables else held.stats.get(table.name)
            rows.append(
                (
                    table.name,
                    schema.name,
                    schema.site,
                    table.kind.value,
                    stats.row_count if stats else None,
                    len(table.columns),
                    held_by,
                    max(0, held.head_lsn - held.lsn),
                    held.staleness_s,
                    table.doc,
                )
            )
    return rows


def _columns(catalog: FederationCatalog) -> list[tuple[object, ...]]:
    return [
        (
            table.name,
            schema.name,
            schema.site,
            position,
            column.name,
            column.type.value,
            column.nullable,
            column.name in table.key,
            column.unit,
            column.ucd,
            column.doc,
        )
        for schema in catalog.schemas
        for table in _nearest(catalog, schema).tables
        for position, column in enumerate(table.columns)
    ]


def _sites(catalog: FederationCatalog) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for site in catalog.sites:
        own = [held.schema.name for held in site.schemas if held.schema.site == site.site]
        replicas = [str(held.schema) for held in site.schemas if held.schema.site != site.site]
        rows.append(
            (
                site.site,
                True,
                f"owns {', '.join(own) or 'nothing'}; replicas: {', '.join(replicas) or 'none'}",
            )
        )
    rows.extend((site, False, reason) for site, reason in catalog.unreachable.items())
    return rows
