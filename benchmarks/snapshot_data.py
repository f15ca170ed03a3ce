"""The site of benchmarks/snapshot.py: half raws, half images made from them, each with a small file."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

from federation.datastore import Datastore
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions, provenance
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase

SITE, NIGHT, DETECTORS = "base", 20250101, 100
#: bytes of each file
FILE_BYTES = 64


def make_site(root: Path, count: int) -> None:
    """A site ``base`` below ``root`` with ``count`` datasets of ``FILE_BYTES`` each; no provenance leaves it."""
    exposures = count // 2 // DETECTORS
    with Registry.create_in(SqliteDatabase(root / "registry"), SITE, DimensionUniverse.default()) as registry:
        with registry.transaction(SITE) as tx:
            _records(tx, exposures)
            dataset_types.declare(tx, DatasetType("raw", ("exposure", "detector"), "Exposure"))
            dataset_types.declare(tx, DatasetType("calexp", ("visit", "detector"), "Exposure"))
            for run in ("Cam/raw/all", "run/one"):
                collections.register(tx, Collection(run, CollectionType.RUN))
        # a few transactions, as a site would have made them
        for start in range(0, exposures, 50):
            numbers = range(start, min(start + 50, exposures))
            with registry.transaction(SITE) as tx:
                raws = _insert(tx, "raw", "Cam/raw/all", "exposure", numbers)
                calexps = _insert(tx, "calexp", "run/one", "visit", numbers)
                provenance.add_edges(
                    tx,
                    [
                        (uuid.UUID(bytes=made), uuid.UUID(bytes=used), "isr")
                        for made, used in zip(calexps, raws, strict=True)
                    ],
                )
                artifacts.record_columns(tx, _files(root / "files", [*raws, *calexps]))


def open_site(root: Path) -> tuple[Registry, Datastore]:
    """Registry and files of the site that `make_site` made."""
    return Registry.open_in(SqliteDatabase(root / "registry"), SITE), Datastore(str(root / "files"))


def _records(tx: Any, exposures: int) -> None:
    dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
    dimensions.insert_records(tx, "physical_filter", [{"instrument": "Cam", "name": "r_1", "band": "r"}])
    dimensions.insert_records(tx, "detector", [{"instrument": "Cam", "id": n} for n in range(DETECTORS)])
    dimensions.insert_records(tx, "day_obs", [{"instrument": "Cam", "id": NIGHT}])
    dimensions.insert_records(tx, "group", [{"instrument": "Cam", "name": "g"}])
    shared = {"instrument": "Cam", "day_obs": NIGHT, "physical_filter": "r_1"}
    dimensions.insert_records(
        tx,
        "exposure",
        [
            {
                **shared,
                "id": n,
                "obs_id": f"o{n}",
                "group": "g",
                "timespan_begin": 100 * n,
                "timespan_end": 100 * n + 50,
            }
            for n in range(exposures)
        ],
    )
    dimensions.insert_records(
        tx,
        "visit",
        [{**shared, "id": n, "name": f"v{n}", **_timespan(n)} for n in range(exposures)],
    )


def _timespan(number: int) -> dict[str, int]:
    return {"timespan_begin": 100 * number, "timespan_end": 100 * number + 50}


def _insert(tx: Any, dataset_type: str, run: str, dimension: str, numbers: range) -> list[bytes]:
    rows = [
        {"instrument": "Cam", dimension: number, "detector": detector}
        for number in numbers
        for detector in range(DETECTORS)
    ]
    return list(datasets.insert_many(tx, dataset_type, run, rows, once=True).ids)


def _files(directory: Path, ids: list[bytes]) -> dict[str, list[Any]]:
    """Write a file for each dataset; the columns that record them."""
    uris, checksums = [], []
    for one in ids:
        content = one * (FILE_BYTES // len(one))
        place = directory / one.hex()[:2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{one.hex()}.fits").write_bytes(content)
        uris.append(f"{one.hex()[:2]}/{one.hex()}.fits")
        checksums.append(f"sha256:{hashlib.sha256(content).hexdigest()}")
    return {
        "dataset_id": ids, "uri": uris, "size_bytes": [FILE_BYTES] * len(ids), "checksum": checksums,
        "formatter": [None] * len(ids),
    }  # fmt: skip
