"""Which files a snapshot needs, what they are called in it, and where each can be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from federation.datastore import TransferItem, artifact_path
from federation.errors import ConflictError
from federation.model.dataset import DatasetType
from federation.registry.transaction import select_rows
from federation.snapshot.bag_text import PAYLOAD
from federation.snapshot.registry_copy import read_table

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Mapping

    from federation.model.dimension import DimensionGroup
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.snapshot.source import SnapshotSource

__all__ = ["FilePlan", "FilePlanner"]

#: ``.fits``, ``.fits.fz``, ``.tar.gz``: what tells how a file is read
_SUFFIX = re.compile(r"(?:\.[A-Za-z][A-Za-z0-9]{0,9}){1,2}\Z")


@attrs.frozen
class FilePlan:
    """Files to copy, by dataset id as text; ``absent`` datasets have files that no site has present."""

    items: tuple[TransferItem, ...] = ()
    formatters: Mapping[str, str | None] = attrs.field(factory=dict)
    absent: tuple[uuid.UUID, ...] = ()


class FilePlanner:
    """Plans files as the registry of a snapshot in the making records them at their sites."""

    def __init__(self, registry: Registry, source: SnapshotSource) -> None:
        self._registry, self._source = registry, source
        self._schemas = [held.schema for held in registry.held() if not held.owned]
        self._groups: dict[SchemaId, dict[str, DimensionGroup]] = {
            schema: {
                found.name: registry.universe.group(found.dimensions)
                for found in map(DatasetType.from_row, read_table(registry, schema, "dataset_type"))
            }
            for schema in self._schemas
        }

    def size_bytes(self, ids: list[uuid.UUID]) -> int:
        """Bytes of all files of some thousand datasets, as far as they are known."""
        rows = self._rows("artifact", ids)
        return sum({row["dataset_id"]: row["size_bytes"] or 0 for row in rows if row["present"]}.values())

    def plan(self, ids: Iterable[uuid.UUID]) -> FilePlan:
        """The files of some thousand datasets; `ConflictError` when two sites record different contents for one."""
        wanted = sorted(ids)
        artifacts: dict[uuid.UUID, list[dict[str, Any]]] = {}
        for row in self._rows("artifact", wanted):
            artifacts.setdefault(row["dataset_id"], []).append(row)
        names = self._names(sorted(artifacts))
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
                    str(dataset_id),
                    self._source.artifact_sources(rows),
                    f"{PAYLOAD}/{path}",
                    size_bytes,
                    checksum,
                )
            )
            formatters[str(dataset_id)] = present[0]["formatter"]
        return FilePlan(tuple(items), formatters, tuple(absent))

    def _names(self, ids: list[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str, dict[str, Any]]]:
        """(dataset type, run, required values) by dataset."""
        by_type: dict[str, list[uuid.UUID]] = {}
        for row in self._rows("dataset", ids):
            by_type.setdefault(row["dataset_type"], []).append(row["dataset_id"])
        names: dict[uuid.UUID, tuple[str, str, dict[str, Any]]] = {}
        for name, of_type in by_type.items():
            for schema in self._schemas:
                group = self._groups[schema].get(name)
                if group is not None:
                    for row in self._rows_in(schema, name, of_type):
                        data_id = {key: row[key] for key in group.required}
                        names.setdefault(row["dataset_id"], (name, row["run"], data_id))
        return names

    def _rows(self, table: str, ids: list[uuid.UUID]) -> Iterator[dict[str, Any]]:
        for schema in self._schemas:
            yield from self._rows_in(schema, table, ids)

    def _rows_in(self, schema: SchemaId, table: str, ids: list[uuid.UUID]) -> Iterator[dict[str, Any]]:
        held = self._registry.get(schema)
        with self._registry.database.read((held.physical,)) as connection:
            tables = self._registry.tables_in(connection, held.physical)
            if table in tables and ids:
                physical = self._registry.physical_tables(held.physical, tuple(tables.values()))[table]
                yield from select_rows(connection, physical, ("dataset_id",), [(one,) for one in ids])


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
