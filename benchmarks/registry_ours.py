"""Our side of benchmarks/registry.py: fills a registry of one site, and does each section's work on it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import registry_data as data
import sqlalchemy as sa
from registry_timing import Figures, median_s, percentile_ms, streamed

from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.coded import Coded
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry.bulk import insert_columns
from federation.registry.lookup import DatasetLookup
from federation.registry.registry import Registry
from federation.registry.schema_admin import drop_schema
from federation.session import Session
from federation.storage import PostgresDatabase, SqliteDatabase

SITE = "base"
#: what a dataset query gives: all that makes a reference
REF = "dataset_id, run, instrument, detector, visit"


def open_registry(place: str, *, create: bool = False) -> Registry:
    """The registry at a directory or at a PostgreSQL URL."""
    database = (
        PostgresDatabase(place, label="benchmark")
        if place.startswith("postgresql:")
        else SqliteDatabase(Path(place))
    )
    if create:
        return Registry.create_in(database, SITE, DimensionUniverse.default())
    return Registry.open_in(database, SITE)


@contextlib.contextmanager
def session(place: str) -> Iterator[Session]:
    """A session on that one site, without a server."""
    with contextlib.ExitStack() as closing:
        registry = closing.enter_context(open_registry(place))
        coordinator = closing.enter_context(Coordinator(SITE, {SITE: LocalSite(registry)}))
        yield Session(coordinator, registry.universe, closing.pop_all())


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    row = dict(record)
    if "timespan" in row:
        row["timespan_begin"], row["timespan_end"] = row.pop("timespan")
    return row


def insert_records(registry: Registry, element: str, records: list[data.Record]) -> None:
    with registry.transaction(SITE) as tx:
        dimensions.insert_records(
            tx, element, [_row(record) if "timespan" in record else record for record in records]
        )


def insert_datasets(registry: Registry, name: str, run: str, ids: list[data.Record]) -> list[uuid.UUID]:
    with registry.transaction(SITE) as tx:
        return [uuid.UUID(bytes=one) for one in datasets.insert_many(tx, name, run, ids).ids]


def fill_base(place: str, n: int) -> None:
    """Everything that visit-detector data IDs depend on, the dataset types, and the runs."""
    with open_registry(place, create=True) as registry:
        for element, records in data.base_records():
            insert_records(registry, element, records)
        with registry.transaction(SITE) as tx:
            dataset_types.declare(tx, DatasetType("calexp", ("visit", "detector"), "Exposure"))
            dataset_types.declare(tx, DatasetType("src", ("visit", "detector"), "Catalog"))
            dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
            runs = ["run0", *(f"user/r{k}" for k in range(data.CHAIN_RUNS))]
            for run in (*runs, *(f"biasrun/{k}" for k in range(data.calibration_ranges(n)))):
                collections.register(tx, Collection(run, CollectionType.RUN))
            children = tuple(runs[1:])
            collections.register(tx, Collection("user/chain", CollectionType.CHAINED, children=children))
            collections.register(tx, Collection("calib", CollectionType.CALIBRATION))


def fill_rest(place: str, n: int) -> None:
    """What the read sections read, beside visits, their regions and the calexps."""
    with open_registry(place) as registry:
        for k in range(data.CHAIN_RUNS):
            insert_datasets(registry, "src", f"user/r{k}", data.chain_data_ids(n, k))
        detectors = [{"instrument": data.INSTRUMENT, "detector": d} for d in range(data.DETECTORS)]
        for k, (begin, end) in enumerate(data.calibration_spans(n)):
            ids = insert_datasets(registry, "bias", f"biasrun/{k}", detectors)
            with registry.transaction(SITE) as tx:
                collections.certify(tx, "calib", Timespan(begin, end), ids)
        for element, records in data.sky_records(n):
            insert_records(registry, element, records)


# -- sections: each runs in a process of its own and says how long its work took -----------------------------------


def visits(place: str, n: int) -> Figures:
    records = data.visits(data.visit_count(n))
    with open_registry(place) as registry:
        insert_records(registry, "day_obs", data.WARM_UP)
        began = time.perf_counter()
        insert_records(registry, "visit", records)
        return {"visit": time.perf_counter() - began}


def regions(place: str, n: int) -> Figures:
    records = data.visit_detector_regions(n)
    with open_registry(place) as registry:
        insert_records(registry, "day_obs", data.WARM_UP)
        began = time.perf_counter()
        insert_records(registry, "visit_detector_region", records)
        return {"visit_detector_region": time.perf_counter() - began}


def registration(place: str, n: int) -> Figures:
    ids = data.data_ids(n)
    with open_registry(place) as registry:
        began = time.perf_counter()
        with registry.transaction(SITE) as tx:
            datasets.insert_many(tx, "calexp", "run0", ids)
        return {"datasets": time.perf_counter() - began}


def floor(place: str, n: int) -> Figures:
    """How long a new schema takes to store the rows of those sections in tables of the same kind, and no more."""
    written = {
        "visit": ("visit",),
        "visit_detector_region": ("visit_detector_region",),
        "datasets": ("dataset", "calexp"),
    }
    figures = {}
    with open_registry(place) as registry:
        tables = registry.tables(SchemaId(SITE, SITE))
        registry.create_schema("floor")
        with registry.transaction("floor") as tx:
            tx.add_table(tables["calexp"])
        here = registry.physical_tables(SITE, tuple(tables.values()))
        there = registry.physical_tables("floor", tuple(tables.values()))
        for name, of in written.items():
            with registry.database.read((SITE,)) as connection:
                columns = {one: _columns(connection.execute(sa.select(here[one])).all()) for one in of}
            began = time.perf_counter()
            with registry.database.write("floor") as connection:
                for one, values in columns.items():
                    insert_columns(connection, there[one], tables[one], tables[one].stored_names, values)
            figures[f"{name}_floor"] = time.perf_counter() - began
        # what is read afterwards is one schema, as the peer's
        drop_schema(registry, "floor", force=True)
    return figures


def _columns(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    columns = [
        [one.bytes if isinstance(one, uuid.UUID) else one for one in column]
        for column in zip(*rows, strict=True)
    ]
    return [Coded.of(column) if len(set(column)) < len(column) // 2 else column for column in columns]


def _sql(place: str, name: str, sql: str) -> Figures:
    """First row and all rows of a statement, as they come."""
    counts: list[int] = []
    with session(place) as open_session:

        def once() -> tuple[float, float]:
            began = time.perf_counter()
            with open_session.coordinator.stream(sql) as rows:
                first, last, count = streamed((batch.num_rows for batch in rows), began)
            counts.append(count)
            return first, last

        first, last = median_s(once)
    return {f"{name}_first_row": first, f"{name}_all_rows": last, f"{name}_rows": counts[-1]}


def _objects(place: str, name: str, **query: Any) -> Figures:
    """First and all references of a query of the Python API, as objects."""
    with session(place) as open_session:

        def once() -> tuple[float, float]:
            began = time.perf_counter()
            first, last, _ = streamed((1 for _ in open_session.datasets(**query)), began)
            return first, last

        first, last = median_s(once)
    return {f"{name}_objects_first_row": first, f"{name}_objects_all_rows": last}


def stream(place: str, n: int) -> Figures:
    return _sql(place, "stream", f"SELECT {REF} FROM calexp WHERE run = 'run0'")


def stream_objects(place: str, n: int) -> Figures:
    return _objects(place, "stream", dataset_type="calexp", collections="run0")


def filtered(place: str, n: int) -> Figures:
    return _sql(
        place,
        "filtered",
        f"SELECT {REF} FROM calexp WHERE run = 'run0' AND instrument = '{data.INSTRUMENT}' "
        f"AND visit > {data.middle_visit(n)} AND band = 'r'",
    )


def filtered_objects(place: str, n: int) -> Figures:
    where = f"instrument = '{data.INSTRUMENT}' AND visit > {data.middle_visit(n)} AND band = 'r'"
    return _objects(place, "filtered", dataset_type="calexp", collections="run0", where=where)


def find_first(place: str, n: int) -> Figures:
    runs = ", ".join(f"'user/r{k}'" for k in range(data.CHAIN_RUNS))
    order = "CASE run " + " ".join(f"WHEN 'user/r{k}' THEN {k}" for k in range(data.CHAIN_RUNS)) + " END"
    return _sql(
        place,
        "find_first",
        f"SELECT {REF} FROM (SELECT {REF}, row_number() OVER (PARTITION BY instrument, detector, visit "
        f"ORDER BY {order}) AS place FROM src WHERE run IN ({runs})) AS ranked WHERE place = 1",
    )


def find_first_objects(place: str, n: int) -> Figures:
    return _objects(place, "find_first", dataset_type="src", collections="user/chain")


def calibration_join(place: str, n: int) -> Figures:
    return _sql(
        place,
        "calibration_join",
        "SELECT r.instrument, r.visit, r.detector, b.dataset_id, b.run FROM visit_detector_region AS r "
        "JOIN visit AS v ON v.instrument = r.instrument AND v.id = r.visit "
        "JOIN bias AS b ON b.instrument = r.instrument AND b.detector = r.detector "
        "JOIN calibration AS c ON c.dataset_id = b.dataset_id AND c.collection = 'calib' "
        "AND c.timespan_begin < v.timespan_end AND v.timespan_begin < c.timespan_end",
    )


def spatial_join(place: str, n: int) -> Figures:
    return _sql(
        place,
        "spatial_join",
        "SELECT r.instrument, r.visit, r.detector, p.skymap, p.tract, p.id AS patch "
        "FROM visit_detector_region AS r JOIN patch AS p ON region_overlaps(r.region, p.region) "
        f"WHERE r.visit < {data.SPATIAL_VISIT_END} AND p.tract < {data.SPATIAL_TRACT_END}",
    )


def read_floor(place: str, n: int) -> Figures:
    """How long the driver takes to give the rows of those sections, of a statement that is as plain as it can be."""
    chain = ", ".join(f"'user/r{k}'" for k in range(data.CHAIN_RUNS))
    wanted = {
        "stream": "calexp WHERE run = 'run0'",
        "filtered": f"calexp WHERE run = 'run0' AND instrument = '{data.INSTRUMENT}' "
        f"AND visit > {data.middle_visit(n)} AND band = 'r'",
        # all of them: to take the first of each data ID comes on top
        "find_first": f"src WHERE run IN ({chain})",
    }
    figures = {}
    with open_registry(place) as registry, registry.database.statements((SITE,)) as raw:
        for name, rest in wanted.items():
            sql = f'SELECT dataset_id, run, instrument, detector, visit FROM "{SITE}".ds_{rest}'

            def once(sql: str = sql) -> tuple[float, float]:
                began = time.perf_counter()
                if isinstance(raw, sqlite3.Connection):
                    raw.execute(sql).fetchall()
                else:
                    with (
                        raw.cursor() as cursor,
                        cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT BINARY)") as rows,
                    ):
                        for _ in rows:
                            pass
                return 0.0, time.perf_counter() - began

            figures[f"{name}_all_rows_floor"] = median_s(once)[1]
    return figures


def lookups(place: str, n: int) -> Figures:
    with open_registry(place) as registry:
        lookup = DatasetLookup(registry)
        spans = [Timespan(begin, begin + 1) for begin, _ in data.calibration_spans(n)]
        with registry.database.read((SITE,)) as connection:
            rows = connection.exec_driver_sql(f'SELECT dataset_id FROM "{SITE}".ds_calexp LIMIT 500').all()
        ids = [data.as_uuid(row[0]) for row in rows]
        calls: dict[str, Callable[[int], Any]] = {
            "find_in_run": lambda i: lookup.find_dataset("calexp", data.data_id(n, i), "run0"),
            "find_in_chain": lambda i: lookup.find_dataset("src", data.chain_data_id(n, i), "user/chain"),
            "find_calibration": lambda i: lookup.find_dataset(
                "bias",
                {"instrument": data.INSTRUMENT, "detector": i % data.DETECTORS},
                "calib",
                timespan=spans[i % len(spans)],
            ),
            "get_by_uuid": lambda i: lookup.get_dataset(ids[i % len(ids)]),
        }
        return {name: percentile_ms(call) for name, call in calls.items()}
