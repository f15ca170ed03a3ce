"""Which files a snapshot needs, what they are called in it, and where each can be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from federation.datastore import TransferItem, artifact_path
from federation.errors import ConflictError
from federation.model.dataset import DatasetType
from federation.snapshot.bag_text import PAYLOAD
from federation.snapshot.registry_copy import read_table

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from federation.registry.registry import Registry
    from federation.snapshot.source import SnapshotSource

__all__ = ["FilePlan", "plan_files"]

#: ``.fits``, ``.fits.fz``, ``.tar.gz``: what tells how a file is read
_SUFFIX = re.compile(r"(?:\.[A-Za-z][A-Za-z0-9]{0,9}){1,2}\Z")


@attrs.frozen
class FilePlan:
    """Files to copy, by dataset id as text; ``absent`` datasets have files that no site has present.

    ``done`` is (dataset id, path, bytes, checksum) of files that an earlier run has copied.
    """

    items: tuple[TransferItem, ...] = ()
    formatters: Mapping[str, str | None] = attrs.field(factory=dict)
    absent: tuple[uuid.UUID, ...] = ()
    done: tuple[tuple[str, str, int, str], ...] = ()


def plan_files(registry: Registry, members: set[uuid.UUID], source: SnapshotSource) -> FilePlan:
    """The files of ``members`` as a snapshot's registry records them at their sites.

    `ConflictError` when two sites record different contents for one dataset.
    """
    artifacts: dict[uuid.UUID, list[dict[str, Any]]] = {}
    names: dict[uuid.UUID, tuple[str, str, dict[str, Any]]] = {}
    for held in registry.held():
        if held.owned:
            continue
        for row in read_table(registry, held.schema, "artifact"):
            if row["dataset_id"] in members:
                artifacts.setdefault(row["dataset_id"], []).append(row)
        for type_row in read_table(registry, held.schema, "dataset_type"):
            dataset_type = DatasetType.from_row(type_row)
            group = registry.universe.group(dataset_type.dimensions)
            for row in read_table(registry, held.schema, dataset_type.name):
                data_id = {name: row[name] for name in group.required}
                names.setdefault(row["dataset_id"], (dataset_type.name, row["run"], data_id))
    items, formatters, absent = [], {}, []
    for dataset_id in sorted(artifacts):
        rows = artifacts[dataset_id]
        present = [row for row in rows if row["present"]]
        if not present or dataset_id not in names:
            absent.append(dataset_id)
            continue
        checksum, size_bytes = _content(dataset_id, present)
        suffix = _SUFFIX.search(present[0]["uri"].rpartition("/")[2].partition("?")[0])
        path = artifact_path(*names[dataset_id], dataset_id, suffix[0] if suffix else "")
        items.append(
            TransferItem(
                str(dataset_id), source.artifact_sources(rows), f"{PAYLOAD}/{path}", size_bytes, checksum
            )
        )
        formatters[str(dataset_id)] = present[0]["formatter"]
    return FilePlan(tuple(items), formatters, tuple(absent))


def _content(dataset_id: uuid.UUID, present: list[dict[str, Any]]) -> tuple[str | None, int | None]:
    """(checksum, bytes) that the sites agree on; sha256 is preferred to other algorithms."""
    checksums: dict[str, str] = {}
    for row in present:
        if row["checksum"]:
            algorithm = row["checksum"].partition(":")[0]
            if checksums.setdefault(algorithm, row["checksum"]) != row["checksum"]:
                raise ConflictError(
                    f"dataset {dataset_id} has {checksums[algorithm]} at one site "
                    f"and {row['checksum']} at {row['site']}",
                    hint="compare the files at both sites; one of them is not the dataset",
                )
    sizes = {row["size_bytes"] for row in present if row["size_bytes"] is not None}
    checksum = checksums.get("sha256") or next(iter(checksums.values()), None)
    return checksum, min(sizes) if len(sizes) == 1 else None
