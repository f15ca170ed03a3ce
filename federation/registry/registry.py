"""A site's registry: opened from its site file, holding its own schemas and replicas of others'."""

from __future__ import annotations

import secrets
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from federation.changelog import append, create_log, log_state
from federation.clock import tai_now
from federation.errors import ConflictError, NotFoundError, UserError
from federation.killpoints import killpoint
from federation.model.dataset import DatasetType, uuid7s
from federation.model.dimension import DimensionUniverse
from federation.model.logical import dataset_type_table
from federation.model.position import Position, SchemaId
from federation.model.user_table import UserTable
from federation.registry.migrating.formats import check_writable, fixed_tables, format_of
from federation.registry.schema_admin import finish_drop
from federation.registry.schemas import FORMAT_VERSION, HeldSchema, meta_tables, physical_name
from federation.registry.transaction import Transaction, select_rows
from federation.storage import META_SCHEMA, build_tables, create_tables, open_database

if TYPE_CHECKING:
    from pathlib import Path

    from federation.config import SiteConfig
    from federation.model.logical import TableDef
    from federation.model.timespan import Clock
    from federation.storage import Database

__all__ = ["DECLARING", "Registry"]

#: tables each of whose rows declares a table
DECLARING = ("dataset_type", "user_table")


class Registry:
    """Reads and writes of one site; safe to share between threads."""

    def __init__(
        self,
        database: Database,
        site: str,
        universe: DimensionUniverse,
        *,
        clock: Clock = tai_now,
        format_version: int = FORMAT_VERSION,
    ) -> None:
        self.database = database
        self.site = site
        self.universe = universe
        self.clock = clock
        self.format_version = format_version
        #: where the site keeps its files; None for a registry that was opened without its site file
        self.root: Path | None = None
        self._meta = meta_tables()
        self._fixed = fixed_tables(universe, format_version)
        self._held: tuple[HeldSchema, ...] | None = None
        self._lock = threading.Lock()

    # -- life -------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, config: SiteConfig) -> Registry:
        """Make the registry of a site, or open it where it is already; the site's own schema is named as the site."""
        path = config.registry.universe_path
        universe = DimensionUniverse.load(path) if path else DimensionUniverse.default()
        registry = cls.create_in(open_database(config), config.name, universe)
        registry.root = config.root
        return registry

    @classmethod
    def create_in(cls, database: Database, site: str, universe: DimensionUniverse) -> Registry:
        """`create` in a database that is open already."""
        meta = meta_tables()
        database.create_schema(META_SCHEMA)
        with database.write(META_SCHEMA) as connection:
            create_tables(connection, meta.info.metadata)
            if not meta.read_info(connection):
                values = {"format": str(FORMAT_VERSION), "site": site, "universe": universe.source}
                connection.execute(meta.info.insert(), [{"key": k, "value": v} for k, v in values.items()])
        registry = cls.open_in(database, site)
        if registry.universe.fingerprint != universe.fingerprint:
            raise ConflictError(
                f"{database.describe()} was made with another dimension universe "
                f"({registry.universe.namespace} version {registry.universe.version})",
                hint="keep the universe file it was made with, or use an empty registry",
            )
        registry.create_schema(site)
        return registry

    @classmethod
    def open(cls, config: SiteConfig) -> Registry:
        """The registry of a site; `NotFoundError` where `create` has not been run."""
        registry = cls.open_in(open_database(config), config.name)
        registry.root = config.root
        return registry

    @classmethod
    def open_in(cls, database: Database, site: str) -> Registry:
        """`open` on a database that is open already."""
        try:
            if not database.has_schema(META_SCHEMA):
                raise NotFoundError(
                    f"{database.describe()} holds no registry", hint=f"run: federation site init {site}"
                )
            with database.read((META_SCHEMA,)) as connection:
                info = meta_tables().read_info(connection)
            version = format_of(info, site, database.describe())
        except BaseException:
            database.close()
            raise
        universe = DimensionUniverse.parse(info["universe"], "universe of the registry")
        return cls(database, site, universe, format_version=version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()

    def check_writable(self) -> None:
        """`UserError` where the registry has an older format: it is read only until it is migrated."""
        check_writable(self.format_version, self.site, self.database.describe())

    # -- schemas ----------------------------------------------------------------------------------------------

    def held(self) -> tuple[HeldSchema, ...]:
        """The schemas in this registry, in order of creation: the site's own first."""
        self._held = self._meta.read_held(self.database)
        return self._held

    def find(self, schema: SchemaId) -> HeldSchema | None:
        """The schema as held here, or None."""
        known = self._held or ()
        return next((h for h in known if h.schema == schema), None) or next(
            (h for h in self.held() if h.schema == schema), None
        )

    def get(self, schema: SchemaId) -> HeldSchema:
        """The schema as held here; `NotFoundError` names those there are."""
        found = self.find(schema)
        if found is None:
            raise NotFoundError(
                f"site {self.site} does not hold schema {schema}",
                hint="it holds: " + ", ".join(str(h.schema) for h in self.held()),
            )
        return found

    def create_schema(self, name: str) -> HeldSchema:
        """Make a schema that this site owns, or return it where it is there."""
        return self._ensure(
            HeldSchema(SchemaId(self.site, name), physical_name(self.site, SchemaId(self.site, name)), True)
        )

    def ensure_replica(self, schema: SchemaId) -> HeldSchema:
        """Make a place for a replica of another site's schema, or return it where it is there."""
        if schema.site == self.site:
            raise UserError(
                f"{schema} is owned here and can't be a replica", hint="follow another site's schema"
            )
        return self._ensure(HeldSchema(schema, physical_name(self.site, schema), False))

    def _ensure(self, held: HeldSchema) -> HeldSchema:
        with self._lock:
            found = self.find(held.schema)
            if found is not None:
                return found
            self.check_writable()
            finish_drop(self.database, held.physical)
            self.database.create_schema(held.physical)
            with self.database.write(held.physical) as connection:
                # PostgreSQL: two creators at once must not both find nothing
                if self.database.kind == "postgresql":
                    connection.execute(
                        sa.text("SELECT pg_advisory_xact_lock(hashtext(:n))"), {"n": held.physical}
                    )
                tables = self.physical_tables(held.physical, self._fixed)
                create_tables(connection, next(iter(tables.values())).metadata)
                create_log(connection, held.physical, owned=held.owned)
            with self.database.write(META_SCHEMA) as connection:
                known = connection.execute(
                    sa.select(self._meta.held.c.physical).where(self._meta.held.c.physical == held.physical)
                )
                if known.first() is None:
                    self._meta.add_held(connection, held)
            return self.get(held.schema)

    # -- tables -----------------------------------------------------------------------------------------------

    def physical_tables(self, physical: str, tables: tuple[TableDef, ...]) -> dict[str, sa.Table]:
        """Physical tables of a schema by logical name."""
        return _physical_tables(physical, tables)

    def table_of(self, dataset_type: DatasetType) -> TableDef:
        """The logical table of a dataset type in this registry's universe."""
        return dataset_type_table(self.universe, dataset_type)

    def tables_in(self, connection: sa.Connection, physical: str) -> dict[str, TableDef]:
        """Logical tables of a schema, as an open connection sees them."""
        fixed = self.physical_tables(physical, self._fixed)
        tables = {table.name: table for table in self._fixed}
        for name in DECLARING:
            if name not in tables:  # a registry of an older format
                continue
            rows = connection.execute(sa.select(fixed[name]).order_by(fixed[name].c.name))
            for row in rows:
                table = self.declared_table(name, dict(row._mapping))
                tables[table.name] = table
        return tables

    def declared_table(self, declaring: str, row: Mapping[str, Any]) -> TableDef:
        """The logical table that a row of one of the `DECLARING` tables declares."""
        if declaring == "user_table":
            return UserTable.from_row(row).table()
        return self.table_of(DatasetType.from_row(row))

    def tables(self, schema: SchemaId) -> dict[str, TableDef]:
        """Logical tables of a schema by name."""
        held = self.get(schema)
        with self.database.read((held.physical,)) as connection:
            return self.tables_in(connection, held.physical)

    def position(self, schema: SchemaId) -> Position:
        """What of the schema's log is numbered (owned) or applied (replica) here."""
        held = self.get(schema)
        with self.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
        return Position(schema.site, schema.name, state.epoch, state.lsn)

    # -- rows -------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, name: str) -> Iterator[Transaction]:
        """Write one of this site's own schemas; rows and log entry commit together, or nothing does."""
        self.check_writable()
        held = self.get(SchemaId(self.site, name))
        with self.database.write(held.physical) as connection:
            if self.database.kind == "postgresql":
                # what a writer has checked must still hold when it writes; SQLite has one writer anyway
                key = {"space": "federation.write", "schema": held.physical}
                connection.execute(
                    sa.text("SELECT pg_advisory_xact_lock(hashtext(:space), hashtext(:schema))"), key
                )
            transaction = Transaction(self, held, connection)
            yield transaction
            if transaction.changes:
                killpoint("transaction.before_append")
                append(connection, held.physical, transaction.changes, self.clock())
                killpoint("transaction.before_commit")
        killpoint("transaction.after_commit")

    def rows_elsewhere(
        self, here: HeldSchema, table: str, columns: Sequence[str], keys: Iterable[tuple[Any, ...]]
    ) -> Iterator[dict[str, Any]]:
        """Rows with these values in the other schemas of this registry: of each, the first that has any, as created."""
        missing = set(keys)
        for held in self.held():
            if held == here or not missing:
                continue
            try:
                found = self._rows(held, table, columns, missing)
            except NotFoundError:
                if held in self.held():
                    raise
                continue  # it was dropped meanwhile
            missing -= {tuple(row[column] for column in columns) for row in found}
            yield from found

    def _rows(
        self, held: HeldSchema, table: str, columns: Sequence[str], keys: set[tuple[Any, ...]]
    ) -> list[dict[str, Any]]:
        with self.database.read((held.physical,)) as connection:
            tables = self.tables_in(connection, held.physical)
            if table not in tables:
                return []
            physical = self.physical_tables(held.physical, tuple(tables.values()))[table]
            return list(select_rows(connection, physical, columns, keys))

    def new_ids(self, count: int) -> list[bytes]:
        """Time-ordered dataset ids (UUIDv7) as 16 bytes each, in order."""
        return sorted(uuid7s(time.time_ns() // 1_000_000, secrets.token_bytes(10 * count)))

    def new_id(self) -> uuid.UUID:
        """A time-ordered dataset id."""
        return uuid.UUID(bytes=self.new_ids(1)[0])


@lru_cache(maxsize=256)
def _physical_tables(physical: str, tables: tuple[TableDef, ...]) -> dict[str, sa.Table]:
    return build_tables(tables, physical)
