"""Registers dimension records and datasets in a SQLite registry, here and in lsst-daf-butler, in one run.

    python benchmarks/registration.py [--json] [--quick]

Ours writes its change log entry in the same transaction; the Butler has none. With --json, one object a line: name, n,
ours and peer in rows per second, ratio (above 1: ours is faster) and goal.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler
from lsst.daf.butler import DatasetType as ButlerDatasetType

from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry import collections, dataset_types, dimensions
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase

RUN = "benchmark"
GOALS = {"dimension_records": 20.0, "datasets": 20.0}


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def detectors(n: int) -> list[dict[str, Any]]:
    return [{"instrument": "Cam", "id": i, "full_name": f"d{i}", "purpose": "SCIENCE"} for i in range(n)]


def ours(directory: Path, n: int) -> dict[str, float]:
    with Registry.create_in(SqliteDatabase(directory), "base", DimensionUniverse.default()) as registry:
        with registry.transaction("base") as tx:
            dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
            dataset_types.declare(tx, DatasetType("dark", ("detector",), "Exposure"))
            collections.register(tx, Collection(RUN, CollectionType.RUN))

        def insert_records() -> None:
            with registry.transaction("base") as tx:
                dimensions.insert_records(tx, "detector", detectors(n))

        def insert() -> None:
            new = [NewDataset("dark", RUN, {"instrument": "Cam", "detector": i}) for i in range(n)]
            with registry.transaction("base") as tx:
                insert_datasets(tx, new)

        return {"dimension_records": n / timed(insert_records), "datasets": n / timed(insert)}


def peer(directory: Path, n: int) -> dict[str, float]:
    butler = Butler.from_config(Butler.makeRepo(str(directory)), writeable=True)
    registry = butler.registry
    registry.insertDimensionData("instrument", {"name": "Cam", "class_name": "x.Y", "detector_max": n})
    registry.registerDatasetType(
        ButlerDatasetType(
            "dark", ("instrument", "detector"), "StructuredDataDict", universe=butler.dimensions
        )
    )
    registry.registerRun(RUN)
    ids = [{"instrument": "Cam", "detector": i} for i in range(n)]
    return {
        "dimension_records": n / timed(lambda: registry.insertDimensionData("detector", *detectors(n))),
        "datasets": n / timed(lambda: registry.insertDatasets("dark", ids, run=RUN)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    arguments = parser.parse_args()
    n = 5_000 if arguments.quick else 50_000
    with tempfile.TemporaryDirectory() as directory:
        rates, peer_rates = ours(Path(directory) / "ours", n), peer(Path(directory) / "peer", n)
    for name, rate in rates.items():
        ratio = round(rate / peer_rates[name], 2)
        if arguments.json:
            row = {"name": name, "n": n, "ours": round(rate), "peer": round(peer_rates[name]), "ratio": ratio}
            print(json.dumps({**row, "goal": GOALS[name]}))
        else:
            print(f"{name}: {rate:,.0f} rows/s, lsst-daf-butler {peer_rates[name]:,.0f}, ratio {ratio}")


if __name__ == "__main__":
    main()
