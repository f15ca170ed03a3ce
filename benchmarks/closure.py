"""Closures over provenance: the graph in memory beside the database's own recursive query, and rounds over sites.

    python benchmarks/closure.py [--json] [--quick] [--databases sqlite,postgresql]

The peer of a line is ``WITH RECURSIVE`` in the same database, of the same run, which only counts what it reaches;
ours gives all ids with their steps. A pipeline of 8 levels makes 1 million datasets and 4 to 5 million edges; seeds
are its last products. ``warm`` has the graph in memory, ``cold`` reads and builds it first. With --json, one object a
line: name, n (seeds), ours and peer (milliseconds), ratio (peer / ours), goal. ``rounds`` lines have rounds in place of
times: ours, and as peer those of asking level by level.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.dimension import DimensionUniverse
from federation.model.lineage import Direction
from federation.model.position import SchemaId
from federation.registry.dataset_numbers import ID_DTYPE
from federation.registry.provenance import reached
from federation.registry.provenance_cache import graph_cache
from federation.registry.registry import Registry
from federation.snapshot.source import FederatedSource
from federation.storage import Database, SqliteDatabase, start_embedded

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.void]

#: (level, datasets, [(input level, inputs of each, how far around its place they lie; 0: anywhere)]) of a million
LEVELS: tuple[tuple[str, int, tuple[tuple[str, int, int], ...]], ...] = (
    ("raw", 180_000, ()),
    ("cal", 20_000, ()),
    ("isr", 180_000, (("raw", 1, 1), ("cal", 4, 0))),
    ("icexp", 180_000, (("isr", 1, 1), ("cal", 4, 0))),
    ("calexp", 180_000, (("icexp", 1, 1), ("cal", 4, 0))),
    ("warp", 120_000, (("calexp", 5, 40),)),
    ("coadd", 20_000, (("warp", 20, 60),)),
    ("detection", 40_000, (("coadd", 3, 5),)),
    ("measurement", 80_000, (("detection", 2, 5), ("calexp", 4, 40), ("coadd", 1, 3))),
)
#: which of three sites makes a level
PIPELINE = {"raw": 0, "cal": 0, "isr": 1, "icexp": 1}
WARM_GOAL, ONE_GOAL, COLD_GOAL = 10.0, 1.0, 1.0
SEEDS = (1, 100, 10_000)


class Pipeline:
    """``ids`` (n), ``edges`` (m, 2: dataset, input) as places in them, and the ``level`` (n) of each."""

    def __init__(self, total: int) -> None:
        random = np.random.default_rng(1)
        begin: dict[str, int] = {}
        count: dict[str, int] = {}
        place, parts, levels = 0, [], []
        for number, (name, million, inputs) in enumerate(LEVELS):
            begin[name], count[name] = place, million * total // 1_000_000
            place += count[name]
            levels.append(np.full(count[name], number, np.int8))
            made = np.arange(count[name])
            for source, each, around in inputs:
                spread = random.integers(0, around or count[source], (len(made), each))
                near = made[:, None] * count[source] // max(1, len(made))
                far = begin[source] + (near + spread) % count[source]
                parts.append(np.stack([np.repeat(begin[name] + made, each), far.ravel()], axis=1))
        self.edges: Ints = np.unique(np.concatenate(parts), axis=0)
        self.level = np.concatenate(levels)
        data = random.integers(0, 256, (place, 16), dtype=np.uint8)
        data[:, 6], data[:, 8] = data[:, 6] & 0x0F | 0x40, data[:, 8] & 0x3F | 0x80
        self.ids: Ids = data.view(ID_DTYPE).reshape(-1)
        self._random = random

    def seeds(self, count: int) -> Ids:
        """Some of the last products, the same for the same number."""
        last = np.flatnonzero(self.level == len(LEVELS) - 1)
        chosen = np.random.default_rng(count).choice(last, min(count, len(last)), replace=False)
        found: Ids = self.ids[chosen]
        return found


def load(registry: Registry, ids: Ids, edges: Ints) -> None:
    """Put edges into the registry's table, as fast as its database takes them."""
    data = ids.tobytes()
    keys = [data[place : place + 16] for place in range(0, len(data), 16)]
    pairs = sorted((keys[made], keys[used]) for made, used in edges.tolist())
    schema = registry.site
    with registry.database.write(schema) as connection:
        raw: Any = connection.connection.dbapi_connection
        if registry.database.kind == "sqlite":
            raw.executemany(f'INSERT INTO "{schema}".provenance VALUES (?, ?, NULL)', pairs)
            return
        with (
            raw.cursor() as cursor,
            cursor.copy(
                f'COPY "{schema}".provenance (dataset_id, input_id) FROM STDIN (FORMAT BINARY)'
            ) as copy,
        ):
            copy.set_types(["uuid", "uuid"])
            for made, used in pairs:
                copy.write_row((uuid.UUID(bytes=made), uuid.UUID(bytes=used)))
        raw.execute(f'ANALYZE "{schema}".provenance')


def recursive_count(database: Database, schema: str, seeds: Ids) -> tuple[float, int]:
    """Milliseconds that the database takes, and how many datasets it reaches, the seeds included."""
    data = seeds.tobytes()
    keys = [data[place : place + 16] for place in range(0, len(data), 16)]
    walk = (
        'WITH RECURSIVE walk (id) AS ({seeds} UNION SELECT p.input_id FROM "{schema}".provenance AS p '
        "JOIN walk ON p.dataset_id = walk.id) SELECT count(*) FROM walk"
    )
    with database.read((schema,)) as connection:
        raw: Any = connection.connection.dbapi_connection
        if database.kind == "sqlite":
            raw.execute("CREATE TEMP TABLE seed (id BLOB PRIMARY KEY) WITHOUT ROWID")
            raw.executemany("INSERT INTO temp.seed VALUES (?)", [(key,) for key in keys])
            began = time.perf_counter()
            found = raw.execute(walk.format(seeds="SELECT id FROM temp.seed", schema=schema)).fetchone()
        else:
            values = [uuid.UUID(bytes=key) for key in keys]
            began = time.perf_counter()
            found = raw.execute(
                walk.format(seeds="SELECT unnest(%s::uuid[])", schema=schema), (values,)
            ).fetchone()
        return 1000 * (time.perf_counter() - began), found[0]


def graph_count(registry: Registry, seeds: Ids) -> tuple[float, int]:
    """Milliseconds that we take, and how many datasets we reach, the seeds included."""
    began = time.perf_counter()
    found = reached(registry, Direction.UPSTREAM, seeds)
    took = 1000 * (time.perf_counter() - began)
    if found is None:
        raise SystemExit("the graph is too large to be held")
    return took, len(found[0])


def median(call: Callable[[], tuple[float, int]], repeats: int) -> tuple[float, int]:
    """Median time of several calls, all with one result."""
    runs = [call() for _ in range(repeats)]
    if len({count for _, count in runs}) != 1:
        raise SystemExit(f"a closure has several sizes: {runs}")
    return statistics.median(took for took, _ in runs), runs[0][1]


def line(name: str, n: int, ours: float, peer: float, goal: float | None) -> dict[str, object]:
    """One result."""
    ratio = peer / ours if ours else 0.0
    return {
        "name": name, "n": n, "ours": round(ours, 3), "peer": round(peer, 3), "ratio": round(ratio, 2), "goal": goal,
    }  # fmt: skip


def measure(kind: str, database: Database, graph: Pipeline) -> Iterator[dict[str, object]]:
    """Lines of one database."""
    with Registry.create_in(database, "base", DimensionUniverse.default()) as registry:
        load(registry, graph.ids, graph.edges)
        seeds = {count: graph.seeds(count) for count in SEEDS}
        peers = {}
        for count in SEEDS:
            repeats = 11 if count == 1 else 3
            peers[count] = median(lambda n=count: recursive_count(database, "base", seeds[n]), repeats)  # type: ignore[misc]
        cold = graph_count(registry, seeds[SEEDS[-1]])
        for count in SEEDS:
            ours = median(lambda n=count: graph_count(registry, seeds[n]), 11)  # type: ignore[misc]
            if ours[1] != peers[count][1]:
                raise SystemExit(f"{kind}: {ours[1]} datasets where the database has {peers[count][1]}")
            goal = {1: ONE_GOAL, SEEDS[-1]: WARM_GOAL}.get(count)
            yield line(f"closure_warm_{kind}", count, ours[0], peers[count][0], goal)
        yield line(f"closure_cold_{kind}", SEEDS[-1], cold[0], peers[SEEDS[-1]][0], COLD_GOAL)
        held = graph_cache(registry).current(may_build=False)
        if held is not None:
            yield line(f"closure_graph_mb_{kind}", len(graph.edges), held.graph.nbytes / 1e6, 0, None)


def rounds(graph: Pipeline, root: Path) -> Iterator[dict[str, object]]:
    """How often sites are asked one after the other, over three sites that each made a part of the pipeline."""
    names = ("summit", "base", "ncsa")
    site_of_level = np.array([PIPELINE.get(name, 2) for name, *_ in LEVELS])
    site_of = site_of_level[graph.level[graph.edges[:, 0]]]
    universe = DimensionUniverse.default()
    registries = [Registry.create_in(SqliteDatabase(root / name), name, universe) for name in names]
    for number, registry in enumerate(registries):
        load(registry, graph.ids, graph.edges[site_of == number])
    seeds = [uuid.UUID(bytes=one.tobytes()) for one in graph.seeds(100)]
    levels = len(LEVELS) - 1
    try:
        yield line(
            "closure_rounds_pipeline", len(seeds), _rounds(registries, seeds), levels, round(levels / 3, 2)
        )
        copied = registries[2]
        for registry in registries[:2]:
            held = copied.ensure_replica(SchemaId(registry.site, registry.site))
            with registry.database.read((registry.site,)) as connection:
                rows = connection.exec_driver_sql(f'SELECT * FROM "{registry.site}".provenance').fetchall()
                state = connection.exec_driver_sql(
                    f'SELECT epoch, lsn, chain FROM "{registry.site}".log_state'
                ).fetchone()
            with copied.database.write(held.physical) as connection:
                raw: Any = connection.connection.dbapi_connection
                raw.executemany(
                    f'INSERT INTO "{held.physical}".provenance VALUES (?, ?, ?)', list(map(tuple, rows))
                )
                raw.execute(
                    f'UPDATE "{held.physical}".log_state SET epoch = ?, lsn = ?, chain = ?',
                    tuple(state or ()),
                )
        yield line("closure_rounds_replicated", len(seeds), _rounds(registries, seeds), levels, float(levels))
    finally:
        for registry in registries:
            registry.close()


def _rounds(registries: list[Registry], seeds: list[uuid.UUID]) -> int:
    sites = {registry.site: LocalSite(registry) for registry in registries}
    found = []
    for home in sites:
        with Coordinator(home, sites) as coordinator:
            reach = FederatedSource(coordinator).reach(Direction.UPSTREAM, seeds)
        ids = {reach.ids[place : place + 16] for place in range(0, len(reach.ids), 16)}
        found.append((home, reach.rounds, ids))
    if any(ids != found[0][2] for _, _, ids in found):
        raise SystemExit("the sites find different closures")
    return next(count for home, count, _ in found if home == "ncsa")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the datasets; no goal applies")
    parser.add_argument("--databases", default="sqlite,postgresql", metavar="NAMES")
    chosen = parser.parse_args()
    total = 50_000 if chosen.quick else 1_000_000
    graph = Pipeline(total)
    with tempfile.TemporaryDirectory(prefix="federation-closure-") as name:
        lines: list[Iterator[dict[str, object]]] = []
        if "sqlite" in chosen.databases.split(","):
            lines.append(measure("sqlite", SqliteDatabase(Path(name) / "sqlite"), graph))
        if "postgresql" in chosen.databases.split(","):
            lines.append(measure("postgresql", start_embedded(Path(name) / "pg"), graph))
        lines.append(rounds(Pipeline(total // 10), Path(name) / "sites"))
        failed = False
        for found in lines:
            for one in found:
                goal, ratio = one["goal"], one["ratio"]
                missed = (
                    isinstance(goal, float) and isinstance(ratio, float) and ratio < goal and not chosen.quick
                )
                failed |= missed
                print(json.dumps(one) if chosen.json else _text(one, missed=missed), flush=True)
    sys.exit(1 if failed else 0)


def _text(one: dict[str, object], *, missed: bool) -> str:
    goal = "" if one["goal"] is None else f"   goal {one['goal']}{' MISSED' if missed else ''}"
    return f"{one['name']:30} {one['n']:>9} {one['ours']:>12} {one['peer']:>12} {one['ratio']:>9}{goal}"


if __name__ == "__main__":
    main()
