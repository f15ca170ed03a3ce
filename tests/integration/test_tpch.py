"""TPC-H's 22 queries, its tables spread over three sites, give DuckDB's answers over the generator's files."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from free_ports import free_port
from pyarrow import parquet

import federation
from federation.config import Address, SiteConfig, render_site
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.services.site_server import SiteServer
from federation.session import Session

QUERIES = sorted((Path(__file__).parents[1] / "data" / "tpch").glob("q*.sql"))
SCALE = "0.01"

#: tables and keys by the site that owns them
LAYOUT = {
    "summit": {"orders": ["o_orderkey"], "customer": ["c_custkey"]},
    "base": {"lineitem": ["l_orderkey", "l_linenumber"], "part": ["p_partkey"]},
    "ncsa": {
        "partsupp": ["ps_partkey", "ps_suppkey"],
        "supplier": ["s_suppkey"],
        "nation": ["n_nationkey"],
        "region": ["r_regionkey"],
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Parquet file for each table, with decimals and dates as the benchmark has them."""
    directory = tmp_path_factory.mktemp("tpch")
    generator = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    command: list[str | Path] = [generator, "parquet", "--scale-factor", SCALE, "--output-dir", directory]
    subprocess.run(command, check=True, capture_output=True)
    return directory


def user_table(path: Path) -> pa.Table:
    """The file's rows in types that a user's table has: floats for decimals; dates become midnights by themselves."""
    table = parquet.read_table(path)
    fields = [
        field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field for field in table.schema
    ]
    return table.cast(pa.schema(fields))


@pytest.fixture(scope="module")
def oracle(files: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for path in files.glob("*.parquet"):
        connection.execute(f"CREATE VIEW {path.stem} AS FROM '{path}'")
    return connection


@pytest.fixture(scope="module", params=[{"base"}, {"summit", "ncsa"}], ids=["lineitem", "the-others"])
def session(
    request: pytest.FixtureRequest,
    files: Path,
    module_postgres_databases: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Session]:
    """Three served sites, of which the given ones have PostgreSQL, the others SQLite."""
    directory = tmp_path_factory.mktemp("sites")
    for site in LAYOUT:
        address = Address("127.0.0.1", free_port())
        url = module_postgres_databases() if site in request.param else "sqlite"
        (directory / f"{site}.toml").write_text(render_site(site, f"../{site}", address, url))
    with ExitStack() as open_:
        for site, tables in LAYOUT.items():
            config = SiteConfig.load(directory / f"{site}.toml")
            with Registry.create(config) as registry:
                for name, key in tables.items():
                    create_table(registry, site, name, user_table(files / f"{name}.parquet"), key=key)
            server = SiteServer(config)
            server.start()
            open_.callback(server.stop)
        yield open_.enter_context(federation.connect("ncsa", sites=directory))


def plain(value: Any) -> Any:
    """A value of DuckDB as ours: decimals as floats, dates as their midnight."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    return f"{value} 00:00:00" if isinstance(value, dt.date) else value


def agree(row: Sequence[Any], expected: Sequence[Any]) -> bool:
    return len(row) == len(expected) and all(
        math.isclose(a, b, rel_tol=1e-9) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(row, expected, strict=True)
    )


@pytest.mark.parametrize("path", QUERIES, ids=[path.stem for path in QUERIES])
def test_gives_the_answers_of_duckdb(path: Path, session: Session, oracle: duckdb.DuckDBPyConnection) -> None:
    sql = path.read_text()
    expected = [tuple(map(plain, row)) for row in oracle.execute(sql).fetchall()]
    answer = [tuple(row.values()) for row in session.query(sql).to_pylist()]
    assert expected
    assert len(answer) == len(expected)
    for row, other in zip(answer, expected, strict=True):
        assert agree(row, other), (row, other)


def test_has_all_queries() -> None:
    assert len(QUERIES) == 22
