"""A registry's database as a directory of SQLite files, one for each schema."""

from __future__ import annotations

import contextlib
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

#: smaller schemas are read quickly in any way
ANALYZE_ROWS = 10_000


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
        #: rows of a schema that this process has changed since it looked at the statistics
        self._changed: dict[str, int] = {}
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
    def write(self, schema: str) -> Iterator[sa.Connection]:
        with (
            database_errors(f"{self.describe()}, schema {schema}"),
            self._writer(schema).connection((schema,)) as taken,
        ):
            before = taken.raw.total_changes
            taken.raw.execute("BEGIN IMMEDIATE")
            try:
                yield taken.connection
            except BaseException:
                if taken.raw.in_transaction:  # SQLite itself may have rolled back, on a full disk
                    taken.raw.execute("ROLLBACK")
                raise
            taken.raw.execute("COMMIT")
            self._keep_statistics(taken.raw, schema, taken.raw.total_changes - before)

    def _keep_statistics(self, raw: sqlite3.Connection, schema: str, changed: int) -> None:
        """Gather statistics of tables that have doubled: without, SQLite takes an index that has one value only."""
        with self._lock:
            since = self._changed.get(schema, 0) + changed
            is_due = since >= ANALYZE_ROWS
            self._changed[schema] = 0 if is_due else since
        if is_due:
            # when another writer has the lock: they are for speed alone, and the next rows come
            with contextlib.suppress(sqlite3.OperationalError):
                for table in _doubled_tables(raw, schema):
                    raw.execute(f'ANALYZE "{schema}"."{table}"')

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


def _doubled_tables(raw: sqlite3.Connection, schema: str) -> list[str]:
    """Large tables that have grown to twice the size that their statistics tell, or have none."""
    names = {
        row[0]
        for row in raw.execute(f"SELECT name FROM \"{schema}\".sqlite_schema WHERE type = 'table'").fetchall()
    }
    analysed: dict[str, int] = {}
    if "sqlite_stat1" in names:
        counts = f'SELECT tbl, max(CAST(stat AS INTEGER)) FROM "{schema}".sqlite_stat1 GROUP BY tbl'
        analysed = dict(raw.execute(counts).fetchall())
    doubled = []
    for name in sorted(name for name in names if not name.startswith("sqlite_")):
        # the last rowid is found at once; it is the count where nothing was deleted
        (rows,) = raw.execute(f'SELECT max(rowid) FROM "{schema}"."{name}"').fetchone()
        if rows is not None and rows >= max(ANALYZE_ROWS, 2 * analysed.get(name, 0)):
            doubled.append(name)
    return doubled


def _touch(schemas: tuple[str, ...]) -> str:
    return "SELECT " + ", ".join(f'(SELECT rowid FROM "{name}".sqlite_schema LIMIT 1)' for name in schemas)


def _begin_nothing(connection: sa.Connection) -> None:
    """SQLAlchemy's own BEGIN is not sent: `SqliteDatabase` sends the kind it needs."""
