"""Databases of sites: engines, transactions, physical tables, and what differs by dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.storage.database import META_SCHEMA, Database, database_errors
from federation.storage.embedded import start_embedded
from federation.storage.postgres import PostgresDatabase
from federation.storage.sqlite import SqliteDatabase
from federation.storage.types import build_table, build_tables, column_type, create_tables

if TYPE_CHECKING:
    from federation.config import SiteConfig

__all__ = [
    "META_SCHEMA",
    "Database",
    "PostgresDatabase",
    "SqliteDatabase",
    "build_table",
    "build_tables",
    "column_type",
    "create_tables",
    "database_errors",
    "open_database",
    "start_embedded",
]


def open_database(config: SiteConfig) -> Database:
    """The database that a site file names; the embedded PostgreSQL is started where it does not run."""
    if config.registry.kind == "sqlite":
        return SqliteDatabase(config.registry_dir)
    if config.registry.kind == "embedded-postgresql":
        return start_embedded(config.postgres_dir)
    assert config.registry.url is not None
    return PostgresDatabase(config.registry.url.reveal(), label=str(config.registry.url))
