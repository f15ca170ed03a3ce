"""Making and dropping the schemas of a site; a drop that is cut short is finished by the next one who comes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog.log import log_tables
from federation.errors import ConflictError, ForbiddenError, NotFoundError, UnavailableError, UserError
from federation.model.logical import TableKind
from federation.model.position import SchemaId, check_name
from federation.registry import grants
from federation.registry.schemas import meta_tables
from federation.storage import META_SCHEMA, SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.storage import Database

__all__ = [
    "SchemaContents",
    "contents",
    "create_schema",
    "drop_schema",
    "finish_drop",
    "forget",
    "schema_to_write",
]

#: how long a drop waits for readers of a PostgreSQL schema
LOCK_TIMEOUT_S = 60
#: key of the note in ``registry_info`` that a physical schema is being removed
_DROPPING = "dropping:"


@attrs.frozen
class SchemaContents:
    """What a schema holds: rows by table (those that have any), datasets, files, users' tables by name, log entries."""

    schema: str
    row_counts: Mapping[str, int]
    user_tables: tuple[str, ...]
    entry_count: int

    @property
    def dataset_count(self) -> int:
        return self.row_counts.get("dataset", 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost with it but declarations and the log."""
        return not self.dataset_count and not any(self.row_counts.get(t) for t in self.user_tables)

    def __str__(self) -> str:
        parts = [f"{self.dataset_count} datasets"] if self.dataset_count else []
        parts += [f"table {name} of {self.row_counts.get(name, 0)} rows" for name in self.user_tables]
        others = sum(self.row_counts.values()) - sum(
            self.row_counts.get(name, 0) for name in ("dataset", *self.user_tables)
        )
        parts += [f"{others} other rows", f"a log of {self.entry_count} entries"]
        return ", ".join(parts)


def contents(registry: Registry, name: str) -> SchemaContents:
    """What one of the site's own schemas holds; `NotFoundError` where there is no such schema."""
    held = registry.get(SchemaId(registry.site, name))
    with registry.database.read((held.physical,)) as connection:
        return _contents(registry, held, connection)


def _contents(registry: Registry, held: HeldSchema, connection: sa.Connection) -> SchemaContents:
    tables = registry.tables_in(connection, held.physical)
    physical = registry.physical_tables(held.physical, tuple(tables.values()))
    counts = sa.union_all(
        *(
            sa.select(sa.literal(name).label("name"), sa.func.count().label("n")).select_from(physical[name])
            for name in tables
        )
    )
    rows = {row.name: row.n for row in connection.execute(counts) if row.n}
    log = log_tables(held.physical).log
    entry_count = connection.execute(sa.select(sa.func.count()).select_from(log)).scalar_one()
    users = tuple(name for name, table in tables.items() if table.kind is TableKind.USER)
    return SchemaContents(held.schema.name, rows, users, entry_count)


def create_schema(registry: Registry, name: str, *, user: str | None = None) -> bool:
    """Make a schema of this site; False when it is there. A user may make their own, the operator any."""
    check_name("schema", name)
    if not grants.is_operator(user) and user != name:
        raise ForbiddenError(
            f"user {user} may not create schema {name} at site {registry.site}",
            hint=f"a user creates the schema of their own name; ask the site's operator for {name}",
        )
    registry.held()  # another process may have dropped it
    if registry.find(SchemaId(registry.site, name)) is not None:
        return False
    registry.create_schema(name)
    return True


def schema_to_write(registry: Registry, schema: str | None, user: str | None, *, create: bool = False) -> str:
    """The schema that a user writes: the named one, else their own, for the operator the site's.

    A user's own schema is made where it is not there, with ``create`` any that the operator names. `ForbiddenError`
    when the user may not write it.
    """
    if grants.is_operator(user):
        name = schema or registry.site
        if create:
            create_schema(registry, name)
        return name
    assert user is not None
    name = schema or grants.check_user(user)
    if name == user:
        create_schema(registry, name, user=user)
    grants.check(registry, user, grants.Privilege.WRITE, name)
    return name


def drop_schema(
    registry: Registry, name: str, *, user: str | None = None, force: bool = False
) -> SchemaContents:
    """Remove one of the site's own schemas with its tables, its log and the grants on it; nothing else changes.

    Its owner and the operator may. `ConflictError` when it holds datasets or users' rows and ``force`` is not given;
    the message says what would go. Files of datasets stay where they are. Readers that have begun finish.
    """
    registry.held()  # another process may have made or dropped it
    held = registry.find(SchemaId(registry.site, name))
    if held is None:
        if finish_drop(registry.database, name):
            return SchemaContents(name, {}, (), 0)
        own = ", ".join(h.schema.name for h in registry.held() if h.owned and h.schema.name != registry.site)
        raise NotFoundError(
            f"site {registry.site} has no schema {name!r} of its own", hint=f"it has: {own or 'none'}"
        )
    if name == registry.site:
        raise UserError(
            f"schema {name} is the main schema of site {name} and can't be dropped",
            hint="to give up a site, end its server and remove its root directory",
        )
    known = grants.read_grants(registry)
    if not grants.is_operator(user) and (user != name or name in known.groups):
        raise ForbiddenError(
            f"user {user} may not drop schema {name} of site {registry.site}",
            hint="its owner and the site's operator may",
        )
    found = contents(registry, name)
    if not force and not found.is_empty:
        raise ConflictError(
            f"schema {name} of site {registry.site} is not empty, this would go: {found}",
            hint="with --force it is dropped all the same; the files of its datasets stay",
        )
    gone = [grant for grant in known.grants if grant.schema == name]
    if gone:  # before the schema: a new one of the name must not find them
        with registry.transaction(registry.site) as tx:
            tx.delete(
                "schema_grant",
                [{"schema_name": name, "grantee": g.grantee, "privilege": g.privilege.value} for g in gone],
            )
    forget(registry, held, force=force)
    finish_drop(registry.database, held.physical)
    return found


def forget(registry: Registry, held: HeldSchema, *, force: bool) -> None:
    """Take a schema off the list of those that are held, and on PostgreSQL out of the database.

    The files of a SQLite schema remain, with a note that they are to go.
    """
    if isinstance(registry.database, SqliteDatabase):
        _forget_files(registry, held, force=force)
    else:
        _drop_in_postgres(registry, held, force=force)
    registry.held()


def _forget_files(registry: Registry, held: HeldSchema, *, force: bool) -> None:
    database, meta = registry.database, meta_tables()
    with database.write(held.physical) as connection:
        _check_still_empty(registry, held, connection, force=force)
        # a writer that waits for this lock must fail: without its state nothing is appended to the log
        connection.execute(log_tables(held.physical).state.delete())
        with database.write(META_SCHEMA) as meta_connection:
            meta_connection.execute(meta.held.delete().where(meta.held.c.physical == held.physical))
            note = {"key": _DROPPING + held.physical, "value": str(held.schema)}
            meta_connection.execute(meta.info.insert().values(note))


def _drop_in_postgres(registry: Registry, held: HeldSchema, *, force: bool) -> None:
    meta = meta_tables()
    try:
        with registry.database.write(META_SCHEMA) as connection:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            key = {"space": "federation.write", "schema": held.physical}
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtext(:space), hashtext(:schema))"), key
            )
            _check_still_empty(registry, held, connection, force=force)
            connection.execute(meta.held.delete().where(meta.held.c.physical == held.physical))
            connection.execute(sa.text(f'DROP SCHEMA IF EXISTS "{held.physical}" CASCADE'))
    except UnavailableError as error:
        if "lock timeout" not in error.message:
            raise
        raise UnavailableError(
            f"schema {held.schema} was in use for {LOCK_TIMEOUT_S} s",
            hint="try again when its readers are done",
        ) from error


def _check_still_empty(
    registry: Registry, held: HeldSchema, connection: sa.Connection, *, force: bool
) -> None:
    """What a writer put in since it was looked at must not be lost unseen."""
    if force:
        return
    found = _contents(registry, held, connection)
    if not found.is_empty:
        raise ConflictError(
            f"schema {held.schema.name} of site {registry.site} was written to meanwhile: {found}",
            hint="look at it again, or use --force",
        )


def finish_drop(database: Database, physical: str) -> bool:
    """Remove the files of a SQLite schema whose drop was cut short; whether there was one."""
    if not isinstance(database, SqliteDatabase):
        return False
    info = meta_tables().info
    note = info.c.key == _DROPPING + physical
    with database.read((META_SCHEMA,)) as connection:
        if connection.execute(sa.select(info.c.key).where(note)).first() is None:
            return False
    with database.write(META_SCHEMA) as connection:
        if connection.execute(sa.select(info.c.key).where(note)).first() is None:
            return True  # another was faster, and the name may be in use again
        path = database.path(physical)
        # the log goes last: a database without its log is an older one, a log without a database is nothing
        for suffix in ("", "-shm", "-wal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        connection.execute(info.delete().where(note))
    return True
