"""postgres_fdw's side of benchmarks/federated_query.py: four PostgreSQL servers, foreign tables as a DBA makes them.

The fourth server holds no data: its foreign tables are the very tables of the other three servers' registries. Each
setting has a database of its own there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import attrs
import federated_query_data as data
import psycopg
from replication_server import server_url

SETTINGS = {
    "shared_buffers": "512MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "4GB",
    "random_page_cost": "1.1",
    "max_wal_size": "4GB",
    "jit": "off",
    "enable_async_append": "on",
    "log_min_messages": "fatal",
}


@attrs.frozen
class Tuning:
    """Options of the foreign servers; a link of some delay wants other ones than loopback."""

    use_remote_estimate: bool
    fetch_size: int
    fdw_startup_cost: int = 100


#: the better of these is the peer. Over a link each estimate and each fetch is a round trip: with remote estimates, a
#: query for which this takes seconds took a minute or more
NEAR = {"first": Tuning(True, 1000), "second": Tuning(False, 50_000)}
FAR = {"first": Tuning(False, 50_000, 200_000), "second": Tuning(False, 200_000, 200_000)}


def index_tables(port: int, site: str) -> None:
    """Give the tables of a site their indexes and statistics, as they would have by now on a server in use."""
    with psycopg.connect(server_url(port), autocommit=True) as connection:
        for table in data.TABLES:
            if table.site == site:
                for columns in table.indexes:
                    connection.execute(
                        f"CREATE INDEX ON {table.schema}.ut_{table.name} ({', '.join(columns)})"
                    )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


class Federated:
    """The fourth server: the same names as ours stand for foreign tables, in a database for each tuning."""

    def __init__(self, port: int, ports: Mapping[str, int]) -> None:
        self._port = port
        with psycopg.connect(server_url(port), autocommit=True) as connection:
            for name in NEAR:
                connection.execute(f"CREATE DATABASE {name}")
        for name in NEAR:
            with psycopg.connect(server_url(port, name), autocommit=True) as connection:
                _make_tables(connection, ports)

    @contextlib.contextmanager
    def connected(
        self, tunings: Mapping[str, Tuning], ports: Mapping[str, int]
    ) -> Iterator[dict[str, psycopg.Connection]]:
        """A connection for each tuning, with the sites at ``ports``."""
        with contextlib.ExitStack() as stack:
            found = {}
            for name, tuning in tunings.items():
                connection = stack.enter_context(
                    psycopg.connect(server_url(self._port, name), autocommit=True)
                )
                connection.prepare_threshold = None
                for site, port in ports.items():
                    connection.execute(
                        f"ALTER SERVER {site} OPTIONS (SET port '{port}', SET fetch_size '{tuning.fetch_size}', "
                        f"SET use_remote_estimate '{str(tuning.use_remote_estimate).lower()}', "
                        f"SET fdw_startup_cost '{tuning.fdw_startup_cost}')"
                    )
                found[name] = connection
            yield found


def _make_tables(connection: psycopg.Connection, ports: Mapping[str, int]) -> None:
    connection.execute("CREATE EXTENSION postgres_fdw")
    for site, port in ports.items():
        connection.execute(
            f"CREATE SERVER {site} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', "
            "dbname 'postgres', use_remote_estimate 'true', fetch_size '1000', async_capable 'true', "
            "fdw_startup_cost '100')"
        )
        connection.execute(f"CREATE USER MAPPING FOR postgres SERVER {site} OPTIONS (user 'postgres')")
    for table in data.TABLES:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
        connection.execute(
            f"IMPORT FOREIGN SCHEMA {table.schema} LIMIT TO (ut_{table.name}) FROM SERVER {table.site} "
            f"INTO {table.schema}"
        )
        connection.execute(f"ALTER FOREIGN TABLE {table.schema}.ut_{table.name} RENAME TO {table.name}")
        connection.execute(f"ANALYZE {table.path}")


def rows(connection: psycopg.Connection, sql: str) -> list[tuple[object, ...]]:
    """All rows of an answer."""
    return connection.execute(sql, binary=True).fetchall()


def run(connection: psycopg.Connection, sql: str) -> None:
    """Have an answer in this process's memory; making Python objects of it is not counted."""
    connection.execute(sql, binary=True)
