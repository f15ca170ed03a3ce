"""Random statements over random federations give the rows of one DuckDB that holds the union, whatever rules are on.

Seed ``S`` of a federation and number ``N`` of a statement reproduce a failure:
``FEDERATION_RANDOM_QUERY=S:N pytest tests/property/test_random_queries.py``.
"""

from __future__ import annotations

import decimal
import os
import random
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from random_registries import FAMILIES, Federation, RuledCoordinator, make_federation
from random_statements import Statements, Table

from federation.errors import FederationError
from federation.model.position import SchemaId
from federation.planner.pipeline import OPTIONAL_RULES

RULES = tuple(rule.__name__ for rule in OPTIONAL_RULES)
SEEDS = 10
STATEMENTS = 200


def _only() -> tuple[int, int] | None:
    """The one statement that the environment asks for."""
    seed, _, number = os.environ.get("FEDERATION_RANDOM_QUERY", "").partition(":")
    return (int(seed), int(number)) if seed else None


ONLY = _only()


@pytest.fixture(params=range(SEEDS) if ONLY is None else [ONLY[0]])
def federation(
    request: pytest.FixtureRequest, tmp_path: Path, module_postgres_databases: Callable[[], str]
) -> Iterator[Federation]:
    with make_federation(request.param, tmp_path, module_postgres_databases) as made:
        yield made


def tables_of(federation: Federation) -> list[Table]:
    """Every table of every schema, and each bare name, three times: chains are what is special."""
    found: list[Table] = []
    for (schema, name), columns in federation.columns.items():
        family = FAMILIES[name]
        found.append((f"{schema.name}.{name}", {c: family.columns[c] for c in columns}, family.key))
    for name, family in FAMILIES.items():
        known = {c for (_, table), columns in federation.columns.items() if table == name for c in columns}
        bare: Table = (name, {c: kind for c, kind in family.columns.items() if c in known}, family.key)
        found.extend([bare] * 3)
    return found


def plain(value: Any) -> str:
    if isinstance(value, decimal.Decimal):
        value = float(value) if value % 1 else int(value)
    if isinstance(value, float):
        return f"{value + 0.0:.9g}"
    return str(value) if isinstance(value, uuid.UUID) else repr(value)


def values(column: Any) -> list[Any]:
    """Values of a result's column, timestamps as TAI nanoseconds."""
    found: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return found


def multiset(rows: Any) -> list[tuple[str, ...]]:
    return sorted(tuple(map(plain, row)) for row in rows)


def holders(plan: Any) -> dict[SchemaId, str]:
    """The site that each schema was read at; one for each."""
    found: dict[SchemaId, str] = {}
    for fragment in plan.fragments:
        for source in fragment.inputs:
            assert found.setdefault(source.schema, fragment.site) == fragment.site
    return found


def translated(sql: str) -> str:
    """The statement for DuckDB, whose functions of time lose the nanoseconds, and which reads 0.5 as a decimal."""
    sql = sql.replace("TIMESTAMP '", "TIMESTAMP_NS '")
    sql = re.sub(r"(?<![\w.:'])(\d+\.\d+)(?![\w'])", r"\1e0", sql)
    sql = re.sub(r"(\w+\.\w+) \+ INTERVAL '1 minute'", r"make_timestamp_ns(epoch_ns(\1) + 60000000000)", sql)
    return re.sub(
        r"date_trunc\('hour', (\w+\.\w+)\)",
        r"make_timestamp_ns(epoch_ns(\1) - epoch_ns(\1) % 3600000000000)",
        sql,
    )


def expected_rows(oracle: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[str, ...]] | None:
    sql = translated(sql)
    try:
        cursor = oracle.execute(sql)
    except (duckdb.NotImplementedException, duckdb.BinderException):
        return None
    # integers are widened, and timestamps read to the nanosecond
    columns = [
        f"epoch_ns({name})" if str(kind) == "TIMESTAMP_NS" else name for name, kind, *_ in cursor.description
    ]
    return multiset(oracle.execute(f"SELECT {', '.join(columns)} FROM ({sql})").fetchall())


def check(
    federation: Federation, coordinator: RuledCoordinator, sql: str, staleness_s: float, place: str
) -> bool:
    """Compare one answer with the oracle's; false where the oracle does not understand the statement."""
    place += f", without {', '.join(sorted(coordinator.rules_off)) or 'nothing'}"
    try:
        result = coordinator.query(sql, max_staleness_s=staleness_s)
    except FederationError as error:
        pytest.fail(f"{place}\n{sql}\n{error}\n{federation.describe()}")
    expected = expected_rows(federation.oracle(holders(result.plan)), sql)
    if expected is None:
        return False
    answer = multiset(zip(*map(values, result.table.columns), strict=True))
    if answer != expected:
        fragments = "\n".join(f"{one.id} at {one.site}: {one.sql}" for one in result.plan.fragments)
        pytest.fail(
            f"{place}\n{sql}\nanswer   {answer}\nexpected {expected}\n{fragments}\n{result.plan.local_sql}\n"
            + federation.describe()
        )
    return True


def some_rules(rng: random.Random) -> frozenset[str]:
    """Optional rules to leave out: none, all, one, or about half of them."""
    half = [rule for rule in RULES if rng.random() < 0.5]
    return frozenset(rng.choice(((), (), RULES, (rng.choice(RULES),), half)))


def test_statements_give_the_rows_of_one_database(federation: Federation) -> None:
    tables = tables_of(federation)
    understood = 0
    numbers = range(STATEMENTS) if ONLY is None else [ONLY[1]]
    with closing(federation.coordinator()) as coordinator:
        for number in numbers:
            rng = random.Random(f"{federation.seed}:{number}")
            sql = Statements(rng, tables).statement()
            staleness_s = rng.choice((0.0, 0.0, 10.0, 1000.0))
            coordinator.rules_off = some_rules(rng)
            place = f"FEDERATION_RANDOM_QUERY={federation.seed}:{number}"
            understood += check(federation, coordinator, sql, staleness_s, place)
    assert understood >= 0.98 * len(numbers)


def test_a_seed_gives_the_same_statements_again(
    tmp_path: Path, module_postgres_databases: Callable[[], str]
) -> None:
    statements, rows = [], []
    for number in range(2):
        with make_federation(3, tmp_path / str(number), module_postgres_databases) as federation:
            tables = tables_of(federation)
            statements.append([Statements(random.Random(f"3:{n}"), tables).statement() for n in range(50)])
            rows.append(federation.rows)
    assert statements[0] == statements[1]
    assert rows[0] == rows[1]
