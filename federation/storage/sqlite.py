"""A registry's database as a directory of SQLite files, one for each schema."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from federation.storage.database import Database, database_errors
from federation.storage.sqlite_pool import BUSY_TIMEOUT_S, SqlitePool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["SqliteDatabase"]

#: statistics are gathered after so many changed rows at first, as smaller schemas are read quickly in any way, and
#: after so many at most
ANALYZE_ROWS, ANALYZE_ROWS_MAX = 10_000, 200_000
#: rows of an index that they are gathered from, for it takes a millisecond then, however large the schema is
_ANALYSED_ROWS = 1000
#: pages that a writer keeps until it commits: beyond, SQLite writes each again whenever it has changed again
WRITER_CACHE_KIB = 65_536
#: pages (of 4 KiB) of the write-ahead log that a commit moves into the file: what many commits change is moved once
CHECKPOINT_PAGES = 16_384


class SqliteDatabase(Database):
    """``directory`` holds ``<schema>.sqlite`` in WAL mode; ``read_only`` opens them without writing a byte."""

    kind = "sqlite"

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self.directory = directory
        self.read_only = read_only
        self._engine = sa.create_engine("sqlite://", creator=self._connect, poolclass=sa.NullPool)
        sa.event.listen(self._engine, "begin", _begin_nothing)
        self._readers = SqlitePool(self._engine, directory, read_only=read_only)
        #: BEGIN IMMEDIATE locks whatever is attached, so a writer's connection has its schema alone
        self._writers: dict[str, SqlitePool] = {}
        #: rows of a schema that this process has changed before it last gathered statistics, and since
        self._changed: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    @staticmethod
    def _connect() -> sqlite3.Connection:
        # isolation_level=None: transactions are ours alone, the driver starts none
        return sqlite3.connect(
            "file::memory:",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    def path(self, schema: str) -> Path:
        """File of a physical schema."""
        return self.directory / f"{schema}.sqlite"

    @contextmanager
    def read(self, schemas: Iterable[str]) -> Iterator[sa.Connection]:
        names = tuple(dict.fromkeys(schemas))
        with database_errors(self.describe()), self._readers.connection(names) as taken:
            taken.raw.execute("BEGIN")
            if names:  # a deferred transaction takes its snapshot of a file at the first read
                taken.raw.execute(_touch(names)).fetchall()
            yield taken.connection
            taken.raw.execute("ROLLBACK")

    @contextmanager
    def statements(self, schemas: Iterable[str]) -> Iterator[sqlite3.Connection]:
        with database_errors(self.describe()), self._readers.connection(schemas) as taken:
            yield taken.raw

    def _writer(self, schema: str) -> SqlitePool:
        with self._lock:
            if schema not in self._writers:
                self._writers[schema] = SqlitePool(self._engine, self.directory, read_only=self.read_only)
            return self._writers[schema]

    @contextmanager
    def write(self, schema: str, *, durable: bool = True) -> Iterator[sa.Connection]:
        with (
            database_errors(f"{self.describe()}, schema {schema}"),
            self._writer(schema).connection((schema,)) as taken,
        ):
            before = taken.raw.total_changes
            taken.raw.execute(f'PRAGMA "{schema}".cache_size=-{WRITER_CACHE_KIB}')
            taken.raw.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            taken.raw.execute(f'PRAGMA "{schema}".synchronous={"FULL" if durable else "NORMAL"}')
            taken.raw.execute("BEGIN IMMEDIATE")
            try:
                yield taken.connection
            except BaseException:
                if taken.raw.in_transaction:  # SQLite itself may have rolled back, on a full disk
                    taken.raw.execute("ROLLBACK")
                raise
            taken.raw.execute("COMMIT")
            self._keep_statistics(taken.raw, schema, taken.raw.total_changes - before)

    def make_durable(self, schema: str) -> None:
        # a checkpoint syncs the log before it empties it, so what is not in the log is on disk already
        wal = self.path(schema).with_name(f"{schema}.sqlite-wal")
        with database_errors(self.describe()), contextlib.suppress(FileNotFoundError):
            for path, flags in ((wal, os.O_RDWR), (self.directory, os.O_RDONLY)):
                descriptor = os.open(path, flags)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def _keep_statistics(self, raw: sqlite3.Connection, schema: str, changed: int) -> None:
        """Gather statistics as a schema grows: without, SQLite takes an index that has one value only."""
        with self._lock:
            total, since = self._changed.get(schema, (0, 0))
            since += changed
            is_due = since >= min(max(ANALYZE_ROWS, total // 2), ANALYZE_ROWS_MAX)
            self._changed[schema] = (total + since, 0) if is_due else (total, since)
        if is_due:
            # when another writer has the lock: they are for speed alone, and the next rows come
            with contextlib.suppress(sqlite3.OperationalError):
                raw.execute(f"PRAGMA analysis_limit={_ANALYSED_ROWS}")
                raw.execute(f'ANALYZE "{schema}"')
            raw.execute("PRAGMA shrink_memory")

    def create_schema(self, schema: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with database_errors(self.describe()), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            uri = f"file:{quote(str(self.path(schema)))}?mode=rwc"
            raw.execute(f'ATTACH DATABASE ? AS "{schema}"', (uri,))
            raw.execute(f'PRAGMA "{schema}".journal_mode=WAL')

    def has_schema(self, schema: str) -> bool:
        return self.path(schema).exists()

    def describe(self) -> str:
        return f"SQLite registry {self.directory}"

    def close(self) -> None:
        with self._lock:
            pools = [self._readers, *self._writers.values()]
        for pool in pools:
            pool.close()
        self._engine.dispose()


def _touch(schemas: tuple[str, ...]) -> str:
    return "SELECT " + ", ".join(f'(SELECT rowid FROM "{name}".sqlite_schema LIMIT 1)' for name in schemas)


def _begin_nothing(connection: sa.Connection) -> None:
    """SQLAlchemy's own BEGIN is not sent: `SqliteDatabase` sends the kind it needs."""
