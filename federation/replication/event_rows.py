"""Rows of system tables as events, one function a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import attrs

from federation.model import events
from federation.model.dataset import DatasetType

__all__ = ["DELETE", "PUT", "UNKNOWN", "EntryContext"]

#: type and run of a dataset of which nobody knows
UNKNOWN = ("", "")


@attrs.frozen
class EntryContext:
    """What the changes of one entry say of each other."""

    base: dict[str, Any]
    rows: dict[bytes, dict[str, Any]]
    removed: dict[bytes, str]
    named: dict[bytes, tuple[str, str]]

    def dataset(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Identity, type and run of the dataset that a row speaks of."""
        kind, run = self.named.get(row["dataset_id"], UNKNOWN)
        return {"dataset_id": UUID(bytes=row["dataset_id"]), "dataset_type": kind, "run": run, **self.base}


Maker = Callable[[Mapping[str, Any], EntryContext], events.Event]


def _dataset_type(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    kind = DatasetType.from_row(row)
    return events.DatasetTypeDeclared(
        dataset_type=kind.name,
        dimensions=kind.dimensions,
        storage_class=kind.storage_class,
        is_calibration=kind.is_calibration,
        **entry.base,
    )


def _collection(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.CollectionChanged(collection=row["name"], type=row["type"], removed=False, **entry.base)


def _collection_dropped(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.CollectionChanged(collection=row["name"], type="", removed=True, **entry.base)


def _chain(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.ChainChanged(
        collection=row["parent"], place=row["position"], child=row.get("child"), **entry.base
    )


def _tagged(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.DatasetTagged(
        collection=row["collection"],
        dataset_id=UUID(bytes=row["dataset_id"]),
        dataset_type=row["dataset_type"],
        **entry.base,
    )


def _untagged(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.DatasetUntagged(
        collection=row["collection"], dataset_id=UUID(bytes=row["dataset_id"]), **entry.base
    )


def _certified(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.Certified(
        collection=row["collection"],
        dataset_id=UUID(bytes=row["dataset_id"]),
        dataset_type=row["dataset_type"],
        begin_tai_ns=row["timespan_begin"],
        end_tai_ns=row["timespan_end"],
        validity_id=UUID(bytes=row["validity_id"]),
        **entry.base,
    )


def _decertified(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.Decertified(validity_id=UUID(bytes=row["validity_id"]), **entry.base)


def _file(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    if not row.get("present"):
        return events.FileRemoved(site=row["site"], **entry.dataset(row))
    return events.FileArrived(
        site=row["site"],
        uri=row["uri"],
        size_bytes=row["size_bytes"],
        checksum=row["checksum"],
        **entry.dataset(row),
    )


def _metric(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    value = row["value"] if row["value"] is not None else row["value_text"]
    return events.MetricRecorded(name=row["name"], value=value, unit=row["unit"], **entry.dataset(row))


def _activity(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.ActivityRecorded(
        activity_id=UUID(bytes=row["activity_id"]),
        task=row["task"],
        version=row["version"],
        run=row["run"],
        status=row["status"],
        **entry.base,
    )


def _conflict(row: Mapping[str, Any], entry: EntryContext) -> events.Event:
    return events.ConflictNoticed(
        conflict_id=UUID(bytes=row["conflict_id"]),
        dataset_id=UUID(bytes=row["dataset_id"]),
        dataset_type=row["dataset_type"],
        run=row["run"],
        what=row["kind"],
        recorded=row["recorded"],
        offered=row["offered"],
        resolution=row["resolution"],
        **entry.base,
    )


#: what makes the event of a row that was put, by table
PUT: Mapping[str, Maker] = {
    "dataset_type": _dataset_type,
    "collection": _collection,
    "collection_chain": _chain,
    "collection_member": _tagged,
    "calibration": _certified,
    "artifact": _file,
    "metric": _metric,
    "activity": _activity,
    "conflict": _conflict,
}
#: and of one that was deleted
DELETE: Mapping[str, Maker] = {
    "collection": _collection_dropped,
    "collection_chain": _chain,
    "collection_member": _untagged,
    "calibration": _decertified,
    "artifact": _file,
}
