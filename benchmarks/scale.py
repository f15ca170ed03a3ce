"""Point lookups and ingest as a registry grows: 100 thousand datasets, then millions, in one registry.

    python benchmarks/scale.py [--json] [--quick] [--sqlite N] [--postgresql N]

The peer of every line is the same registry when it was small: ratio is small over large for times, large over small
for rates, so that 1 is "size does not matter" and less is slower. Rates are those of the first and the last 400,000
datasets. With --json, one object a line: name, n, ours, peer,
ratio, goal; lookups in milliseconds (median), ingest in datasets per second. ``bare_select`` has no goal: it is what
the database itself takes for a row by its key, and says how much of a lookup's growth is the database's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from registry_data import DETECTORS, FIRST_VISIT, INSTRUMENT, base_records, visits
from rich.progress import Progress

from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry.collections import register
from federation.registry.dataset_types import declare
from federation.registry.datasets import insert_many
from federation.registry.dimensions import insert_records
from federation.registry.lookup import DatasetLookup
from federation.registry.registry import Registry
from federation.storage import Database, SqliteDatabase, start_embedded

#: datasets of one transaction, and of one RUN
BATCH = 100_000
CALLS = 500
#: time of a lookup and rate of ingest at the large size, relative to the small one
LOOKUP_GOAL, INGEST_GOAL = round(1 / 1.5, 2), 0.8


def insert_run(registry: Registry, number: int, count: int) -> tuple[float, list[bytes]]:
    """One more RUN of ``count`` datasets and the visits they are about: datasets per second, and their ids."""
    first = FIRST_VISIT + number * (BATCH // DETECTORS)
    records = [
        {**record, "id": first + place, "name": f"v{first + place}"}
        for place, record in enumerate(visits(count // DETECTORS))
    ]
    for record in records:
        record["timespan_begin"], record["timespan_end"] = record.pop("timespan")
    with registry.transaction(registry.site) as tx:
        insert_records(tx, "visit", records)
        register(tx, Collection(f"run/{number}", CollectionType.RUN))
    columns = {
        "instrument": [INSTRUMENT] * count,
        "visit": [first + place // DETECTORS for place in range(count)],
        "detector": [place % DETECTORS for place in range(count)],
    }
    began = time.perf_counter()
    with registry.transaction(registry.site) as tx:
        done = insert_many(tx, "calexp", f"run/{number}", columns)
    return count / (time.perf_counter() - began), list(done.ids[:: max(1, count // 50)])


def lookup_ms(registry: Registry, ids: list[bytes], runs: int, count: int) -> dict[str, float]:
    """Medians of lookups by data ID and by id, spread over all runs."""
    lookup = DatasetLookup(registry)
    by_data_id, by_id = [], []
    for call in range(CALLS):
        number = call * 7919 % runs
        place = call * 104_729 % count
        data_id = {
            "instrument": INSTRUMENT,
            "visit": FIRST_VISIT + number * (BATCH // DETECTORS) + place // DETECTORS,
            "detector": place % DETECTORS,
        }
        began = time.perf_counter()
        found = lookup.find_dataset("calexp", data_id, f"run/{number}")
        by_data_id.append(time.perf_counter() - began)
        assert found is not None
        identity = uuid.UUID(bytes=ids[call * 7919 % len(ids)])
        began = time.perf_counter()
        assert lookup.get_dataset(identity) is not None
        by_id.append(time.perf_counter() - began)
    return {
        "find_dataset": statistics.median(by_data_id) * 1e3,
        "get_dataset": statistics.median(by_id) * 1e3,
    }


def bare_select_ms(registry: Registry, ids: list[bytes]) -> float:
    """Median of the least that the database itself takes to find a row by a key, in pages as cold as ours."""
    mark = "?" if registry.database.kind == "sqlite" else "%b"
    sql = f'SELECT dataset_type, run FROM "{registry.site}".dataset WHERE dataset_id = {mark}'
    times = []
    with registry.database.statements((registry.site,)) as raw:
        for call in range(CALLS):
            key = ids[call * 6311 % len(ids)]
            value = key if registry.database.kind == "sqlite" else uuid.UUID(bytes=key)
            began = time.perf_counter()
            found = raw.execute(sql, (value,)).fetchall()
            times.append(time.perf_counter() - began)
            assert len(found) == 1
    return statistics.median(times) * 1e3


def measure(label: str, database: Database, total: int, batch: int) -> Iterator[dict[str, object]]:
    """Lines of one database."""
    with Registry.create_in(database, "base", DimensionUniverse.default()) as registry:
        with registry.transaction("base") as tx:
            for element, records in base_records():
                insert_records(tx, element, records)
            declare(tx, DatasetType("calexp", ("visit", "detector"), "ExposureF"))
        rates: list[float] = []
        ids: list[bytes] = []
        small: dict[str, float] = {}
        small_floor = 0.0
        runs = max(2, total // batch)
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            for number in progress.track(range(runs), description=f"{label}: {total:,} datasets"):
                rate, some = insert_run(registry, number, batch)
                rates.append(rate)
                ids += some
                if not small:
                    small = lookup_ms(registry, ids, 1, batch)
                    small_floor = bare_select_ms(registry, ids)
        large = lookup_ms(registry, ids, runs, batch)
        floor = bare_select_ms(registry, ids)
        # over several transactions: only now and then does one pay for moving SQLite's write-ahead log into the file
        tail = max(1, min(4, runs // 2))
        first, last = statistics.harmonic_mean(rates[:tail]), statistics.harmonic_mean(rates[-tail:])
        yield line(f"{label}.ingest", total, last, first, last / first, INGEST_GOAL)
        for name, milliseconds in large.items():
            yield line(
                f"{label}.{name}", total, milliseconds, small[name], small[name] / milliseconds, LOOKUP_GOAL
            )
        yield line(f"{label}.bare_select", total, floor, small_floor, small_floor / floor, None)


def line(name: str, n: int, ours: float, peer: float, ratio: float, goal: float | None) -> dict[str, object]:
    return {
        "name": name,
        "n": n,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": round(ratio, 2),
        "goal": goal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="a tenth of a million, from a tenth of that")
    parser.add_argument("--sqlite", type=int, default=2_000_000, metavar="N", help="datasets in SQLite")
    parser.add_argument(
        "--postgresql", type=int, default=10_000_000, metavar="N", help="datasets in PostgreSQL"
    )
    arguments = parser.parse_args()
    batch = BATCH // 10 if arguments.quick else BATCH
    sizes = {
        "sqlite": 100_000 if arguments.quick else arguments.sqlite,
        "postgresql": 100_000 if arguments.quick else arguments.postgresql,
    }
    with tempfile.TemporaryDirectory() as directory:
        for label, total in sizes.items():
            if not total:
                continue
            place = Path(directory) / label
            database = SqliteDatabase(place) if label == "sqlite" else start_embedded(place)
            for row in measure(label, database, total, batch):
                if arguments.json:
                    print(json.dumps(row), flush=True)
                else:
                    print(
                        "{name} at {n:,}: {ours} (small: {peer}), ratio {ratio}, goal {goal}".format(**row),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
