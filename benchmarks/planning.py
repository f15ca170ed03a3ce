"""How long planning takes, over simulated catalogs of 3 to 200 sites; nothing is run, and no site is there.

    python benchmarks/planning.py [--json] [--quick]

Each site has ten tables: those of dataset types and dimensions, which all sites have, and one of its own; so 200 sites
have 2,000. Timed are the queries of benchmarks/federated_query.py (over their own three sites), and four over all:
"named" joins tables of two sites by name; the others name no schema, so that every site's table is part of each
relation: "count" of one, "join" of two, and "pruned", the same where all sites but two can tell by what is certain of
their columns that they have no row. "anew" plans a statement that was never seen, "again" one that was seen, by the
same catalogs.

With --json, one object a line: name, sites, tables, ms, goal_ms, is_met. Times are medians, of the process's own CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import attrs
import federated_query_data as data

from federation.execution.plan_cache import PlanCache
from federation.garbage import no_cycle_search
from federation.model.catalog import ColumnStats, FederationCatalog, SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import ColumnDef, LogicalType, TableDef, TableKind
from federation.model.position import SchemaId
from federation.planner import PlanOptions, plan

L = LogicalType
SIZES = (3, 10, 30, 100, 200)
#: milliseconds: the queries of the workload, and a plan over 200 sites
QUERY_GOAL_MS, LARGE_GOAL_MS = 10.0, 100.0
ROWS = 1_000_000

DATA_ID = (("instrument", L.STRING), ("exposure", L.INT64), ("detector", L.INT64))
COMMON = {
    "raw": (("dataset_id", L.UUID), ("run", L.STRING), *DATA_ID),
    "calexp": (("dataset_id", L.UUID), ("run", L.STRING), *DATA_ID, ("psf_fwhm", L.FLOAT64)),
    "src": (("dataset_id", L.UUID), ("run", L.STRING), *DATA_ID, ("nrows", L.INT64)),
    "bias": (("dataset_id", L.UUID), ("run", L.STRING), *DATA_ID),
    "exposure": (("instrument", L.STRING), ("id", L.INT64), ("day_obs", L.INT64), ("band", L.STRING)),
    "detector": (("instrument", L.STRING), ("id", L.INT64), ("full_name", L.STRING)),
    "instrument": (("name", L.STRING), ("class_name", L.STRING)),
    "dataset": (("dataset_id", L.UUID), ("dataset_type", L.STRING), ("run", L.STRING)),
    "collection": (("name", L.STRING), ("type", L.STRING)),
}
KEYS = {
    **dict.fromkeys(("raw", "calexp", "src", "bias", "dataset"), ("dataset_id",)),
    **dict.fromkeys(("exposure", "detector"), ("instrument", "id")),
    **dict.fromkeys(("instrument", "collection"), ("name",)),
}
OVER_ALL = {
    "named": "SELECT r.dataset_id, c.psf_fwhm FROM site1.raw r JOIN site2.calexp c ON c.instrument = r.instrument"
    " AND c.exposure = r.exposure AND c.detector = r.detector WHERE r.run = 'raw/{n}'",
    "count": "SELECT count(*) AS n FROM raw WHERE exposure > {n}",
    "join": "SELECT r.dataset_id, c.psf_fwhm FROM raw r JOIN calexp c ON c.instrument = r.instrument"
    " AND c.exposure = r.exposure AND c.detector = r.detector WHERE r.run = 'raw/{n}'",
    "pruned": "SELECT r.dataset_id, c.psf_fwhm FROM raw r JOIN calexp c ON c.instrument = r.instrument"
    " AND c.exposure = r.exposure AND c.detector = r.detector"
    " WHERE r.exposure BETWEEN 2{n:05} AND 3{n:05}",
}


def _table(name: str, columns: tuple[tuple[str, L], ...], key: tuple[str, ...], kind: TableKind) -> TableDef:
    made = tuple(ColumnDef(column, type_, key_determined=type_ is not L.FLOAT64) for column, type_ in columns)
    return TableDef(name, kind, made, key, name, clustering=key)


def _stats(columns: tuple[tuple[str, L], ...], rows: int, site: int) -> TableStats:
    known = {}
    for name, type_ in columns:
        if type_ is L.UUID:
            known[name] = ColumnStats(float(rows), width=16.0)
        elif name in ("exposure", "id"):
            low = 100_000 * site
            known[name] = ColumnStats(rows / 10, low=low, high=low + 99_999, is_exact=True, width=8.0)
        elif type_ is L.STRING:
            values = tuple((f"{name}{number}", 0.25) for number in range(4))
            known[name] = ColumnStats(4.0, common=values, width=10.0)
        else:
            known[name] = ColumnStats(min(rows, 1000.0), low=0, high=1000, width=8.0)
    return TableStats(
        rows, sum(stats.width or 8.0 for stats in known.values()), columns=known, is_current=True
    )


def many_sites(count: int) -> FederationCatalog:
    """``count`` sites of ten tables each, of which nine are everywhere."""
    sites = []
    for number in range(count):
        name = f"site{number}"
        columns = COMMON | {f"own_{number}": COMMON["exposure"]}
        tables = tuple(
            _table(table, found, KEYS.get(table, ("instrument", "id")), TableKind.DIMENSION)
            for table, found in columns.items()
        )
        stats = {table: _stats(found, ROWS // count, number) for table, found in columns.items()}
        held = SchemaCatalog(SchemaId(name, name), "e1", 10, 10, 0.0, tables, stats)
        sites.append(SiteCatalog(name, "v1", (held,)))
    return FederationCatalog("site0", tuple(sites))


def workload_sites() -> FederationCatalog:
    """The three sites of benchmarks/federated_query.py."""
    arrow = {"int64": L.INT64, "double": L.FLOAT64, "string": L.STRING, "timestamp[ns]": L.TIMESTAMP}
    schemas: dict[str, dict[str, dict[str, tuple[TableDef, TableStats]]]] = {}
    for table in data.TABLES:
        rows = table.make(10_000)
        columns = tuple((field.name, arrow.get(str(field.type), L.UUID)) for field in rows.schema)
        made = _table(table.name, columns, table.key, TableKind.USER)
        stats = _stats(columns, rows.num_rows * (ROWS // 10_000), 0)
        schemas.setdefault(table.site, {}).setdefault(table.schema, {})[table.name] = (made, stats)
    sites = []
    for site, held in schemas.items():
        known = tuple(
            SchemaCatalog(
                SchemaId(site, schema),
                "e1",
                10,
                10,
                0.0,
                tuple(table for table, _ in tables.values()),
                {name: stats for name, (_, stats) in tables.items()},
            )
            for schema, tables in held.items()
        )
        sites.append(SiteCatalog(site, "v1", known))
    return FederationCatalog("summit", tuple(sites))


@attrs.frozen
class Line:
    """One figure."""

    name: str
    sites: int
    tables: int
    ms: float
    goal_ms: float | None = None

    @property
    def is_met(self) -> bool | None:
        return None if self.goal_ms is None else self.ms <= self.goal_ms


def _median_ms(action: Callable[[int], object], repeats: int) -> float:
    times = []
    for number in range(repeats):
        start = time.process_time()
        action(number)
        times.append((time.process_time() - start) * 1000)
    return statistics.median(times)


def _plan(catalog: FederationCatalog, text: str, number: int) -> object:
    with no_cycle_search():
        return plan(text.replace("{n:05}", f"{number:05}").replace("{n}", str(number)), catalog)


def _again(cache: PlanCache, catalog: FederationCatalog, sql: str, _number: int) -> object:
    return cache.plan(sql, catalog, PlanOptions())


def _times(catalog: FederationCatalog, text: str, repeats: int) -> tuple[float, float]:
    """Milliseconds anew and again."""
    _plan(catalog, text, 0)
    anew = _median_ms(partial(_plan, catalog, text), repeats)
    cache, sql = PlanCache(), text.replace("{n:05}", "00001").replace("{n}", "1")
    cache.plan(sql, catalog, PlanOptions())
    return anew, _median_ms(partial(_again, cache, catalog, sql), repeats)


def workload(repeats: int) -> Iterator[Line]:
    """The queries that are compared with postgres_fdw."""
    catalog = workload_sites()
    count = sum(len(held.tables) for site in catalog.sites for held in site.schemas)
    times = []
    for name, sql in data.queries(ROWS).items():
        times.append(_times(catalog, sql, repeats))
        yield Line(f"{name} anew", 3, count, times[-1][0])
    yield Line("queries anew, median", 3, count, statistics.median(anew for anew, _ in times), QUERY_GOAL_MS)
    yield Line(
        "queries again, median", 3, count, statistics.median(again for _, again in times), QUERY_GOAL_MS
    )


def growing(sizes: tuple[int, ...], repeats: int) -> Iterator[Line]:
    """Statements over all of a growing number of sites."""
    for size in sizes:
        catalog = many_sites(size)
        goal = LARGE_GOAL_MS if size == max(SIZES) else None
        for name, text in OVER_ALL.items():
            anew, again = _times(catalog, text, repeats)
            yield Line(f"{name} anew", size, 10 * size, anew, goal)
            yield Line(f"{name} again", size, 10 * size, again, goal)


def main() -> int:
    """Print the figures; exit code 1 where a goal is not met."""
    parser = argparse.ArgumentParser(description="Time planning over simulated catalogs.")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--quick", action="store_true", help="3 and 200 sites, few repeats")
    options = parser.parse_args()
    repeats = 3 if options.quick else 15
    sizes = (min(SIZES), max(SIZES)) if options.quick else SIZES
    is_met = True
    for lines in (workload(repeats), growing(sizes, repeats)):
        for line in lines:
            is_met = is_met and line.is_met is not False
            if options.json:
                print(json.dumps(attrs.asdict(line) | {"is_met": line.is_met}), flush=True)
            else:
                goal = (
                    ""
                    if line.goal_ms is None
                    else f"   goal {line.goal_ms:g}, {'met' if line.is_met else 'NOT met'}"
                )
                print(f"{line.name:<24}{line.sites:>5} sites{line.ms:>10.2f} ms{goal}", flush=True)
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
