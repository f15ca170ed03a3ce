"""A registry's database as a directory of SQLite files, one for each schema."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from federation.errors import NotFoundError
from federation.storage.database import Database, database_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["SqliteDatabase"]

#: how long a writer waits for the writer before it
BUSY_TIMEOUT_S = 60.0


class SqliteDatabase(Database):
    """``directory`` holds ``<schema>.sqlite`` in WAL mode; ``read_only`` opens them without writing a byte."""

    kind = "sqlite"

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self.directory = directory
        self.read_only = read_only
        self._engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=sa.NullPool)
        sa.event.listen(self._engine, "begin", _begin_nothing)

    @staticmethod
    def _connect() -> sqlite3.Connection:
        # isolation_level=None: transactions are ours alone, the driver starts none
        return sqlite3.connect(
            "file::memory:", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )

    def path(self, schema: str) -> Path:
        """File of a physical schema."""
        return self.directory / f"{schema}.sqlite"

    def _attach(self, cursor: Any, schema: str, *, create: bool = False) -> None:
        path = self.path(schema)
        if not create and not path.exists():
            raise NotFoundError(f"registry file {path} does not exist", hint="run: federation site init")
        mode = "rwc" if create else ("ro&immutable=1" if self.read_only else "rw")
        cursor.execute(f'ATTACH DATABASE ? AS "{schema}"', (f"file:{quote(str(path))}?mode={mode}",))

    @contextmanager
    def read(self, schemas: Iterable[str]) -> Iterator[sa.Connection]:
        with database_errors(self.describe()), self._engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            cursor = raw.cursor()
            names = tuple(dict.fromkeys(schemas))
            for name in names:
                self._attach(cursor, name)
            cursor.execute("BEGIN")
            for name in names:  # a deferred transaction takes its snapshot of a file at the first read
                cursor.execute(f'SELECT count(*) FROM "{name}".sqlite_schema')
            try:
                yield connection
            finally:
                cursor.execute("ROLLBACK")

    @contextmanager
    def write(self, schema: str) -> Iterator[sa.Connection]:
        with database_errors(f"{self.describe()}, schema {schema}"), self._engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            cursor = raw.cursor()
            self._attach(cursor, schema)
            cursor.execute(f'PRAGMA "{schema}".synchronous=FULL')
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if raw.in_transaction:  # SQLite itself may have rolled back, on a full disk
                    cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def create_schema(self, schema: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with database_errors(self.describe()), self._engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            cursor = raw.cursor()
            self._attach(cursor, schema, create=True)
            cursor.execute(f'PRAGMA "{schema}".journal_mode=WAL')

    def has_schema(self, schema: str) -> bool:
        return self.path(schema).exists()

    def describe(self) -> str:
        return f"SQLite registry {self.directory}"

    def close(self) -> None:
        self._engine.dispose()


def _begin_nothing(connection: sa.Connection) -> None:
    """SQLAlchemy's own BEGIN is not sent: `SqliteDatabase` sends the kind it needs."""
