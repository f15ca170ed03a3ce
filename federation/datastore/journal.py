"""The transfer journal: one row a file, planned or published, in a SQLite file that survives a kill.

A file is marked published only after it is durable under its final name, so that a row never promises more than the
disk holds; a run after a kill finds at worst a complete file that is still marked planned, and verifies it.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import attrs

from federation.datastore.io_errors import free_bytes
from federation.errors import ConflictError, CorruptionError, LimitError, UnavailableError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["JournalRow", "TransferJournal"]

_FORMAT = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (
    key TEXT PRIMARY KEY,
    target_path TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'published')),
    size_bytes INTEGER,
    checksum TEXT,
    version TEXT
) WITHOUT ROWID;
"""

_PUBLISHED = "SELECT key, target_path, size_bytes, checksum, version FROM file WHERE state = 'published'"


@attrs.frozen
class JournalRow:
    """A file of the transfer; size, checksum and version (`FileInfo`) are those of the published file."""

    key: str
    target_path: str
    size_bytes: int
    checksum: str
    version: str | None


class TransferJournal:
    """The journal at ``path``, made if missing; held by one process at a time.

    ``id`` marks the temporaries of this journal's transfers. Raises `ConflictError` while another process holds it
    and `CorruptionError` for a file that is no journal. To be used by one thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=0.0)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"cannot open journal {path}: {error}", hint="check that its directory exists and is writable"
            ) from error
        try:
            # held until closed or killed: two runs over one journal would overwrite each other's temporaries
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("BEGIN EXCLUSIVE")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._connection.execute(statement)
            self._meta("format", str(_FORMAT))
            self.id = self._meta("id", secrets.token_hex(8))
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._opening_error(error) from error
        except CorruptionError:
            self._connection.close()
            raise

    def _opening_error(self, error: sqlite3.DatabaseError) -> Exception:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ConflictError(
                f"journal {self.path} is in use by another process", hint="wait for it to end"
            )
        if isinstance(error, sqlite3.OperationalError):
            return UserError(
                f"cannot open journal {self.path}: {error}",
                hint="check that it is writable and the disk not full",
            )
        return CorruptionError(
            f"{self.path} is no transfer journal: {error}", hint="remove it and start the transfer again"
        )

    def _meta(self, name: str, default: str) -> str:
        self._connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, default))
        (value,) = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if name == "format" and value != default:
            raise CorruptionError(
                f"journal {self.path} has format {value}, not {default}",
                hint="remove it and start the transfer again",
            )
        return str(value)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the journal; what was marked stays."""
        self._connection.close()

    def unfinished(self) -> tuple[str, ...]:
        """Target paths of files that an earlier run planned and did not mark published."""
        rows = self._connection.execute("SELECT target_path FROM file WHERE state = 'planned' ORDER BY key")
        return tuple(path for (path,) in rows)

    def published(self) -> Iterator[JournalRow]:
        """Files that some run published, in order of key."""
        return (JournalRow(*row) for row in self._connection.execute(f"{_PUBLISHED} ORDER BY key"))

    def published_file(self, key: str) -> JournalRow | None:
        """One file if some run published it."""
        row = self._connection.execute(f"{_PUBLISHED} AND key = ?", (key,)).fetchone()
        return None if row is None else JournalRow(*row)

    def plan(self, files: Iterable[tuple[str, str]]) -> None:
        """Note (key, target path) of files about to be written, in one transaction."""
        self._write(
            "INSERT INTO file (key, target_path, state) VALUES (?, ?, 'planned') "
            "ON CONFLICT (key) DO UPDATE SET target_path = excluded.target_path, state = 'planned', "
            "size_bytes = NULL, checksum = NULL, version = NULL",
            files,
        )

    def publish(self, rows: Iterable[JournalRow]) -> None:
        """Mark files that are durable under their final names, in one transaction."""
        self._write(
            "INSERT INTO file (key, target_path, state, size_bytes, checksum, version) "
            "VALUES (?, ?, 'published', ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = 'published', "
            "target_path = excluded.target_path, size_bytes = excluded.size_bytes, "
            "checksum = excluded.checksum, version = excluded.version",
            (attrs.astuple(row) for row in rows),
        )

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):  # SQLite itself has rolled back after a full disk
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.DatabaseError):
                raise self._writing_error(error) from error
            raise

    def _writing_error(self, error: sqlite3.DatabaseError) -> Exception:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return LimitError(
                f"cannot write journal {self.path}: no space left, {free_bytes(self.path)} bytes free",
                hint="free some space and run the transfer again; it resumes",
            )
        return UnavailableError(f"cannot write journal {self.path}: {error}", hint="check the disk it is on")
