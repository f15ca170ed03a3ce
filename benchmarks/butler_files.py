"""Exports datasets to a Butler export file and imports such a file, here and in lsst-daf-butler, in one run.

    python benchmarks/butler_files.py [--json] [--quick]

Datasets with a file each, of one type, in one RUN; both import the file that the Butler wrote, rows without files. With
--json, one object a line: name, n, ours and peer in datasets per second, ratio (above 1: ours is faster) and goal.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, DatasetRef, FileDataset
from lsst.daf.butler import DatasetType as ButlerDatasetType

from federation.model.dimension import DimensionUniverse
from federation.model.position import SchemaId
from federation.registry.butler.importing import import_export
from federation.registry.butler.reading import read_export
from federation.registry.butler.writing import write_export
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase

RUN = "benchmark"
FORMATTER = "lsst.daf.butler.formatters.yaml.YamlFormatter"
GOALS = {"export": 10.0, "import": 10.0}
DETECTORS = 100


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def new_butler(root: Path) -> Butler:
    return Butler.from_config(Butler.makeRepo(str(root)), writeable=True)


def filled_butler(root: Path, n: int) -> Butler:
    """Exposures of a camera, a dataset for each detector, ingested where they are."""
    butler = new_butler(root)
    insert = butler.registry.insertDimensionData
    insert("instrument", {"name": "Cam", "class_name": "x.Y", "detector_max": DETECTORS})
    insert("physical_filter", {"instrument": "Cam", "name": "r1", "band": "r"})
    insert("day_obs", {"instrument": "Cam", "id": 20260101})
    insert("group", {"instrument": "Cam", "name": "g"})
    insert("detector", *({"instrument": "Cam", "id": i, "full_name": f"d{i}"} for i in range(DETECTORS)))
    common = {"instrument": "Cam", "physical_filter": "r1", "day_obs": 20260101, "group": "g"}
    insert("exposure", *({**common, "id": i, "obs_id": f"e{i}"} for i in range(-(-n // DETECTORS))))
    kind = ButlerDatasetType(
        "raw", ("instrument", "exposure", "detector"), "StructuredDataDict", universe=butler.dimensions
    )
    butler.registry.registerDatasetType(kind)
    butler.collections.register(RUN)
    file = root / "file.yaml"
    file.write_text("a: 1\n")
    ids = ({"instrument": "Cam", "exposure": i // DETECTORS, "detector": i % DETECTORS} for i in range(n))
    refs = [
        DatasetRef(kind, butler.registry.expandDataId(one, dimensions=kind.dimensions), run=RUN)
        for one in ids
    ]
    butler.ingest(*(FileDataset(str(file), [ref], formatter=FORMATTER) for ref in refs), transfer="direct")
    return butler


def export_butler(butler: Butler, target: Path) -> None:
    with butler.export(filename=str(target)) as export:
        export.saveDatasets(butler.registry.queryDatasets("raw", collections=RUN))


def import_ours(registry: Registry, file: Path) -> None:
    import_export(registry, read_export(file, registry.universe), schema="base")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="a tenth of the datasets")
    arguments = parser.parse_args()
    n = 1_000 if arguments.quick else 10_000
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        butler = filled_butler(root / "butler", n)
        theirs = root / "theirs.yaml"
        peer = {"export": timed(lambda: export_butler(butler, theirs))}
        empty = new_butler(root / "empty")
        peer["import"] = timed(lambda: empty.import_(filename=str(theirs), without_datastore=True))
        with Registry.create_in(
            SqliteDatabase(root / "registry"), "base", DimensionUniverse.default()
        ) as registry:
            took = {"import": timed(lambda: import_ours(registry, theirs))}
            schema = SchemaId("base", "base")
            took["export"] = timed(lambda: write_export(registry, root / "ours.yaml", schema=schema))
    for name, goal in GOALS.items():
        rate, peer_rate = n / took[name], n / peer[name]
        ratio = round(rate / peer_rate, 2)
        if arguments.json:
            row = {"name": name, "n": n, "ours": round(rate), "peer": round(peer_rate), "ratio": ratio}
            print(json.dumps({**row, "goal": goal}))
        else:
            print(f"{name}: {rate:,.0f} datasets/s, lsst-daf-butler {peer_rate:,.0f}, ratio {ratio}")


if __name__ == "__main__":
    main()
