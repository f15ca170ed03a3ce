"""A registry's database on a PostgreSQL server."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import adbc_driver_manager
import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from federation.storage.database import Database, database_errors
from federation.storage.postgres_arrow import ArrowSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from federation.storage.postgres_arrow import ArrowConnection

__all__ = ["PostgresDatabase"]

#: synchronous_commit: what is visible must survive a crash before it is shipped
_OPTIONS = "-c synchronous_commit=on -c TimeZone=UTC"
#: an idle connection older than this is tried before it is used; the server may have been restarted
_IDLE_S = 5.0


class PostgresDatabase(Database):
    """``url`` is a libpq URL; ``label`` stands for it in messages, without password."""

    kind = "postgresql"

    def __init__(self, url: str, *, label: str, release: Callable[[], None] | None = None) -> None:
        self._url = url
        self._label = label
        self._lost_at = 0.0  # when a connection was last lost or refused: others of before may be gone too
        self._release = release
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_size=8,
            max_overflow=56,
            isolation_level="REPEATABLE READ",
        )
        self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._single = sa.pool.QueuePool(
            self._connect_single, pool_size=8, max_overflow=56, reset_on_return=None
        )
        # libpq is behind it too, so the URL means the same
        self._arrow_source = ArrowSource(
            make_conninfo(url, connect_timeout=10, application_name="federation", options=_OPTIONS)
        )
        self._arrow = sa.pool.QueuePool(
            cast("Any", self._arrow_source.connect), pool_size=4, max_overflow=28, reset_on_return=None
        )
        for pool in (self._engine.pool, self._single, self._arrow):
            sa.event.listen(pool, "checkin", _note_return)
            sa.event.listen(pool, "checkout", self._check_alive)
            sa.event.listen(pool, "invalidate", self._note_loss)

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(
                self._url, connect_timeout=10, application_name="federation", options=_OPTIONS
            )
        except psycopg.OperationalError:
            self._note_loss()
            raise

    def _note_loss(self, *_of_what: Any) -> None:
        self._lost_at = time.monotonic()

    def _check_alive(self, connection: Any, record: Any, _proxy: Any) -> None:
        returned = record.info.get("returned", now := time.monotonic())
        if now - returned < _IDLE_S and returned > self._lost_at:
            return
        try:
            connection.execute("SELECT 1")
            if isinstance(connection, psycopg.Connection) and not connection.autocommit:
                connection.rollback()
        except (psycopg.Error, adbc_driver_manager.Error) as error:
            raise sa.exc.DisconnectionError(str(error)) from error

    def _connect_single(self) -> Any:
        connection = self._connect()
        connection.autocommit = True
        connection.prepare_threshold = 0  # at the first use: a point lookup is asked again and again
        # planned once as well: for a list of unknown length PostgreSQL would plan a lookup each time it is asked
        connection.execute("SET plan_cache_mode = force_generic_plan")
        return connection

    @contextmanager
    def read(self, schemas: Iterable[str]) -> Iterator[sa.Connection]:  # noqa: ARG002 - all schemas are reachable
        with database_errors(self.describe()), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def statements(self, schemas: Iterable[str]) -> Iterator[psycopg.Connection[Any]]:  # noqa: ARG002
        with database_errors(self.describe()), _checked_out(self._single) as connection:
            yield connection

    @contextmanager
    def arrow(self, snapshot: str, timeout_s: float | None = None) -> Iterator[ArrowConnection]:
        """A connection that gives Arrow, in a transaction that sees an exported snapshot of another one.

        A statement is cancelled after ``timeout_s``.
        """
        begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{snapshot}'"
        if timeout_s is not None:
            begin += f"; SET LOCAL statement_timeout = {max(1, int(min(timeout_s, 1e6) * 1000))}"
        with _checked_out(self._arrow) as connection:
            connection.execute(begin)
            yield connection
            connection.execute("ROLLBACK")

    @contextmanager
    def write(self, schema: str, *, durable: bool = True) -> Iterator[sa.Connection]:
        with (
            database_errors(f"{self.describe()}, schema {schema}"),
            self._writer.connect() as connection,
            connection.begin(),
        ):
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    def make_durable(self, schema: str) -> None:
        with self.statements((schema,)) as connection:
            # the shortest record that makes the commit flush the log up to itself
            connection.execute("SELECT pg_logical_emit_message(true, 'federation', '')")

    def create_schema(self, schema: str) -> None:
        with database_errors(self.describe()), self._writer.begin() as connection:
            # serialised: CREATE SCHEMA IF NOT EXISTS fails when two run at once
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('federation.create_schema'))"))
            connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))

    def has_schema(self, schema: str) -> bool:
        with self.read(()) as connection:
            found = connection.execute(
                sa.text("SELECT 1 FROM information_schema.schemata WHERE schema_name = :name"),
                {"name": schema},
            )
            return found.first() is not None

    def describe(self) -> str:
        return f"PostgreSQL registry {self._label}"

    def close(self) -> None:
        self._engine.dispose()
        self._single.dispose()
        self._arrow.dispose()
        self._arrow_source.close()
        if self._release is not None:
            release, self._release = self._release, None
            release()


@contextmanager
def _checked_out(pool: sa.Pool) -> Iterator[Any]:
    """A driver's connection out of a pool; one that an error has left is closed, as nobody knows its state."""
    taken = pool.connect()
    try:
        yield taken.dbapi_connection
    except BaseException:
        taken.invalidate()
        raise
    taken.close()


def _note_return(_connection: Any, record: Any) -> None:
    record.info["returned"] = time.monotonic()
