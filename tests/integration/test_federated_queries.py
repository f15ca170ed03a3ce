"""Queries over two sites give the rows of one DuckDB that holds the union of what was imported."""

from __future__ import annotations

import importlib.util
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType, TableDef, dataset_type_table, dimension_tables
from federation.model.system_tables import system_tables
from federation.registry.butler.content import ButlerExport
from federation.registry.butler.importing import import_export
from federation.registry.butler.reading import merge_exports, read_export, select
from federation.registry.registry import Registry
from federation.storage import PostgresDatabase, SqliteDatabase

ARROW = {
    LogicalType.INT64: pa.int64(), LogicalType.FLOAT64: pa.float64(), LogicalType.BOOL: pa.bool_(),
    LogicalType.STRING: pa.string(), LogicalType.BYTES: pa.binary(), LogicalType.UUID: pa.uuid(),
    LogicalType.TIMESTAMP: pa.timestamp("ns"),
}  # fmt: skip

QUERIES = (
    "SELECT count(*) FROM raw",
    "SELECT * FROM base.bias ORDER BY dataset_id",
    "SELECT dataset_id, run, instrument, exposure, detector, band FROM raw ORDER BY exposure, detector",
    "SELECT r.dataset_id, c.dataset_id FROM raw r JOIN calexp c ON c.instrument = r.instrument"
    " AND c.visit = r.exposure AND c.detector = r.detector",
    "SELECT r.exposure, r.detector FROM base.raw r JOIN ncsa.calexp c ON c.visit = r.exposure"
    " AND c.detector = r.detector AND c.run = 'DemoCam/runs/w01' WHERE r.band = 'r'",
    "SELECT r.dataset_id FROM raw r LEFT JOIN calexp c ON c.visit = r.exposure AND c.detector = r.detector"
    " WHERE c.dataset_id IS NULL",
    "SELECT r.exposure, r.detector FROM raw r WHERE NOT EXISTS (SELECT 1 FROM calexp c"
    " WHERE c.visit = r.exposure AND c.detector = r.detector AND c.run = 'DemoCam/runs/w02')",
    "SELECT r.exposure FROM raw r WHERE r.exposure NOT IN (SELECT visit FROM metrics)",
    "SELECT DISTINCT exposure FROM raw WHERE exposure IN (SELECT visit FROM calexp WHERE band = 'g')",
    "SELECT band, count(*) AS n, min(visit), max(detector) FROM calexp GROUP BY band",
    "SELECT c.run, count(DISTINCT r.exposure) FROM calexp c JOIN raw r ON r.exposure = c.visit GROUP BY c.run",
    "SELECT physical_filter, avg(exposure_time) FROM exposure GROUP BY physical_filter",
    "SELECT band, count(*) FROM raw GROUP BY band HAVING count(*) > 16",
    "SELECT dataset_id FROM raw UNION ALL SELECT dataset_id FROM calexp",
    "SELECT detector FROM bias UNION SELECT detector FROM calexp",
    "SELECT exposure FROM raw INTERSECT SELECT visit FROM metrics",
    "SELECT exposure FROM raw EXCEPT SELECT visit FROM metrics",
    "SELECT dataset_type, dataset_id FROM dataset ORDER BY dataset_id DESC LIMIT 7",
    "SELECT visit, detector, dataset_id FROM calexp ORDER BY visit DESC, detector, dataset_id LIMIT 10 OFFSET 3",
    "SELECT dataset_type, run, count(*) FROM dataset GROUP BY dataset_type, run",
    "SELECT k.dataset_id, k.timespan_begin, k.timespan_end FROM calibration k ORDER BY k.dataset_id",
    "SELECT count(*) FROM calibration WHERE timespan_end IS NULL",
    "SELECT e.id, b.dataset_id FROM exposure e JOIN calibration k ON (k.timespan_begin IS NULL OR"
    " k.timespan_begin <= e.timespan_begin) AND (k.timespan_end IS NULL OR e.timespan_begin < k.timespan_end)"
    " JOIN bias b ON b.dataset_id = k.dataset_id",
    "SELECT r.dataset_id, f.dataset_id FROM raw r JOIN exposure e ON e.instrument = r.instrument AND e.id = r.exposure"
    " JOIN flat f ON f.detector = r.detector AND f.physical_filter = r.physical_filter"
    " JOIN calibration k ON k.dataset_id = f.dataset_id AND (k.timespan_begin IS NULL OR k.timespan_begin <="
    " e.timespan_begin) AND (k.timespan_end IS NULL OR k.timespan_end > e.timespan_begin)",
    "SELECT count(*) FROM exposure WHERE timespan_begin >= TIMESTAMP '2026-01-02 01:04:00'",
    "SELECT min(timespan_begin), max(timespan_end) FROM visit",
    "SELECT m.collection, m.dataset_id, c.visit FROM collection_member m JOIN calexp c ON c.dataset_id = m.dataset_id",
    "SELECT h.position, h.child, k.type FROM collection_chain h LEFT JOIN collection k ON k.name = h.child"
    " ORDER BY h.parent, h.position",
    "SELECT d.dataset_id FROM dataset d WHERE d.dataset_id = '{some_raw}'",
    "SELECT r.exposure FROM raw r WHERE r.dataset_id IN ('{some_raw}', '{other_raw}')",
    "SELECT a.dataset_id, a.present FROM artifact a JOIN dataset d ON d.dataset_id = a.dataset_id"
    " WHERE d.dataset_type = 'camera'",
    "SELECT count(*), count(size_bytes), count(checksum) FROM artifact",
    "SELECT e.id, e.timespan_begin FROM exposure e ORDER BY e.zenith_angle, e.id LIMIT 5",
    "SELECT v.id, count(c.dataset_id) AS n FROM visit v LEFT JOIN calexp c ON c.visit = v.id"
    " AND c.run LIKE '%w02' GROUP BY v.id",
    "WITH best AS (SELECT visit, max(detector) AS d FROM calexp GROUP BY visit)"
    " SELECT r.dataset_id FROM best b JOIN raw r ON r.exposure = b.visit AND r.detector = b.d",
    "SELECT exposure, detector, row_number() OVER (PARTITION BY exposure ORDER BY detector DESC) FROM raw",
    "SELECT CASE WHEN detector < 2 THEN 'low' ELSE 'high' END AS half, count(*) FROM raw GROUP BY half",
    "SELECT t.id, p.id, p.region IS NULL FROM tract t JOIN patch p ON p.skymap = t.skymap AND p.tract = t.id",
    "SELECT name, is_calibration FROM dataset_type ORDER BY name",
    "SELECT d.full_name, count(*) FROM detector d JOIN raw r ON r.detector = d.id"
    " FULL JOIN bias b ON b.detector = d.id GROUP BY d.full_name",
)  # fmt: skip

WHEEL_QUERIES = (
    "SELECT count(*), min(visit), max(visit) FROM calexp",
    "SELECT d.instrument, count(*) FROM detector d GROUP BY d.instrument",
    "SELECT v.instrument, v.id, v.timespan_begin FROM visit v ORDER BY v.timespan_begin, v.id",
    "SELECT c.dataset_id, v.name FROM calexp c JOIN visit v ON v.instrument = c.instrument AND v.id = c.visit",
    "SELECT b.detector, f.dataset_id FROM bias b JOIN flat f ON f.detector = b.detector",
    "SELECT d.id FROM detector d WHERE NOT EXISTS (SELECT 1 FROM calexp c WHERE c.instrument = d.instrument"
    " AND c.detector = d.id)",
    "SELECT dataset_type, count(*) FROM dataset GROUP BY dataset_type",
    "SELECT name, band FROM physical_filter UNION SELECT name, name FROM band",
    "SELECT p.skymap, p.tract, p.id FROM patch p ORDER BY 1, 2, 3 LIMIT 4",
    "SELECT visit, detector FROM visit_detector_region ORDER BY visit DESC, detector DESC LIMIT 9",
)


def rows_of(
    export: ButlerExport, universe: DimensionUniverse, site: str
) -> dict[str, tuple[TableDef, list[dict[str, Any]]]]:
    """Logical tables of an export, made without the registry's help."""
    out: dict[str, tuple[TableDef, list[dict[str, Any]]]] = {
        t.name: (t, []) for t in (*system_tables(), *dimension_tables(universe))
    }
    for name, records in export.dimension_records.items():
        out[name][1].extend(dict(record) for record in records)
    for type_ in export.dataset_types:
        out[type_.name] = (dataset_type_table(universe, type_), [])
        out["dataset_type"][1].append(type_.to_row())
    for collection in export.collections:
        out["collection"][1].append({"name": collection.name, "type": collection.type.value})
        for position, child in enumerate(collection.children):
            out["collection_chain"][1].append(
                {"parent": collection.name, "position": position, "child": child}
            )
    types = {}
    for dataset in export.datasets:
        types[dataset.dataset_id] = dataset.dataset_type
        row = {
            "dataset_id": dataset.dataset_id,
            "run": dataset.run,
            "origin": site,
            **implied(export, dataset.data_id),
        }
        out[dataset.dataset_type][1].append(row)
        out["dataset"][1].append(
            {
                "dataset_id": dataset.dataset_id,
                "dataset_type": dataset.dataset_type,
                "run": dataset.run,
                "origin": site,
            }
        )
        if dataset.path:
            out["artifact"][1].append(
                {"dataset_id": dataset.dataset_id, "site": site, "uri": dataset.path, "present": False}
            )
    for name, ids in export.tags.items():
        out["collection_member"][1].extend(
            {"collection": name, "dataset_id": i, "dataset_type": types[i]} for i in ids
        )
    for validity in export.validity:
        out["calibration"][1].extend(
            {
                "collection": validity.collection, "dataset_id": i, "dataset_type": types[i],
                "timespan_begin": validity.timespan.begin, "timespan_end": validity.timespan.end,
                "validity_id": uuid.uuid5(i, str(validity.timespan)),
            }
            for i in validity.dataset_ids
        )  # fmt: skip
    return out


def implied(export: ButlerExport, data_id: dict[str, Any]) -> dict[str, Any]:
    out = dict(data_id)
    for element, key in (
        ("exposure", "exposure"),
        ("visit", "visit"),
        ("physical_filter", "physical_filter"),
    ):
        if key not in out:
            continue
        column = "name" if element == "physical_filter" else "id"
        for record in export.dimension_records.get(element, ()):
            if record["instrument"] == out["instrument"] and record[column] == out[key]:
                names = {
                    "exposure": ("physical_filter", "group", "day_obs"),
                    "visit": ("physical_filter", "day_obs"),
                    "physical_filter": ("band",),
                }
                out.update({name: record[name] for name in names[element]})
    return out


def oracle(parts: list[tuple[str, ButlerExport]], universe: DimensionUniverse) -> duckdb.DuckDBPyConnection:
    """One DuckDB with the union; a row that two sites have is there once, and as the first has it."""
    connection = duckdb.connect(config={"integer_division": True, "default_null_order": "postgres"})
    tables: dict[str, tuple[TableDef, dict[Any, dict[str, Any]]]] = {}
    by_site: dict[str, dict[str, tuple[TableDef, list[dict[str, Any]]]]] = {
        s: rows_of(e, universe, s) for s, e in parts
    }
    for site, found in by_site.items():
        connection.execute(f"CREATE SCHEMA {site}")
        for name, (table, rows) in found.items():
            if name == "skyMap":
                continue  # DuckDB does not tell it from the dimension skymap
            load(connection, f'{site}."{name}"', table, rows)
            keyed = tables.setdefault(name, (table, {}))[1]
            for row in rows:
                keyed.setdefault(tuple(row.get(column) for column in table.key), row)
    for name, (table, keyed) in tables.items():
        if name == "skyMap":
            continue
        load(connection, f'"{name}"', table, list(keyed.values()))
    return connection


def load(
    connection: duckdb.DuckDBPyConnection, name: str, table: TableDef, rows: list[dict[str, Any]]
) -> None:
    arrays = []
    for column in table.columns:
        values = [row.get(column.name) for row in rows]
        if column.type is LogicalType.UUID:
            storage = pa.array([None if v is None else v.bytes for v in values], pa.binary(16))
            arrays.append(pa.ExtensionArray.from_storage(pa.uuid(), storage))
        else:
            arrays.append(pa.array(values, ARROW[column.type]))
    incoming = pa.table(arrays, names=list(table.column_names))
    connection.register("incoming", incoming)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def comparable(rows: list[tuple[Any, ...]]) -> list[str]:
    def shown(value: Any) -> str:
        if isinstance(value, float) and math.isfinite(value):
            return f"{value:.9g}"
        return str(value)

    return [" | ".join(shown(value) for value in row) for row in rows]


@pytest.fixture
def federation_of(tmp_path: Path, universe: DimensionUniverse, fresh_postgres_database: str) -> Iterator[Any]:
    """Imports parts at base (SQLite) and ncsa (PostgreSQL); gives a coordinator over both."""
    registries = {
        "base": Registry.create_in(SqliteDatabase(tmp_path / "base"), "base", universe),
        "ncsa": Registry.create_in(PostgresDatabase(fresh_postgres_database, label="test"), "ncsa", universe),
    }
    coordinators = []

    def make(parts: list[tuple[str, ButlerExport]]) -> Coordinator:
        for site, export in parts:
            import_export(registries[site], export, schema=site)
        coordinators.append(Coordinator("base", {name: LocalSite(r) for name, r in registries.items()}))
        return coordinators[0]

    yield make
    for coordinator in coordinators:
        coordinator.close()
    for registry in registries.values():
        registry.close()


def compare(coordinator: Coordinator, expected: duckdb.DuckDBPyConnection, sql: str) -> None:
    ours = coordinator.query(sql).table
    theirs = expected.sql(sql).to_arrow_table()
    ours_rows = comparable(list(zip(*(c.to_pylist() for c in ours.columns), strict=True)))
    their_rows = comparable(list(zip(*(c.to_pylist() for c in theirs.columns), strict=True)))
    if "ORDER BY" not in sql.rpartition(")")[2]:
        ours_rows, their_rows = sorted(ours_rows), sorted(their_rows)
    assert ours_rows == their_rows, sql


def test_gives_the_rows_of_the_union(
    federation_of: Any, shared_data: Path, universe: DimensionUniverse
) -> None:
    export = read_export(shared_data / "data" / "butler-export" / "export.yaml", universe)
    at_base = select(export, dataset_types=["raw", "bias", "flat", "camera"])
    at_ncsa = select(export, dataset_types=["calexp", "metrics"])
    parts = [("base", at_base), ("ncsa", at_ncsa)]
    raws = sorted(str(d.dataset_id) for d in export.datasets if d.dataset_type == "raw")

    coordinator, expected = federation_of(parts), oracle(parts, universe)

    assert len(QUERIES) >= 30
    for sql in QUERIES:
        compare(coordinator, expected, sql.replace("{some_raw}", raws[0]).replace("{other_raw}", raws[-1]))


def test_gives_the_rows_of_the_union_of_the_packaged_exports(
    federation_of: Any, universe: DimensionUniverse
) -> None:
    found = importlib.util.find_spec("lsst.daf.butler")
    if found is None or found.origin is None:
        pytest.skip("lsst-daf-butler is not installed")
    data = Path(found.origin).parent / "tests" / "registry_data"
    at_base = merge_exports(
        [read_export(data / f"{n}.yaml", universe) for n in ("base", "datasets", "spatial")], universe
    )
    at_ncsa = merge_exports(
        [read_export(data / f"{n}.yaml", universe) for n in ("ci_hsc-subset", "ci_hsc-subset-skymap")],
        universe,
    )
    parts = [("base", at_base), ("ncsa", at_ncsa)]

    coordinator, expected = federation_of(parts), oracle(parts, universe)

    for sql in WHEEL_QUERIES:
        compare(coordinator, expected, sql)
