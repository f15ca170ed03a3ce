"""PostgreSQL gives the rows of a fragment that SQLite gives."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from join_statements import JOINS
from planner_oracle import World, connect_duckdb, create_table, load_postgres, physical_name
from planner_statements import QUERIES

from federation.execution.key_tables import ArrayParameters, key_columns
from federation.execution.lowering import lower
from federation.model.logical import LogicalType
from federation.planner import Fragment, PlanOptions, plan


@pytest.fixture(scope="module")
def servers(world: World, postgres_url: str) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    """One connection for each site; sites are databases of one server."""
    connections: dict[str, psycopg.Connection[Any]] = {}
    databases = {site: f"planner_{site}_{uuid.uuid4().hex}" for site in world.holders}
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        for database in databases.values():
            admin.execute(f"CREATE DATABASE {database}")
        try:
            for site, schemas in world.holders.items():
                connection = psycopg.connect(postgres_url, dbname=databases[site])
                for schema in schemas:
                    connection.execute(f'CREATE SCHEMA "{physical_name(schema, site)}"')
                    for table in world.tables[schema]:
                        connection.execute(create_table(physical_name(schema, site), table, "postgresql"))
                        load_postgres(
                            connection, physical_name(schema, site), table, world.rows[schema, table.name]
                        )
                connection.commit()
                connections[site] = connection
            yield connections
        finally:
            for connection in connections.values():
                connection.close()
            for database in databases.values():
                admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def run(
    world: World,
    connection: psycopg.Connection[Any],
    fragment: Fragment,
    keys: Mapping[str, pa.Table] = MappingProxyType({}),
) -> list[tuple[Any, ...]]:
    tables = {name: key_columns(table) for name, table in keys.items()}
    lowered = lower(fragment.sql, "postgresql", world.physical(fragment.site), tables)
    # as sites do: a COPY takes no parameters
    rows = psycopg.ClientCursor(connection).execute(lowered.sql, ArrayParameters(keys)).fetchall()
    connection.rollback()
    return [
        tuple(
            float(value) if value is not None and column.type is LogicalType.FLOAT64 else value
            for value, column in zip(row, fragment.columns, strict=True)
        )
        for row in rows
    ]


def rounded(rows: list[tuple[Any, ...]]) -> list[str]:
    return [repr(tuple(f"{v:.9g}" if isinstance(v, float) else v for v in row)) for row in rows]


@pytest.mark.parametrize("query", QUERIES)
def test_answers_fragments_as_sqlite_does(
    query: str, world: World, servers: dict[str, psycopg.Connection[Any]]
) -> None:
    made = plan(query.removeprefix("ordered: "), world.catalog("ncsa"), PlanOptions())
    for fragment in made.fragments:
        expected = rounded(world.run_fragment(fragment))
        answer = rounded(run(world, servers[fragment.site], fragment))
        if query.startswith("ordered: ") and len(made.fragments) == 1 and " ORDER BY " in fragment.sql:
            assert answer == expected
        assert sorted(answer) == sorted(expected)


@pytest.mark.parametrize("part", range(3))
def test_answers_fragments_with_keys_as_sqlite_does(
    part: int, world: World, servers: dict[str, psycopg.Connection[Any]]
) -> None:
    asked = 0
    for sql in JOINS[part::3]:
        made = plan(sql, world.catalog("ncsa", seed=part), PlanOptions())
        for fragment, keys, expected in world.run_in_stages(made, connect_duckdb()):
            if keys:
                asked += 1
                answer = run(world, servers[fragment.site], fragment, keys)
                assert sorted(rounded(answer)) == sorted(rounded(expected)), sql
    assert asked > 5
