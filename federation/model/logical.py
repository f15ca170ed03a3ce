"""Logical tables: what queries see, and from which every physical table is generated.

A `TableDef` names columns with a `LogicalType`, a key, and for each column whether the key determines it for all
time (so that a filter on it may pass below shadowing). Physical names and dialect types are made from it by
`federation.storage.tables`; the relationship diagram of the documentation is drawn from it too.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from federation.model.dataset import DatasetType
    from federation.model.dimension import DimensionUniverse

__all__ = [
    "ORIGIN",
    "ColumnDef",
    "LogicalType",
    "Reference",
    "TableDef",
    "TableKind",
    "column_def",
    "dataset_type_table",
    "dimension_tables",
]


class LogicalType(enum.StrEnum):
    """The types of logical columns; each means the same on SQLite, PostgreSQL, DuckDB and Arrow.

    ``TIMESTAMP`` is TAI with nanosecond resolution, stored as a 64-bit count of nanoseconds since
    1970-01-01T00:00:00 TAI, and shown without zone.
    """

    INT64 = "int64"
    FLOAT64 = "float64"
    BOOL = "bool"
    STRING = "string"
    BYTES = "bytes"
    UUID = "uuid"
    TIMESTAMP = "timestamp"


class TableKind(enum.StrEnum):
    """What a logical table stands for."""

    DIMENSION = "dimension"
    DATASET_TYPE = "dataset_type"
    SYSTEM = "system"
    USER = "user"


@attrs.frozen(cache_hash=True)
class ColumnDef:
    """One column of a logical table.

    ``key_determined`` says that two rows with the same key, whoever wrote them, agree in this column.
    ``origin`` marks a column that holds no bytes: it is the name of the site that owns the row.
    """

    name: str
    type: LogicalType
    nullable: bool = True
    key_determined: bool = False
    origin: bool = False
    doc: str = ""
    unit: str = ""
    ucd: str = ""


@attrs.frozen
class Reference:
    """Columns that hold the key of a row of another logical table (shown in the diagram; not a constraint)."""

    columns: tuple[str, ...]
    table: str
    target: tuple[str, ...]


@attrs.frozen(cache_hash=True)
class TableDef:
    """One logical table: its columns in order, its key, and where it lives in a schema."""

    name: str
    kind: TableKind
    columns: tuple[ColumnDef, ...]
    key: tuple[str, ...]
    physical_name: str
    unique: tuple[tuple[str, ...], ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()
    doc: str = ""
    #: columns that tell rows apart, in the order that rows lie and are mostly added in; empty: the key
    clustering: tuple[str, ...] = ()

    def column(self, name: str) -> ColumnDef:
        """The column called ``name``; `NotFoundError` names those there are."""
        for column in self.columns:
            if column.name == name:
                return column
        raise NotFoundError(
            f"table {self.name!r} has no column {name!r}", hint="its columns: " + ", ".join(self.column_names)
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def stored(self) -> tuple[ColumnDef, ...]:
        """The columns that a physical table has: all but those filled from the owner's name."""
        return tuple(column for column in self.columns if not column.origin)

    @property
    def stored_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.stored)


def column_def(
    name: str, type_: LogicalType, doc: str, *, null: bool = True, fixed: bool = False, unit: str = ""
) -> ColumnDef:
    """A column of a table that the software itself defines; ``fixed`` when the key determines it for all time."""
    return ColumnDef(name, type_, nullable=null, key_determined=fixed, doc=doc, unit=unit)


ORIGIN = ColumnDef("origin", LogicalType.STRING, nullable=False, origin=True, doc="site that owns the row")


def clustered(universe: DimensionUniverse, dimensions: Iterable[str]) -> tuple[str, ...]:
    """Dimensions in the order that their values are mostly added in: governors, those with a timespan, others.

    New rows then go to the end of an index, and a range of time is a range of it.
    """
    return tuple(
        sorted(dimensions, key=lambda name: (not universe[name].governor, not universe[name].has_timespan))
    )


def dimension_tables(universe: DimensionUniverse) -> tuple[TableDef, ...]:
    """One logical table for each element of the universe that keeps records, in dependency order."""
    return tuple(_dimension_table(universe, name) for name in universe.element_names)


def _dimension_table(universe: DimensionUniverse, name: str) -> TableDef:
    element = universe[name]
    key: list[str] = []
    columns: list[ColumnDef] = []
    for dimension in element.required:
        columns.append(
            column_def(dimension, universe[dimension].key_type, f"key of {dimension}", null=False, fixed=True)
        )
        key.append(dimension)
    if element.primary_key is not None:
        columns.append(
            column_def(
                element.primary_key.name, element.primary_key.type, f"key of {name}", null=False, fixed=True
            )
        )
        key.append(element.primary_key.name)
    for alternate in element.alternate_keys:
        columns.append(
            column_def(alternate.name, alternate.type, alternate.doc or f"alternate key of {name}")
        )
    for dimension in element.implied:
        columns.append(
            column_def(dimension, universe[dimension].key_type, f"{dimension} that {name} implies")
        )
    columns.extend(
        ColumnDef(field.name, field.type, nullable=field.nullable, doc=field.doc, unit=field.unit)
        for field in element.metadata
    )
    if element.has_region:
        columns.append(column_def("region", LogicalType.BYTES, "region on the sky, in lsst-sphgeom encoding"))
    if element.has_timespan:
        columns.append(column_def("timespan_begin", LogicalType.TIMESTAMP, "first moment (TAI)"))
        columns.append(column_def("timespan_end", LogicalType.TIMESTAMP, "first moment after it (TAI)"))
    references = [
        Reference(
            (*(c for c in universe[d].required), d)
            if set(universe[d].required) <= set(element.required)
            else (d,),
            d,
            universe.table_key(d),
        )
        for d in (*element.required, *element.implied)
        if not universe[d].is_skypix
    ]
    unique = tuple((*element.required, alternate.name) for alternate in element.alternate_keys)
    return TableDef(
        name,
        TableKind.DIMENSION,
        tuple(columns),
        key=tuple(key),
        physical_name=name,
        indexes=unique,
        clustering=(*clustered(universe, element.required), *key[len(element.required) :]),
        references=tuple(references),
        doc=element.doc,
    )


@lru_cache(maxsize=4096)
def dataset_type_table(universe: DimensionUniverse, dataset_type: DatasetType) -> TableDef:
    """The logical table of one dataset type: identity, run, owner, its dimensions, its metadata columns."""
    group = universe.group(dataset_type.dimensions)
    columns = [
        column_def("dataset_id", LogicalType.UUID, "identity of the dataset", null=False, fixed=True),
        column_def("run", LogicalType.STRING, "the RUN collection it was made in", null=False, fixed=True),
        ORIGIN,
    ]
    for dimension in group.required:
        columns.append(
            column_def(dimension, universe[dimension].key_type, f"its {dimension}", null=False, fixed=True)
        )
    for dimension in group.implied:
        columns.append(
            column_def(dimension, universe[dimension].key_type, f"its {dimension} (implied)", fixed=False)
        )
    for field in dataset_type.metadata:
        columns.append(ColumnDef(field.name, field.type, doc=field.doc, unit=field.unit))
    references = [Reference(("dataset_id",), "dataset", ("dataset_id",))]
    references += [
        Reference((*universe[d].required, d), d, universe.table_key(d))
        for d in group.required
        if not universe[d].is_skypix
    ]
    return TableDef(
        dataset_type.name,
        TableKind.DATASET_TYPE,
        tuple(columns),
        key=("dataset_id",),
        physical_name=f"ds_{dataset_type.name}",
        unique=(("run", *group.required),),
        # by data ID in whatever run: what is certified is looked for so, and there is little of it
        indexes=(group.required,) if dataset_type.is_calibration and group.required else (),
        clustering=("run", *clustered(universe, group.required)),
        references=tuple(references),
        doc=f"Datasets of type {dataset_type.name} ({dataset_type.storage_class}).",
    )


def by_name(tables: Iterable[TableDef]) -> dict[str, TableDef]:
    """Index tables by logical name."""
    return {table.name: table for table in tables}


def iter_columns(tables: Iterable[TableDef]) -> Iterator[tuple[TableDef, ColumnDef]]:
    """Every (table, column) pair."""
    for table in tables:
        for column in table.columns:
            yield table, column
