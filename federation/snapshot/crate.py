"""``ro-crate-metadata.json``: the snapshot described as an RO-Crate, for tools and people that know nothing of us."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from federation.model.position import SchemaId
from federation.snapshot.bag_text import MANIFEST, PAYLOAD
from federation.snapshot.file_names import FILE_NAME
from federation.snapshot.registry_copy import read_table

if TYPE_CHECKING:
    from federation.registry.registry import Registry
    from federation.snapshot.manifest import SnapshotManifest

__all__ = ["CRATE", "describe"]

CRATE = "ro-crate-metadata.json"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_LICENSE = "No license is recorded; ask the sites that the datasets come from."


def describe(manifest: SnapshotManifest, registry: Registry) -> bytes:
    """The description: the crate, its registry, and a directory for each run and dataset type below ``data/``."""
    directories = _directories(registry)
    parts = [FILE_NAME, MANIFEST, *manifest.registry_files, *sorted(directories)]
    counts = manifest.counts
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": manifest.name,
        "description": f"{counts.dataset_count} datasets with {counts.file_count} files ({counts.size_bytes} bytes), "
        f"chosen by: {manifest.selection}",
        "identifier": manifest.name,
        "datePublished": _day(manifest.created_tai),
        "dateModified": _day(manifest.increments[-1].created_tai),
        "license": _LICENSE,
        "hasPart": [{"@id": part} for part in parts],
    }
    graph: list[dict[str, Any]] = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": _PROFILE},
        },
        root,
        _file(FILE_NAME, "What the snapshot is, of when, and how it came to be", "application/json"),
        _file(MANIFEST, "Checksums of all files below data/ (BagIt)", "text/plain"),
        *(
            _file(name, "Registry: rows of one schema", "application/vnd.sqlite3")
            for name in manifest.registry_files
        ),
        *(
            {"@id": name, "@type": "Dataset", "name": name, "description": f"{count} files, {size} bytes"}
            for name, (count, size) in sorted(directories.items())
        ),
    ]
    document = {"@context": _CONTEXT, "@graph": graph}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _file(name: str, what: str, encoding: str) -> dict[str, Any]:
    return {"@id": name, "@type": "File", "name": what, "encodingFormat": encoding}


def _directories(registry: Registry) -> dict[str, tuple[int, int]]:
    """(files, bytes) by directory of a run and dataset type."""
    found: dict[str, tuple[int, int]] = {}
    kinds: set[str] = set()
    for held in registry.held():
        if not held.owned:
            for row in read_table(registry, held.schema, "dataset_type"):
                kinds.add(row["name"])
    for row in read_table(registry, SchemaId(registry.site, registry.site), "artifact"):
        name = _directory(row["uri"], kinds)
        count, size = found.get(name, (0, 0))
        found[name] = (count + 1, size + row["size_bytes"])
    return found


def _directory(path: str, dataset_types: set[str]) -> str:
    """The directory of its run and dataset type: the last part that names a type ends it."""
    parts = path.split("/")[:-1]
    end = next((n for n in range(len(parts), 0, -1) if parts[n - 1] in dataset_types), len(parts))
    return "/".join(parts[:end] or [PAYLOAD]) + "/"


def _day(tai_ns: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(max(0, tai_ns // 1_000_000_000)))
