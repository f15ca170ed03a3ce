"""Puts a registry back from a backup, in one step; what was there before is kept beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.datastore.durable import fsync_directory
from federation.datastore.io_errors import as_federation_error
from federation.errors import CorruptionError, NotFoundError, UserError
from federation.killpoints import killpoint
from federation.registry.migrating.backup import SCRIPT, back_up, damage_of
from federation.registry.migrating.formats import format_of
from federation.registry.schemas import FORMAT_VERSION, meta_tables
from federation.storage import META_SCHEMA, SqliteDatabase
from federation.storage.database import database_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from federation.storage import Database

__all__ = ["restore", "run_script"]


def restore(database: Database, site: str, backup: Path, keep_in: Path) -> Path | None:
    """Replace the registry in ``database`` by a backup that `back_up` made; nothing changes unless it is whole.

    What was there goes to a new directory below ``keep_in``, which is returned (None: there was nothing). Nothing else
    may use the registry meanwhile. `NotFoundError` or `UserError` for what is no backup of this kind of registry and of
    this software's format, `ConflictError` for one of another site.
    """
    try:
        if isinstance(database, SqliteDatabase):
            _expect(backup / f"{META_SCHEMA}.sqlite", "a SQLite registry")
            return _restore_files(database, site, backup, keep_in)
        _expect(backup / SCRIPT, "a PostgreSQL registry")
        return _restore_script(database, site, backup / SCRIPT, keep_in)
    except OSError as error:
        raise as_federation_error(error, "restore from", str(backup)) from error


def _expect(file: Path, kind: str) -> None:
    if not file.is_file():
        raise NotFoundError(
            f"{file.parent} is no backup of {kind}: it has no {file.name}",
            hint="name a directory that federation site backup made",
        )


def _check_info(info: Mapping[str, str], site: str, where: str) -> None:
    version = format_of(info, site, where)
    if version != FORMAT_VERSION:
        raise UserError(
            f"{where} has registry format {version}; this software restores {FORMAT_VERSION}",
            hint=f"put it in place by hand, then run: federation registry migrate {site}",
        )


# -- SQLite ---------------------------------------------------------------------------------------------------


def _restore_files(database: SqliteDatabase, site: str, backup: Path, keep_in: Path) -> Path | None:
    with closing(SqliteDatabase(backup, read_only=True)) as saved:
        with saved.read((META_SCHEMA,)) as connection:
            _check_info(meta_tables().read_info(connection), site, str(backup))
        schemas = [META_SCHEMA, *(held.physical for held in meta_tables().read_held(saved))]
    directory = database.directory
    partial = directory.with_name(f"{directory.name}.restoring")
    if partial.exists():  # of a run that was killed
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    for schema in schemas:
        _copy_file(backup / f"{schema}.sqlite", partial / f"{schema}.sqlite")
    fsync_directory(partial)
    database.close()
    kept = None
    killpoint("restore.before_replace")
    if directory.exists():
        keep_in.mkdir(parents=True, exist_ok=True)
        kept = _free_name(keep_in, f"{site}-replaced")
        directory.rename(kept)
        fsync_directory(keep_in)
    partial.rename(directory)
    fsync_directory(directory.parent)
    killpoint("restore.after_replace")
    return kept


def _copy_file(source: Path, target: Path) -> None:
    if not source.is_file():
        raise CorruptionError(f"the backup lacks {source}", hint="restore from another backup")
    shutil.copyfile(source, target)
    with database_errors(str(source)), closing(sqlite3.connect(target)) as connection:
        if found := damage_of(connection):
            raise CorruptionError(f"the backup {source} is damaged: {found}", hint="restore from another one")
        connection.execute("PRAGMA journal_mode=WAL")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _free_name(parent: Path, name: str) -> Path:
    number, found = 1, parent / name
    while found.exists():
        number += 1
        found = parent / f"{name}-{number}"
    return found


# -- PostgreSQL -----------------------------------------------------------------------------------------------


def _restore_script(database: Database, site: str, script: Path, keep_in: Path) -> Path | None:
    before = _physical_schemas(database)
    kept = back_up(database, before, keep_in, f"{site}-replaced") if before else None
    with database.write(META_SCHEMA) as connection:
        run_script(connection, script)
        _check_info(meta_tables().read_info(connection), site, str(script))
        now = {META_SCHEMA, *connection.execute(sa.select(meta_tables().held.c.physical)).scalars()}
        for schema in set(before) - now:  # made after the backup
            name = connection.dialect.identifier_preparer.quote_identifier(schema)
            connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
        killpoint("restore.before_replace")
    killpoint("restore.after_replace")
    return kept


def run_script(connection: sa.Connection, script: Path) -> None:
    """Run a script that `back_up` wrote in an open transaction; `CorruptionError` when its end is missing."""
    raw: Any = connection.connection.dbapi_connection
    with script.open("rb") as lines, raw.cursor() as cursor:
        for statement in _statements(lines):
            if statement.rstrip().endswith(b"FROM stdin;"):
                _copy_rows(cursor, statement, lines)
            else:
                cursor.execute(statement)


def _physical_schemas(database: Database) -> tuple[str, ...]:
    if not database.has_schema(META_SCHEMA):
        return ()
    return (META_SCHEMA, *(held.physical for held in meta_tables().read_held(database)))


def _statements(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Statements of a script as `back_up` writes it, each of which ends a line; without its own transaction."""
    statement, line = b"", b""
    for line in lines:
        if not statement and (line.startswith(b"\\") or line in (b"BEGIN;\n", _END)):
            continue
        statement += line
        if line.endswith(b";\n"):
            yield statement
            statement = b""
    if line != _END:
        raise _broken_off()


def _copy_rows(cursor: Any, statement: bytes, lines: Iterable[bytes]) -> None:
    with cursor.copy(statement) as copy:
        waiting: list[bytes] = []
        for line in lines:
            if line == b"\\.\n" or len(waiting) == _LINES:
                copy.write(b"".join(waiting))
                waiting.clear()
            if line == b"\\.\n":
                return
            waiting.append(line)
        raise _broken_off()


def _broken_off() -> CorruptionError:
    return CorruptionError("the script of the backup breaks off", hint="restore from another backup")


_END = b"COMMIT;\n"
#: rows sent to the database together
_LINES = 1000
