"""Backups of a registry: copies of its SQLite files, or of PostgreSQL a script that ``psql`` runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg import sql

from federation.datastore.durable import fsync_directory
from federation.datastore.io_errors import as_federation_error
from federation.errors import CorruptionError
from federation.storage import META_SCHEMA, SqliteDatabase
from federation.storage.database import database_errors
from federation.storage.sqlite_pool import BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from federation.storage import Database

__all__ = ["SCRIPT", "back_up", "damage_of"]

#: name of the script in a backup of a PostgreSQL registry
SCRIPT = "registry.sql"


def back_up(database: Database, schemas: Sequence[str], parent: Path, name: str) -> Path:
    """Copy the physical schemas to a new directory below ``parent`` and return it; it appears complete or not at all.

    The directory is ``name``, or with a number behind it where that is taken. All schemas are as they were at one
    moment; writers go on. Raises `LimitError` when space runs out.
    """
    partial = parent / f"{name}.partial"
    try:
        if partial.exists():  # of a run that was killed
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        with database_errors(str(partial)):
            if isinstance(database, SqliteDatabase):
                with _at_one_moment([database.path(schema) for schema in schemas]) as sources:
                    for schema, source in zip(schemas, sources, strict=True):
                        _copy_file(source, partial / f"{schema}.sqlite")
            else:
                with (partial / SCRIPT).open("wb") as file:
                    _write_script(database, schemas, file)
                    file.flush()
                    os.fsync(file.fileno())
        fsync_directory(partial)
        target = next(path for path in _names(parent, name) if not path.exists())
        partial.rename(target)
        fsync_directory(parent)
    except OSError as error:
        raise as_federation_error(error, "write", str(partial)) from error
    return target


def _names(parent: Path, name: str) -> Iterator[Path]:
    yield parent / name
    number = 2
    while True:
        yield parent / f"{name}-{number}"
        number += 1


def damage_of(connection: sqlite3.Connection) -> str:
    """What is wrong with a SQLite database, empty where nothing is."""
    for (verdict,) in connection.execute("PRAGMA quick_check(1000000000)"):
        # seen by SQLite 3.40 in every row of a table without rowid whose key is not its first columns
        if verdict != "ok" and not verdict.startswith("NULL value in "):
            return str(verdict)
    return ""


@contextmanager
def _at_one_moment(paths: Sequence[Path]) -> Iterator[list[sqlite3.Connection]]:
    """Connections that read several files as they are together: no writer is in the middle of one of them."""
    with ExitStack() as stack:

        def connect(path: Path, mode: str) -> sqlite3.Connection:
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            made = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            return stack.enter_context(closing(made))

        readers = [connect(path, "ro") for path in paths]
        writers = [connect(path, "rw") for path in sorted(paths, key=lambda p: (p.stem == META_SCHEMA, p))]
        for writer in writers:
            writer.execute("BEGIN IMMEDIATE")
        for reader in readers:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        for writer in writers:
            writer.execute("ROLLBACK")
        yield readers


def _copy_file(there: sqlite3.Connection, target: Path) -> None:
    """One file with all that its write-ahead log holds, checked."""
    with closing(sqlite3.connect(target)) as here:
        there.backup(here)
        # complete in itself: restoring it is copying one file
        here.execute("PRAGMA journal_mode=DELETE")
        if found := damage_of(here):
            raise CorruptionError(f"the backup {target} is damaged: {found}", hint="check the disk it is on")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _write_script(database: Database, schemas: Sequence[str], file: BinaryIO) -> None:
    """The schemas at one moment, in the form of ``pg_dump``, whichever version of the server there is."""
    with database.read(schemas) as connection:
        file.write(b"\\set ON_ERROR_STOP on\nBEGIN;\n")
        for schema in schemas:
            metadata = sa.MetaData()
            metadata.reflect(connection, schema=schema)
            name = connection.dialect.identifier_preparer.quote_identifier(schema)
            file.write(f"DROP SCHEMA IF EXISTS {name} CASCADE;\nCREATE SCHEMA {name};\n".encode())
            for table in metadata.sorted_tables:
                if table.schema == schema:
                    _write_table(connection, table, file)
        file.write(b"COMMIT;\n")


def _write_table(connection: sa.Connection, table: sa.Table, file: BinaryIO) -> None:
    serial = _as_serial(table)
    collations = sa.text(
        "SELECT column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = :schema AND table_name = :name AND collation_name IS NOT NULL"
    )
    for row in connection.execute(collations, {"schema": table.schema, "name": table.name}):
        table.c[row.column_name].type = sa.Text(collation=row.collation_name)
    made: list[sa.schema.ExecutableDDLElement] = [sa.schema.CreateTable(table)]
    made += [sa.schema.CreateIndex(index) for index in _free_indexes(table)]
    for element in made:
        file.write(f"{str(element.compile(connection)).strip()};\n".encode())
    preparer = connection.dialect.identifier_preparer
    names = ", ".join(preparer.quote_identifier(column.name) for column in table.columns)
    file.write(f"COPY {preparer.format_table(table)} ({names}) FROM stdin;\n".encode())
    raw: Any = connection.connection.dbapi_connection
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    place = sql.Identifier(str(table.schema), table.name)
    with (
        raw.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} ({}) TO STDOUT").format(place, columns)) as copy,
    ):
        for data in copy:
            file.write(data)
    file.write(b"\\.\n")
    for column in serial:
        place_text = f"'{preparer.format_table(table)}', '{column}'"
        most = f"SELECT max({preparer.quote_identifier(column)}) FROM {preparer.format_table(table)}"
        file.write(
            f"SELECT setval(pg_get_serial_sequence({place_text}), coalesce(({most}), 0) + 1, false);\n".encode()
        )


def _as_serial(table: sa.Table) -> list[str]:
    """Columns numbered by a sequence: restored, each gets one of its own again."""
    found = []
    for column in table.columns:
        default = column.server_default
        if isinstance(default, sa.DefaultClause) and "nextval(" in str(default.arg):
            column.server_default = None
            column.autoincrement = True
            found.append(column.name)
    return found


def _free_indexes(table: sa.Table) -> list[sa.Index]:
    """Indexes that no constraint makes by itself."""
    constraints = {str(constraint.name) for constraint in table.constraints}
    return sorted(
        (index for index in table.indexes if str(index.name) not in constraints),
        key=lambda index: str(index.name),
    )
