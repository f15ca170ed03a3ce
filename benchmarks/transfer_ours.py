"""Our side of benchmarks/transfer.py, in a process of its own: copy, verify, and write the registry."""

from __future__ import annotations

import json
import resource
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from federation.config import StoreOptions
from federation.datastore import CopyMode, Datastore, TransferItem, TransferJournal, transfer
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase

SITE = "base"


def new_registry(place: Path, count: int) -> Registry:
    registry = Registry.create_in(SqliteDatabase(place), SITE, DimensionUniverse.default())
    with registry.transaction(SITE) as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(tx, "detector", [{"instrument": "Cam", "id": i} for i in range(count)])
        dataset_types.declare(tx, DatasetType("raw", ("detector",), "Exposure"))
        collections.register(tx, Collection("run", CollectionType.RUN))
    return registry


def insert(registry: Registry, count: int) -> list[uuid.UUID]:
    with registry.transaction(SITE) as tx:
        found = datasets.insert_many(
            tx, "raw", "run", [{"instrument": "Cam", "detector": i} for i in range(count)]
        )
    return [uuid.UUID(bytes=one) for one in found.ids]


def main(call: dict[str, Any]) -> None:
    """Copy what ``call`` says; prints seconds and peak memory."""
    files = json.loads(Path(call["listing"]).read_text())
    scratch = Path(call["scratch"])
    source, target = (
        Datastore(
            call[end], StoreOptions(endpoint=call[f"{end}_endpoint"], credentials_file=Path(call["keys"]))
        )
        for end in ("source", "target")
    )
    with new_registry(scratch / "registry", len(files)) as registry:
        ids = [] if call["insert"] else insert(registry, len(files))
        began = time.perf_counter()
        ids = ids or insert(registry, len(files))
        items = [
            TransferItem(str(one), (source.source(path),), path, size_bytes, checksum)
            for one, (path, size_bytes, checksum) in zip(ids, files, strict=True)
        ]
        with TransferJournal(scratch / "journal.sqlite") as journal:
            report = transfer(items, target, journal=journal, mode=CopyMode(call["mode"]))
        report.raise_for_failure()
        columns: dict[str, list[Any]] = {
            "dataset_id": ids,
            "uri": [file.target_path for file in report.done],
            "size_bytes": [file.size_bytes for file in report.done],
            "checksum": [file.checksum for file in report.done],
            "formatter": [None] * len(ids),
        }
        with registry.transaction(SITE) as tx:
            written = artifacts.record_columns(tx, columns)
        seconds = time.perf_counter() - began
    assert written == len(files)
    assert [file.checksum for file in report.done] == [checksum for _, _, checksum in files]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "memory_mb": memory}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
