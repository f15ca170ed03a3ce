"""Random federations: three to five registries on both databases, with chains, shadowing and replicas that lag.

Everything follows from a seed. `Federation.oracle` is one DuckDB with the same rows, made without the planner: a table
of each schema, and under bare names for each key the row of the nearest schema.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import attrs
import duckdb
import pyarrow as pa

from federation.changelog.entries import read_entries
from federation.changelog.log import log_state
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.catalog import SiteCatalog
from federation.model.dimension import DimensionUniverse
from federation.model.position import SchemaId
from federation.planner import PlanOptions
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.replication.apply import apply_entries
from federation.replication.snapshots import stamp_all
from federation.replication.state import Apply
from federation.storage import PostgresDatabase, SqliteDatabase

SITES = ("summit", "base", "ncsa", "cern", "ral")
NIGHT_NS = 1_767_225_600_000_000_000  # 2026-01-01
MINUTE_NS = 60_000_000_000
#: names of the types as the generator of statements knows them
ARROW = {
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "bool": pa.bool_(),
    "uuid": pa.uuid(),
    "time": pa.timestamp("ns"),
}
DUCKDB = {
    "int": "BIGINT", "float": "DOUBLE", "text": "VARCHAR", "bool": "BOOLEAN", "uuid": "UUID", "time": "TIMESTAMP_NS",
}  # fmt: skip

Row = dict[str, Any]
Rows = tuple[Row, ...]


@attrs.frozen
class Family:
    """Tables of one name: their columns by type, and their key."""

    columns: Mapping[str, str]
    key: tuple[str, ...]


FAMILIES = {
    "shot": Family(
        {
            "night": "int", "seq": "int", "band": "text", "quality": "float", "good": "bool", "began": "time",
            "shot_id": "uuid", "note": "text",
        },
        ("night", "seq"),
    ),
    "source": Family(
        {
            "id": "int", "night": "int", "seq": "int", "flux": "float", "label": "text", "seen": "time",
            "flag": "bool", "ref_id": "uuid",
        },
        ("id",),
    ),
    "reference": Family({"ref_id": "uuid", "name": "text", "weight": "float", "level": "int"}, ("ref_id",)),
    "tag": Family({"name": "text", "kind": "text", "value": "int", "since": "time"}, ("name", "kind")),
}  # fmt: skip

#: what each type's values are: few, so that they meet in joins and keys meet in chains
POOLS: dict[str, tuple[Any, ...]] = {
    "int": (0, 1, 2, 3, 4, 5, -1, 7),
    "float": (0.5, 0.75, 1.0, 1.25, 2.5, -1.0, 0.0, float("inf")),
    "text": ("a", "A", "b", "B", "é", "a_b", "a%b", "Z", "it's", "", "中", "\N{GRINNING FACE}"),
    "bool": (True, False),
    "uuid": tuple(uuid.UUID(int=number << 96 | number) for number in range(8)),
    "time": tuple(
        NIGHT_NS + k * MINUTE_NS + extra for k, extra in ((-9, 0), (0, 0), (0, 1), (5, 999), (61, 0))
    ),
}


class RuledCoordinator(Coordinator):
    """A coordinator whose planner leaves out the optional rules that `rules_off` names."""

    rules_off: frozenset[str] = frozenset()

    def _options(self, *args: Any, **more: Any) -> PlanOptions:
        return attrs.evolve(super()._options(*args, **more), rules_off=self.rules_off)


@attrs.define
class Federation:
    """The sites of one seed, and what is in them."""

    seed: int
    home: str
    registries: dict[str, Registry]
    #: rows by where they are: (site, schema, table)
    rows: dict[tuple[str, SchemaId, str], Rows]
    #: columns that the table of a schema has
    columns: dict[tuple[SchemaId, str], tuple[str, ...]]
    staleness_s: dict[tuple[str, SchemaId], float]
    closing: ExitStack
    oracles: dict[Any, duckdb.DuckDBPyConnection] = attrs.field(factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.close()

    @property
    def schemas(self) -> tuple[SchemaId, ...]:
        return tuple(dict.fromkeys(schema for _, schema, _ in self.rows))

    def _chain(self) -> list[SchemaId]:
        """In the order in which sites are asked and tell of their schemas: those of home first."""
        with self.coordinator() as coordinator:
            known = coordinator.catalog().schemas
        return sorted(known, key=lambda schema: schema.site != self.home)

    def coordinator(self) -> RuledCoordinator:
        clients = {
            site: LocalSite(registry, self._catalog(site)) for site, registry in self.registries.items()
        }
        return RuledCoordinator(self.home, clients)

    def _catalog(self, site: str) -> Callable[[], SiteCatalog]:
        source = CatalogSource(self.registries[site])
        ages = {schema: age for (holder, schema), age in self.staleness_s.items() if holder == site}
        return lambda: source.catalog(ages)

    def oracle(self, holders: Mapping[SchemaId, str]) -> duckdb.DuckDBPyConnection:
        """One database with all rows, of each schema as the site has it that ``holders`` names, else its owner."""
        key = tuple(sorted((str(schema), site) for schema, site in holders.items() if site != schema.site))
        if key not in self.oracles:
            self.oracles[key] = self._oracle(holders)
        return self.oracles[key]

    def _oracle(self, holders: Mapping[SchemaId, str]) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        for setting in (
            "integer_division=true",
            "default_null_order='postgres'",
            "TimeZone='UTC'",
            "threads=1",
            "disabled_optimizers='join_elimination'",
        ):
            connection.execute(f"SET {setting}")
        bare: dict[str, dict[Any, Row]] = {name: {} for name in FAMILIES}
        for schema in self._chain():
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema.name}"')
            for name, family in FAMILIES.items():
                if (schema, name) not in self.columns:
                    continue
                rows = self.rows[holders.get(schema, schema.site), schema, name]
                load(connection, f'"{schema.name}".{name}', family, self.columns[schema, name], rows)
                for row in rows:
                    bare[name].setdefault(tuple(row[column] for column in family.key), row)
        for name, found in bare.items():
            known = {
                column for (_, table), columns in self.columns.items() if table == name for column in columns
            }
            columns = tuple(column for column in FAMILIES[name].columns if column in known)
            load(connection, f"main.{name}", FAMILIES[name], columns, found.values())
        self.closing.callback(connection.close)
        return connection

    def describe(self) -> str:
        """All rows, for a failure's report."""
        lines = [f"seed {self.seed}, home {self.home}, staleness {self.staleness_s}"]
        for (site, schema, table), rows in self.rows.items():
            kind = self.registries[site].database.kind
            lines.append(f"{schema}.{table} at {site} ({kind}), columns {self.columns[schema, table]}")
            lines.extend(f"    {tuple(row.values())!r}" for row in rows)
        return "\n".join(lines)


def load(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    family: Family,
    columns: tuple[str, ...],
    rows: Iterable[Row],
) -> None:
    """A table of DuckDB with these rows; a column that a row lacks is NULL."""
    connection.execute(
        f"CREATE TABLE {name} ({', '.join(f'{c} {DUCKDB[family.columns[c]]}' for c in columns)})"
    )
    marks = ", ".join("make_timestamp_ns(?)" if family.columns[c] == "time" else "?" for c in columns)
    values = [[row.get(column) for column in columns] for row in rows]
    if values:
        connection.executemany(f"INSERT INTO {name} VALUES ({marks})", values)


def make_federation(seed: int, directory: Path, new_postgres: Callable[[], str]) -> Federation:
    """The federation of a seed, its SQLite registries below ``directory``; close it with its context."""
    rng = random.Random(seed)
    universe = DimensionUniverse.default()
    sites = SITES[: rng.randint(3, 5)]
    on_postgres = {sites[seed % len(sites)], rng.choice(sites)}
    closing = ExitStack()
    registries = {}
    for site in sites:
        database: Any = (
            PostgresDatabase(new_postgres(), label=site)
            if site in on_postgres and len(on_postgres) < len(sites)
            else SqliteDatabase(directory / site)
        )
        registries[site] = closing.enter_context(Registry.create_in(database, site, universe))
    made = Federation(seed, rng.choice(sites), registries, {}, {}, {}, closing)
    schemas = [SchemaId(site, site) for site in sites]
    for user in ("alice", "bob"):
        owner = rng.choice(sites)
        registries[owner].create_schema(user)
        schemas.append(SchemaId(owner, user))
    for name, family in FAMILIES.items():
        for schema in rng.sample(schemas, rng.randint(1, 3)):
            _fill(rng, made, schema, name, family)
    for schema in rng.sample(schemas, 2):
        if not any(known == schema for known, _ in made.columns):
            continue
        for site in rng.sample([site for site in sites if site != schema.site], rng.randint(1, 2)):
            _replicate(made, schema, site)
            made.staleness_s[site, schema] = rng.choice([0.5, 5.0, 500.0])
    # what the owners write from here on is in no replica
    for (schema, name), columns in made.columns.items():
        if rng.random() < 0.5:
            _change(rng, made, schema, name, columns)
    return made


def _row(rng: random.Random, family: Family, columns: tuple[str, ...]) -> Row:
    return {
        column: None
        if column not in family.key and rng.random() < 0.2
        else rng.choice(POOLS[family.columns[column]])
        for column in columns
    }


def _rows(rng: random.Random, family: Family, columns: tuple[str, ...], count: int) -> dict[Any, Row]:
    rows: dict[Any, Row] = {}
    for _ in range(count):
        row = _row(rng, family, columns)
        rows[tuple(row[column] for column in family.key)] = row
    return rows


def _fill(rng: random.Random, made: Federation, schema: SchemaId, name: str, family: Family) -> None:
    optional = [column for column in family.columns if column not in family.key]
    left_out = {rng.choice(optional)} if rng.random() < 0.25 else set()
    columns = tuple(column for column in family.columns if column not in left_out)
    rows = tuple(_rows(rng, family, columns, rng.choice([0, 2, 12, 20, 30])).values())
    fields = [
        pa.field(column, ARROW[family.columns[column]], nullable=column not in family.key)
        for column in columns
    ]
    arrays = [_array([row[column] for row in rows], family.columns[column]) for column in columns]
    create_table(
        made.registries[schema.site], schema.name, name, pa.table(arrays, pa.schema(fields)), key=family.key
    )
    made.columns[schema, name] = columns
    made.rows[schema.site, schema, name] = rows


def _array(values: list[Any], kind: str) -> pa.Array:
    if kind == "uuid":
        storage = pa.array([None if value is None else value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(pa.uuid(), storage)
    if kind == "time":
        return pa.array(values, pa.int64()).cast(ARROW[kind])
    return pa.array(values, ARROW[kind])


def _replicate(made: Federation, schema: SchemaId, site: str) -> None:
    """A replica at ``site`` with what the owner has now."""
    source, replica = made.registries[schema.site], made.registries[site]
    held = source.get(schema)
    stamp_all(source, held)
    with source.database.read((held.physical,)) as connection:
        entries = read_entries(connection, held.physical, 0, 1 << 20)
        target = log_state(connection, held.physical)
    mine = replica.ensure_replica(schema)
    with replica.database.read((mine.physical,)) as connection:
        step = Apply(log_state(connection, mine.physical), tuple(entries), target)
    assert apply_entries(replica, mine, step)
    for owner, name in list(made.columns):
        if owner == schema:
            made.rows[site, schema, name] = made.rows[schema.site, schema, name]


def _change(
    rng: random.Random, made: Federation, schema: SchemaId, name: str, columns: tuple[str, ...]
) -> None:
    family = FAMILIES[name]
    before = {tuple(row[c] for c in family.key): row for row in made.rows[schema.site, schema, name]}
    gone = rng.sample(sorted(before, key=repr), min(len(before), rng.randint(0, 2)))
    fresh = _rows(rng, family, columns, rng.randint(0, 3))
    with made.registries[schema.site].transaction(schema.name) as tx:
        if gone:
            tx.delete(name, [dict(zip(family.key, key, strict=True)) for key in gone])
        if fresh:
            tx.put(name, list(fresh.values()))
    after = {key: row for key, row in before.items() if key not in gone} | fresh
    made.rows[schema.site, schema, name] = tuple(after.values())
