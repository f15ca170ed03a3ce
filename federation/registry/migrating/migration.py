"""Migrates a registry of the format before this one: a backup, then each schema in one transaction, then the format.

Every step may be done again, so a run that was cut short goes on where it was. What is under way is kept in the
registry itself: with the backup it began with, so that the next run neither makes another nor overwrites that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec
import sqlalchemy as sa

from federation.changelog import create_log
from federation.changelog.log import log_tables
from federation.errors import NotFoundError
from federation.killpoints import killpoint
from federation.model.dimension import DimensionUniverse
from federation.registry import summaries
from federation.registry.migrating.backup import back_up
from federation.registry.migrating.formats import fixed_tables, format_of
from federation.registry.migrating.layout import LayoutChange, align_tables
from federation.registry.registry import Registry
from federation.registry.schemas import FORMAT_VERSION, meta_tables
from federation.storage import META_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from federation.model.position import SchemaId
    from federation.registry.schemas import HeldSchema
    from federation.storage import Database

__all__ = ["MigrationReport", "SchemaMigration", "migrate"]

#: key of `registry_info` while a migration is under way
_UNDER_WAY = "migration"


@attrs.frozen
class SchemaMigration:
    """What was changed in one schema by this run."""

    schema: SchemaId
    changes: tuple[LayoutChange, ...]
    summarized: int


@attrs.frozen
class MigrationReport:
    """A finished migration; ``backup`` is the directory of the backup it began with, None without one."""

    site: str
    from_format: int
    to_format: int
    backup: str | None
    resumed: bool
    schemas: tuple[SchemaMigration, ...]

    @property
    def changed(self) -> bool:
        return self.from_format != self.to_format


class _UnderWay(msgspec.Struct, frozen=True):
    to_format: int
    backup: str | None


def migrate(
    database: Database,
    site: str,
    *,
    backup_in: Path | None,
    progress: Callable[[str], None] = lambda _line: None,
) -> MigrationReport:
    """Bring the registry in an open database to this software's format; nothing changes where it has that already.

    The backup goes to a new directory below ``backup_in``; None makes none. ``progress`` gets a line for each step.
    Nothing else may write the registry meanwhile. `UserError` for a format that is not the one before.
    """
    if not database.has_schema(META_SCHEMA):
        raise NotFoundError(
            f"{database.describe()} holds no registry", hint=f"run: federation site init {site}"
        )
    info = _info(database)
    found = format_of(info, site, database.describe())
    if found == FORMAT_VERSION:
        return MigrationReport(site, found, found, None, resumed=False, schemas=())
    # as this software sees it once it is done
    registry = Registry(database, site, DimensionUniverse.parse(info["universe"], "universe of the registry"))
    held = registry.held()
    resumed = _UNDER_WAY in info
    if resumed:
        under_way = msgspec.json.decode(info[_UNDER_WAY], type=_UnderWay)
        progress(f"goes on with a migration that was cut short; its backup is {under_way.backup or 'none'}")
    else:
        under_way = _begin(database, site, found, held, backup_in, progress)
    schemas = []
    for number, one in enumerate(held, 1):
        done = _migrate_schema(registry, one)
        schemas.append(done)
        progress(f"schema {one.schema} ({number} of {len(held)}): {_described(done)}")
    killpoint("migration.before_format")
    with database.write(META_SCHEMA) as connection:
        table = meta_tables().info
        connection.execute(table.delete().where(table.c.key == _UNDER_WAY))
        connection.execute(table.update().where(table.c.key == "format").values(value=str(FORMAT_VERSION)))
    progress(f"{database.describe()} has registry format {FORMAT_VERSION}")
    return MigrationReport(site, found, FORMAT_VERSION, under_way.backup, resumed, tuple(schemas))


def _info(database: Database) -> dict[str, str]:
    with database.read((META_SCHEMA,)) as connection:
        return meta_tables().read_info(connection)


def _begin(
    database: Database,
    site: str,
    found: int,
    held: Sequence[HeldSchema],
    backup_in: Path | None,
    progress: Callable[[str], None],
) -> _UnderWay:
    backup = None
    if backup_in is not None:
        schemas = (META_SCHEMA, *(one.physical for one in held))
        backup = str(back_up(database, schemas, backup_in, f"{site}-format-{found}").absolute())
        progress(f"backup of format {found}: {backup}")
    killpoint("migration.after_backup")
    under_way = _UnderWay(FORMAT_VERSION, backup)
    with database.write(META_SCHEMA) as connection:
        meta_tables().info.metadata.create_all(connection)
        values = {"key": _UNDER_WAY, "value": msgspec.json.encode(under_way).decode()}
        connection.execute(meta_tables().info.insert().values(values))
    return under_way


def _migrate_schema(registry: Registry, held: HeldSchema) -> SchemaMigration:
    """One schema, in one transaction for its tables and one, with its log entry, for what they hold."""
    with registry.database.write(held.physical) as connection:
        if registry.database.kind == "postgresql":
            key = {"space": "federation.write", "schema": held.physical}
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtext(:space), hashtext(:schema))"), key
            )
        fixed = registry.physical_tables(held.physical, fixed_tables(registry.universe))
        changes = align_tables(connection, fixed.values())
        declared = registry.physical_tables(
            held.physical, tuple(registry.tables_in(connection, held.physical).values())
        )
        changes += align_tables(connection, [table for name, table in declared.items() if name not in fixed])
        log = log_tables(held.physical)
        changes += align_tables(connection, (log.log, log.state))
        create_log(connection, held.physical, owned=held.owned)
        killpoint("migration.before_commit")
    killpoint("migration.after_commit")
    summarized = 0
    if held.owned:
        with registry.transaction(held.schema.name) as tx:
            summarized = summaries.refresh(tx)
    return SchemaMigration(held.schema, tuple(changes), summarized)


def _described(done: SchemaMigration) -> str:
    parts = []
    for kind, text in (
        ("table", "tables made"),
        ("constraints", "tables with other constraints"),
        ("index", "indexes made"),
        ("index dropped", "indexes dropped"),
    ):
        count = sum(change.kind == kind for change in done.changes)
        if count:
            parts.append(f"{count} {text}")
    if done.summarized:
        parts.append(f"{done.summarized} rows of collection summaries")
    return ", ".join(parts) or "nothing to change"
