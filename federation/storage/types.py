"""Logical types as SQLAlchemy types, and logical tables as SQLAlchemy tables of one physical schema."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from federation.model.logical import LogicalType, TableKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.logical import TableDef

__all__ = ["build_table", "build_tables", "column_type", "create_tables"]


class _Uuid(sa.types.TypeDecorator[uuid.UUID]):
    """UUIDs: the database's own type on PostgreSQL, 16 bytes on SQLite; bound as one or as its bytes."""

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(sa.LargeBinary())

    def process_bind_param(self, value: uuid.UUID | bytes | None, dialect: sa.Dialect) -> Any:
        if value is None:
            return None
        if dialect.name == "postgresql":
            return uuid.UUID(bytes=value) if isinstance(value, bytes) else value
        return value if isinstance(value, bytes) else value.bytes

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> uuid.UUID | None:  # noqa: ARG002
        return value if value is None or isinstance(value, uuid.UUID) else uuid.UUID(bytes=bytes(value))


_STRING = sa.Text().with_variant(
    sa.Text(collation="C"), "postgresql"
)  # binary order, as on SQLite and DuckDB
_TYPES: dict[LogicalType, sa.types.TypeEngine[Any]] = {
    LogicalType.INT64: sa.BigInteger(),
    LogicalType.FLOAT64: sa.Double(),
    LogicalType.BOOL: sa.Boolean(),
    LogicalType.STRING: _STRING,
    LogicalType.BYTES: sa.LargeBinary(),
    LogicalType.UUID: _Uuid(),
    LogicalType.TIMESTAMP: sa.BigInteger(),
}


def column_type(type_: LogicalType) -> sa.types.TypeEngine[Any]:
    """The SQLAlchemy type that stores a logical type on either database."""
    return _TYPES[type_]


def build_table(table: TableDef, schema: str, metadata: sa.MetaData) -> sa.Table:
    """The physical table of a logical one; origin columns are not stored.

    Rows lie in the order of the primary key on SQLite, which is that of the table's clustering.
    """
    columns = [
        sa.Column(
            sa.quoted_name(
                column.name, quote=True
            ),  # users' columns may be called as a keyword of one database
            column_type(column.type),
            nullable=column.nullable and column.name not in table.key,
        )
        for column in table.stored
    ]
    primary = table.clustering or table.key
    constraints: list[sa.schema.SchemaItem] = [sa.PrimaryKeyConstraint(*primary)]
    constraints += [
        sa.UniqueConstraint(*unique) for unique in (table.key, *table.unique) if set(unique) != set(primary)
    ]
    built = sa.Table(
        table.physical_name,
        metadata,
        *columns,
        *constraints,
        schema=schema,
        # one tree less; but long rows make its pages hold few keys
        sqlite_with_rowid=table.kind is TableKind.USER,
    )
    for number, index in enumerate(table.indexes):
        # SQLite keeps indexes in the namespace of the schema, so their names carry the table's
        sa.Index(f"ix_{table.physical_name[:52]}_{number}", *(built.c[name] for name in index))
    return built


def build_tables(tables: Iterable[TableDef], schema: str) -> dict[str, sa.Table]:
    """Physical tables of one schema, by logical name."""
    metadata = sa.MetaData()
    return {table.name: build_table(table, schema, metadata) for table in tables}


def create_tables(connection: sa.Connection, metadata: sa.MetaData) -> None:
    """Create those tables of one schema, with their indexes, that are not there."""
    tables = metadata.sorted_tables
    there = set(sa.inspect(connection).get_table_names(schema=tables[0].schema))
    for table in tables:
        if table.name not in there:
            for statement in _definition(table, connection.dialect):
                connection.exec_driver_sql(statement)


def _definition(table: sa.Table, dialect: sa.Dialect) -> list[str]:
    """What creates a table and its indexes; made once, as every schema of a process has the same."""
    key = ("definition", dialect.name)
    if key not in table.info:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        parts: list[sa.schema.DDLElement] = [
            sa.schema.CreateTable(table),
            *map(sa.schema.CreateIndex, indexes),
        ]
        table.info[key] = [str(part.compile(dialect=dialect)) for part in parts]
    made: list[str] = table.info[key]
    return made
