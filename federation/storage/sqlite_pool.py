"""SQLite connections that keep the schemas they have attached, for the next one who needs the same."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import sqlalchemy as sa

from federation.errors import LimitError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["AttachedConnection", "SqlitePool"]

#: how long a writer waits for the writer before it
BUSY_TIMEOUT_S = 60.0
#: idle connections that are kept; more readers at once are served all the same
IDLE_MAX = 16


class AttachedConnection:
    """One connection and the schemas attached to it; used by one thread at a time."""

    def __init__(self, engine: sa.Engine, directory: Path, *, read_only: bool) -> None:
        self.connection = engine.connect()
        raw = self.connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        self.raw: sqlite3.Connection = raw
        self._directory: Path = directory
        self._read_only: bool = read_only
        #: schema -> (device, inode) of the file that was attached, the longest unused first
        self._attached: dict[str, tuple[int, int]] = {}

    def holds(self, schemas: Iterable[str]) -> bool:
        """Whether nothing need be attached (unless a file was replaced)."""
        return self._attached.keys() >= set(schemas)

    def attach(self, schemas: Sequence[str]) -> None:
        """See that these are attached, and that each is the file that has its name now.

        `NotFoundError` for a schema without file, `LimitError` for more than SQLite attaches to one connection.
        """
        wrong = [name for name in schemas if self._attached.get(name) != self._identity(name)]
        if not wrong:
            return
        for name in wrong:
            if name in self._attached:
                self._detach(name)
        limit = self.raw.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED)
        if len(schemas) > limit:
            raise LimitError(
                f"{self._directory}: {len(schemas)} schemas in one transaction, but SQLite attaches at most {limit}",
                hint="name fewer schemas in one query, or keep the registry in PostgreSQL",
            )
        unused = [name for name in self._attached if name not in schemas]
        for name in unused[: max(0, len(self._attached) + len(wrong) - limit)]:
            self._detach(name)
        mode = "ro&immutable=1" if self._read_only else "rw"
        for name in wrong:
            identity = self._identity(name)
            path = self._directory / f"{name}.sqlite"
            self.raw.execute(f'ATTACH DATABASE ? AS "{name}"', (f"file:{quote(str(path))}?mode={mode}",))
            if not self._read_only:
                self.raw.execute(f'PRAGMA "{name}".synchronous=FULL')
            self._attached[name] = identity

    def _identity(self, schema: str) -> tuple[int, int]:
        path = self._directory / f"{schema}.sqlite"
        try:
            found = path.stat()
        except FileNotFoundError as error:
            raise NotFoundError(
                f"registry file {path} does not exist", hint="run: federation site init"
            ) from error
        return found.st_dev, found.st_ino

    def _detach(self, schema: str) -> None:
        self.raw.execute(f'DETACH DATABASE "{schema}"')
        del self._attached[schema]

    def close(self) -> None:
        self.connection.close()


class SqlitePool:
    """Connections over the files of one directory; thread-safe.

    A connection that an error has left is closed, as nobody knows its state; so are those beyond `IDLE_MAX`.
    """

    def __init__(self, engine: sa.Engine, directory: Path, *, read_only: bool) -> None:
        self._engine = engine
        self._directory = directory
        self._read_only = read_only
        self._idle: list[AttachedConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self, schemas: Iterable[str]) -> Iterator[AttachedConnection]:
        """A connection with at least these schemas attached, outside any transaction, as it must be left."""
        names = tuple(dict.fromkeys(schemas))
        taken = self._take(names)
        try:
            taken.attach(names)
            yield taken
            # ends the transaction that SQLAlchemy believes in; the database's own has ended
            taken.connection.rollback()
        except BaseException:
            taken.close()
            raise
        self._give_back(taken)

    def _take(self, schemas: tuple[str, ...]) -> AttachedConnection:
        with self._lock:
            for number in range(len(self._idle) - 1, -1, -1):
                if self._idle[number].holds(schemas):
                    return self._idle.pop(number)
            if self._idle:
                return self._idle.pop()
        return AttachedConnection(self._engine, self._directory, read_only=self._read_only)

    def _give_back(self, connection: AttachedConnection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle, and the others as they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
