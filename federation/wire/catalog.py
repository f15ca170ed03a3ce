"""A site's catalog as msgpack: the logical tables of every schema it holds, with statistics."""

from __future__ import annotations

import msgspec

from federation.errors import CorruptionError
from federation.model.catalog import SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import ColumnDef, LogicalType, Reference, TableDef, TableKind
from federation.model.position import SchemaId

__all__ = ["decode_catalog", "decode_tables", "encode_catalog", "encode_tables"]


class _Column(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    name: str
    type: LogicalType
    nullable: bool
    key_determined: bool
    origin: bool
    doc: str
    unit: str
    ucd: str = ""


class _Reference(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    columns: tuple[str, ...]
    table: str
    target: tuple[str, ...]


class _Table(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    name: str
    kind: TableKind
    columns: tuple[_Column, ...]
    key: tuple[str, ...]
    physical_name: str
    unique: tuple[tuple[str, ...], ...]
    indexes: tuple[tuple[str, ...], ...]
    references: tuple[_Reference, ...]
    doc: str
    clustering: tuple[str, ...]


class _Schema(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    site: str
    name: str
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float | None
    tables: tuple[_Table, ...]
    stats: dict[str, tuple[int, float]]
    metrics: dict[str, LogicalType] = {}
    forbidden: tuple[str, str] | None = None
    partial_tables: frozenset[str] = frozenset()


class _Catalog(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    site: str
    version: str
    schemas: tuple[_Schema, ...]


def _table_out(table: TableDef) -> _Table:
    return _Table(
        table.name,
        table.kind,
        tuple(
            _Column(c.name, c.type, c.nullable, c.key_determined, c.origin, c.doc, c.unit, c.ucd)
            for c in table.columns
        ),
        table.key,
        table.physical_name,
        table.unique,
        table.indexes,
        tuple(_Reference(r.columns, r.table, r.target) for r in table.references),
        table.doc,
        table.clustering,
    )


def _table_in(table: _Table) -> TableDef:
    return TableDef(
        table.name,
        table.kind,
        tuple(
            ColumnDef(c.name, c.type, c.nullable, c.key_determined, c.origin, c.doc, c.unit, c.ucd)
            for c in table.columns
        ),
        table.key,
        table.physical_name,
        table.unique,
        table.indexes,
        tuple(Reference(r.columns, r.table, r.target) for r in table.references),
        table.doc,
        table.clustering,
    )


def encode_tables(tables: tuple[TableDef, ...]) -> bytes:
    """Table definitions as msgpack."""
    return msgspec.msgpack.encode(tuple(map(_table_out, tables)))


def decode_tables(data: bytes) -> tuple[TableDef, ...]:
    """Table definitions from `encode_tables`; `CorruptionError` when they are something else."""
    try:
        return tuple(map(_table_in, msgspec.msgpack.decode(data, type=tuple[_Table, ...])))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"not table definitions: {error}", hint="was it written by another version?"
        ) from error


def encode_catalog(catalog: SiteCatalog) -> bytes:
    """A catalog as msgpack."""
    schemas = tuple(
        _Schema(
            held.schema.site,
            held.schema.name,
            held.epoch,
            held.lsn,
            held.head_lsn,
            held.staleness_s,
            tuple(map(_table_out, held.tables)),
            {name: (stats.row_count, stats.row_bytes) for name, stats in held.stats.items()},
            held.metrics,
            held.forbidden,
            held.partial_tables,
        )
        for held in catalog.schemas
    )
    return msgspec.msgpack.encode(_Catalog(catalog.site, catalog.version, schemas))


def decode_catalog(data: bytes) -> SiteCatalog:
    """A catalog from `encode_catalog`; `CorruptionError` when it is something else."""
    try:
        raw = msgspec.msgpack.decode(data, type=_Catalog)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptionError(
            f"not a site's catalog: {error}", hint="bring both sites to one version"
        ) from error
    schemas = tuple(
        SchemaCatalog(
            SchemaId(held.site, held.name),
            held.epoch,
            held.lsn,
            held.head_lsn,
            held.staleness_s,
            tuple(map(_table_in, held.tables)),
            {name: TableStats(*stats) for name, stats in held.stats.items()},
            held.metrics,
            held.forbidden,
            held.partial_tables,
        )
        for held in raw.schemas
    )
    return SiteCatalog(raw.site, raw.version, schemas)
