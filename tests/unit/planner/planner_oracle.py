"""Three sites in SQLite files, run by hand, and one DuckDB that holds the union of them all as the oracle."""

from __future__ import annotations

import random
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import duckdb
import psycopg
import pyarrow as pa

from federation.execution.key_filters import filter_of, filtered_batch
from federation.execution.key_tables import fill_key_table, key_columns
from federation.execution.lowering import Dialect, Lowered, PhysicalTable, lower
from federation.execution.region_functions import pair_table, register_region_functions
from federation.execution.shipped_keys import distinct_keys
from federation.execution.stages import in_stages
from federation.model.catalog import FederationCatalog, SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import ColumnDef, LogicalType, TableDef
from federation.model.position import SchemaId
from federation.model.region import circle
from federation.planner import Fragment, OutputColumn, Plan, PlanOptions, plan
from federation.wire.arrow import arrow_schema, column_pairs, rows_to_batch

Rows = list[tuple[Any, ...]]

DUCKDB_TYPES = {
    LogicalType.INT64: "BIGINT",
    LogicalType.FLOAT64: "DOUBLE",
    LogicalType.BOOL: "BOOLEAN",
    LogicalType.STRING: "VARCHAR",
    LogicalType.BYTES: "BLOB",
    LogicalType.UUID: "UUID",
    LogicalType.TIMESTAMP: "TIMESTAMP_NS",
}
NIGHT_NS = 1_767_225_600_000_000_000  # 2026-01-01
MINUTE_NS = 60_000_000_000


def connect_duckdb() -> duckdb.DuckDBPyConnection:
    """DuckDB with the settings of the local engine."""
    connection = duckdb.connect()
    settings = ("integer_division=true", "default_null_order='postgres'", "TimeZone='UTC'")
    for setting in (*settings, "arrow_lossless_conversion=true"):
        connection.execute(f"SET {setting}")
    return connection


def load(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: tuple[OutputColumn | ColumnDef, ...],
    rows: Rows,
) -> None:
    """Create a table and fill it; timestamps are TAI nanoseconds."""
    types = ", ".join(f'"{c.name}" {DUCKDB_TYPES[c.type]}' for c in columns if c.type)
    connection.execute(f"CREATE TABLE {name} ({types})")
    marks = ", ".join("make_timestamp_ns(?)" if c.type is LogicalType.TIMESTAMP else "?" for c in columns)
    if rows:
        connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)


def from_sqlite(value: Any, kind: LogicalType | None) -> Any:
    if value is None:
        return None
    if kind is LogicalType.UUID:
        return uuid.UUID(bytes=value)
    return bool(value) if kind is LogicalType.BOOL else value


def to_sqlite(value: Any) -> Any:
    return value.bytes if isinstance(value, uuid.UUID) else value


@attrs.define
class World:
    """Rows of every schema (without the origin column), and the sites that hold them."""

    tables: dict[SchemaId, tuple[TableDef, ...]]
    rows: dict[tuple[SchemaId, str], Rows]
    holders: dict[str, tuple[SchemaId, ...]]
    directory: Path
    connections: dict[str, sqlite3.Connection] = attrs.field(factory=dict)

    def catalog(
        self, home: str, staleness_s: float | None = None, seed: int | None = None
    ) -> FederationCatalog:
        """What the sites hold; with ``seed``, and statistics that are wrong, so that plans differ."""
        rng = random.Random(seed)
        sites = []
        for site, schemas in self.holders.items():
            held = []
            for schema in schemas:
                stats = {t.name: TableStats(len(self.rows[schema, t.name])) for t in self.tables[schema]}
                if seed is not None:
                    stats = {name: made_up(known, rng) for name, known in stats.items()}
                age = 0.0 if schema.site == site else staleness_s
                held.append(SchemaCatalog(schema, "e", 1, 1, age, self.tables[schema], stats))
            sites.append(SiteCatalog(site, "v", tuple(held)))
        sites.sort(key=lambda site: site.site != home)
        return FederationCatalog(home, tuple(sites))

    def physical(self, site: str) -> dict[tuple[str, str], PhysicalTable]:
        return {
            (str(schema), table.name): PhysicalTable(physical_name(schema, site), table, schema.site)
            for schema in self.holders[site]
            for table in self.tables[schema]
        }

    def open_sites(self) -> None:
        """One SQLite database for each schema that a site holds, attached under its physical name."""
        for site, schemas in self.holders.items():
            connection = sqlite3.connect(":memory:")
            for schema in schemas:
                name = physical_name(schema, site)
                connection.execute(f"ATTACH ? AS {name}", (str(self.directory / f"{site}-{name}.db"),))
                for table in self.tables[schema]:
                    connection.execute(create_table(name, table, "sqlite"))
                    marks = ", ".join("?" * len(table.stored))
                    values = [tuple(map(to_sqlite, row)) for row in self.rows[schema, table.name]]
                    connection.executemany(
                        f'INSERT INTO {name}."{table.physical_name}" VALUES ({marks})', values
                    )
            connection.commit()
            self.connections[site] = connection

    def run_fragment(
        self, fragment: Fragment, keys: Mapping[str, pa.Table] | None = None, without: tuple[str, ...] = ()
    ) -> Rows:
        """Its rows, asked with ``keys``, or without those called ``without``."""
        tables = {name: key_columns(table) for name, table in (keys or {}).items() if name not in without}
        sql = fragment.sql_without(without)
        lowered: Lowered = lower(sql, "sqlite", self.physical(fragment.site), tables)
        assert lowered.column_names == tuple(c.name for c in fragment.columns)
        connection = self.connections[fragment.site]
        for name in lowered.key_names:
            connection.execute(f"DROP TABLE IF EXISTS temp.param_{name}")
            fill_key_table(connection, name, (keys or {})[name])
        found = connection.execute(lowered.sql).fetchall()
        kinds = [column.type for column in fragment.columns]
        return [tuple(from_sqlite(v, k) for v, k in zip(row, kinds, strict=True)) for row in found]

    def run_in_stages(
        self,
        made: Plan,
        connection: duckdb.DuckDBPyConnection,
        *,
        with_keys: bool = True,
        as_filters: bool = False,
    ) -> Iterator[tuple[Fragment, dict[str, pa.Table], Rows]]:
        """Each fragment with its keys and its rows, which ``connection`` then has as a table."""
        for fragment in in_stages(made.fragments):
            rows = {giver: connection.table(giver).to_arrow_table() for giver in fragment.givers}
            keys = {key.name: distinct_keys(key, rows) for key in fragment.keys}
            is_asked_with_them = with_keys and not as_filters
            found = self.run_fragment(fragment, keys, () if is_asked_with_them else tuple(keys))
            if as_filters:
                found = passing(fragment, keys, found)
            load(connection, fragment.id, fragment.columns, found)
            yield fragment, keys, found

    def answer(
        self,
        sql: str,
        catalog: FederationCatalog,
        options: PlanOptions,
        *,
        with_keys: bool = True,
        as_filters: bool = False,
    ) -> Rows:
        """Plan, run every fragment at its site, ``with_keys`` where the plan has some, and finish locally.

        With ``as_filters`` Bloom filters are sent for all keys, however few they are.
        """
        made = plan(sql, catalog, options)
        connection = connect_duckdb()
        for _ in self.run_in_stages(made, connection, with_keys=with_keys, as_filters=as_filters):
            pass
        for literal in made.literal_tables:
            load(connection, literal.name, literal.columns, list(literal.rows))
        statements = [made.local_sql, *(sql for p in made.pair_tables for sql in (p.left_sql, p.right_sql))]
        register_region_functions(connection, " ".join(statements), [])
        for pairs in made.pair_tables:
            left, right = (connection.sql(sql).to_arrow_table() for sql in (pairs.left_sql, pairs.right_sql))
            connection.register(pairs.name, pair_table(pairs.kind, left, right, lambda: None))
        cursor = connection.execute(made.local_sql)
        assert [d[0] for d in cursor.description] == [column.name for column in made.columns]
        for (_, engine_type, *_rest), column in zip(cursor.description, made.columns, strict=True):
            assert column.type is None or str(engine_type) == DUCKDB_TYPES[column.type]
        return cursor.fetchall()

    def oracle(self, chain: tuple[SchemaId, ...]) -> duckdb.DuckDBPyConnection:
        """One DuckDB with every schema, and the nearest row per key under bare names."""
        connection = connect_duckdb()
        bare: dict[str, tuple[TableDef, dict[Any, tuple[Any, ...]]]] = {}
        for schema in chain:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema.name}")
            for table in self.tables[schema]:
                full = [with_origin(table, row, schema.site) for row in self.rows[schema, table.name]]
                load(connection, f'{schema.name}."{table.name}"', table.columns, full)
                _, seen = bare.setdefault(table.name, (table, {}))
                positions = [table.column_names.index(name) for name in table.key]
                for row in full:
                    seen.setdefault(tuple(row[position] for position in positions), row)
        for name, (table, seen) in bare.items():
            load(connection, f'main."{name}"', table.columns, list(seen.values()))
        return connection


def passing(fragment: Fragment, keys: Mapping[str, pa.Table], rows: Rows) -> Rows:
    """Of a fragment's rows those that pass filters of its keys."""
    batch = rows_to_batch(rows, arrow_schema(column_pairs(fragment.columns, fragment.sql)))
    batch = batch.append_column("#row", pa.array(range(len(rows)), pa.int64()))
    filters = [filter_of(keys[key.name], key.outputs) for key in fragment.keys]
    return [rows[number] for number in filtered_batch(batch, filters).column("#row").to_pylist()]


def made_up(stats: TableStats, rng: random.Random) -> TableStats:
    """Statistics by which another plan is the best one, and which tell no lie that a plan may rely on."""
    factor = rng.choice([1, 10, 1_000, 100_000])
    return TableStats(stats.row_count * factor, is_exact=stats.row_count == 0)


def physical_name(schema: SchemaId, site: str) -> str:
    return schema.name if schema.site == site else f"{schema.site}__{schema.name}"


def with_origin(table: TableDef, row: tuple[Any, ...], site: str) -> tuple[Any, ...]:
    values = dict(zip(table.stored_names, row, strict=True))
    return tuple(site if column.origin else values[column.name] for column in table.columns)


def create_table(schema: str, table: TableDef, dialect: Dialect) -> str:
    types: Mapping[LogicalType, str] = (
        {
            LogicalType.INT64: "INTEGER",
            LogicalType.FLOAT64: "REAL",
            LogicalType.BOOL: "INTEGER",
            LogicalType.STRING: "TEXT",
            LogicalType.BYTES: "BLOB",
            LogicalType.UUID: "BLOB",
            LogicalType.TIMESTAMP: "INTEGER",
        }
        if dialect == "sqlite"
        else {
            LogicalType.INT64: "bigint",
            LogicalType.FLOAT64: "double precision",
            LogicalType.BOOL: "boolean",
            LogicalType.STRING: 'text COLLATE "C"',
            LogicalType.BYTES: "bytea",
            LogicalType.UUID: "uuid",
            LogicalType.TIMESTAMP: "bigint",
        }
    )
    columns = ", ".join(f'"{column.name}" {types[column.type]}' for column in table.stored)
    return f'CREATE TABLE "{schema}"."{table.physical_name}" ({columns})'


def make_rows(table: TableDef, count: int, seed: int, **fixed: list[Any]) -> Rows:
    """``count`` rows with different keys, small values that meet in joins, and NULLs where they are allowed."""
    rng = random.Random(seed)
    makers = {
        LogicalType.INT64: lambda: rng.randrange(8),
        LogicalType.FLOAT64: lambda: rng.choice([0.5, 0.75, 1.0, 1.25, 2.5, -1.0]),
        LogicalType.BOOL: lambda: rng.random() < 0.5,
        LogicalType.STRING: lambda: rng.choice(["a", "A", "b", "B", "é", "a_b", "a%b", "Z", "it's"]),
        # around right ascension 0, so that about every third pair overlaps
        LogicalType.BYTES: lambda: circle(rng.uniform(-8, 8), rng.uniform(-8, 8), rng.uniform(1, 4)),
        LogicalType.UUID: lambda: uuid.UUID(int=rng.randrange(40)),
        LogicalType.TIMESTAMP: lambda: (
            NIGHT_NS + rng.randrange(-30, 30) * MINUTE_NS + rng.choice([0, 1, 999])
        ),
    }
    rows: dict[Any, tuple[Any, ...]] = {}
    for _ in range(count * 20):
        row = tuple(
            rng.choice(fixed[column.name])
            if column.name in fixed
            else None
            if column.nullable and rng.random() < 0.25
            else makers[column.type]()
            for column in table.stored
        )
        key = tuple(row[table.stored_names.index(name)] for name in table.key)
        rows.setdefault(key, row)
        if len(rows) == count:
            break
    return list(rows.values())


def agree_where_the_key_decides(
    own: dict[SchemaId, tuple[TableDef, ...]], rows: dict[tuple[SchemaId, str], Rows]
) -> None:
    """Make rows of one key, in whatever schema, equal in the columns that the key determines."""
    first: dict[tuple[str, Any], tuple[Any, ...]] = {}
    for schema, known in own.items():
        for table in known:
            names = table.stored_names
            fixed = [table.column(name).key_determined for name in names]
            agreed = []
            for row in rows[schema, table.name]:
                key = tuple(row[names.index(name)] for name in table.key)
                model = first.setdefault((table.name, key), row)
                agreed.append(tuple(m if f else v for v, m, f in zip(row, model, fixed, strict=True)))
            rows[schema, table.name] = agreed


def load_postgres(connection: psycopg.Connection[Any], schema: str, table: TableDef, rows: Rows) -> None:
    """Fill a table that `create_table` made."""
    marks = ", ".join(["%s"] * len(table.stored))
    connection.cursor().executemany(f'INSERT INTO "{schema}"."{table.physical_name}" VALUES ({marks})', rows)
