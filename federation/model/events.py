"""What changed in a schema, as typed events in the order of its change log.

Every event names the position of the transaction that made it and when that was committed. ``last`` is true for the
final event of a transaction: only there may a reader resume after ``position`` without missing anything. A row that is
put replaces the one with its key, so that an event of something new also comes when it was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

import attrs

from federation.model.position import Position
from federation.model.timespan import format_tai

__all__ = [
    "ActivityRecorded",
    "Certified",
    "ChainChanged",
    "CollectionChanged",
    "ConflictNoticed",
    "DatasetAdded",
    "DatasetRemoved",
    "DatasetTagged",
    "DatasetTypeDeclared",
    "DatasetUntagged",
    "Decertified",
    "Event",
    "FileArrived",
    "FileRemoved",
    "MetricRecorded",
    "RecordInserted",
    "RecordRemoved",
    "RowsChanged",
    "event_json",
    "event_kinds",
]


@attrs.frozen(kw_only=True)
class Event:
    """Something that one transaction changed; ``committed_tai_ns`` is when, in TAI nanoseconds."""

    kind: ClassVar[str] = ""
    table: ClassVar[str] = ""
    position: Position
    committed_tai_ns: int
    last: bool = False

    @property
    def tables(self) -> tuple[str, ...]:
        """The logical tables that it is about."""
        return (self.table,)


@attrs.frozen(kw_only=True)
class DatasetAdded(Event):
    """A dataset was registered; ``data_id`` and ``metadata`` are empty where its type is not known to the reader."""

    kind = "dataset_added"
    table = "dataset"
    dataset_id: UUID
    dataset_type: str
    run: str
    data_id: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def tables(self) -> tuple[str, ...]:
        return ("dataset", self.dataset_type)


@attrs.frozen(kw_only=True)
class DatasetRemoved(Event):
    """A dataset was removed from the registry; ``run`` is empty where it is not known any more."""

    kind = "dataset_removed"
    table = "dataset"
    dataset_id: UUID
    dataset_type: str
    run: str

    @property
    def tables(self) -> tuple[str, ...]:
        return ("dataset", self.dataset_type)


@attrs.frozen(kw_only=True)
class DatasetTypeDeclared(Event):
    """A dataset type was declared."""

    kind = "dataset_type_declared"
    table = "dataset_type"
    dataset_type: str
    dimensions: tuple[str, ...]
    storage_class: str
    is_calibration: bool


@attrs.frozen(kw_only=True)
class CollectionChanged(Event):
    """A collection was registered, changed, or (``removed``) dropped; ``type`` is then empty."""

    kind = "collection_changed"
    table = "collection"
    collection: str
    type: str
    removed: bool


@attrs.frozen(kw_only=True)
class ChainChanged(Event):
    """A collection stands at a place of a chain now, or (``child`` None) none does any more."""

    kind = "chain_changed"
    table = "collection_chain"
    collection: str
    place: int
    child: str | None


@attrs.frozen(kw_only=True)
class DatasetTagged(Event):
    """A dataset was put into a TAGGED collection."""

    kind = "dataset_tagged"
    table = "collection_member"
    collection: str
    dataset_id: UUID
    dataset_type: str


@attrs.frozen(kw_only=True)
class DatasetUntagged(Event):
    """A dataset was taken out of a TAGGED collection."""

    kind = "dataset_untagged"
    table = "collection_member"
    collection: str
    dataset_id: UUID


@attrs.frozen(kw_only=True)
class Certified(Event):
    """A calibration is valid in a CALIBRATION collection from ``begin_tai_ns`` to before ``end_tai_ns``.

    Both are TAI nanoseconds; None is unbounded. ``validity_id`` is the identity of the range.
    """

    kind = "certified"
    table = "calibration"
    collection: str
    dataset_id: UUID
    dataset_type: str
    begin_tai_ns: int | None
    end_tai_ns: int | None
    validity_id: UUID


@attrs.frozen(kw_only=True)
class Decertified(Event):
    """A validity range is gone."""

    kind = "decertified"
    table = "calibration"
    validity_id: UUID


@attrs.frozen(kw_only=True)
class FileArrived(Event):
    """The file of a dataset is at a site now.

    ``dataset_type`` and ``run`` are empty where they could not be found out.
    """

    kind = "file_arrived"
    table = "artifact"
    dataset_id: UUID
    dataset_type: str
    run: str
    site: str
    uri: str
    size_bytes: int | None
    checksum: str | None


@attrs.frozen(kw_only=True)
class FileRemoved(Event):
    """The file of a dataset is not, or no longer, at a site."""

    kind = "file_removed"
    table = "artifact"
    dataset_id: UUID
    dataset_type: str
    run: str
    site: str


@attrs.frozen(kw_only=True)
class MetricRecorded(Event):
    """A dataset was measured; the value is a number or a text."""

    kind = "metric_recorded"
    table = "metric"
    dataset_id: UUID
    dataset_type: str
    run: str
    name: str
    value: float | str | None
    unit: str | None


@attrs.frozen(kw_only=True)
class ActivityRecorded(Event):
    """Something was run that made datasets, or its end was recorded."""

    kind = "activity_recorded"
    table = "activity"
    activity_id: UUID
    task: str
    version: str | None
    run: str | None
    status: str | None


@attrs.frozen(kw_only=True)
class ConflictNoticed(Event):
    """Two contents or definitions were offered under one identity; ``resolution`` None: nobody has decided yet."""

    kind = "conflict_noticed"
    table = "conflict"
    conflict_id: UUID
    dataset_id: UUID
    dataset_type: str
    run: str
    what: str
    recorded: str
    offered: str
    resolution: str | None


@attrs.frozen(kw_only=True)
class RecordInserted(Event):
    """The record of a dimension, or of another element of the universe, was put."""

    kind = "record_inserted"
    element: str
    record: Mapping[str, Any]

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.element,)


@attrs.frozen(kw_only=True)
class RecordRemoved(Event):
    """A record of a dimension is gone; ``key`` are the values that named it."""

    kind = "record_removed"
    element: str
    key: Mapping[str, Any]

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.element,)


@attrs.frozen(kw_only=True)
class RowsChanged(Event):
    """Rows of any other table, users' tables among them; of deleted ones only the key's columns."""

    kind = "rows_changed"
    name: str
    operation: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.name,)


def event_kinds() -> tuple[str, ...]:
    """The kinds of events there are."""
    return tuple(sorted(kind.kind for kind in Event.__subclasses__()))


def event_json(event: Event) -> dict[str, Any]:
    """An event as an object of JSON values: its kind, position and time first, then its own fields.

    A UUID is its text, bytes are hexadecimal, times other than ``committed`` TAI nanoseconds.
    """
    own = {
        field.name: getattr(event, field.name)
        for field in attrs.fields(type(event))
        if field.name not in ("position", "committed_tai_ns", "last")
    }
    return {
        "event": event.kind,
        "position": str(event.position),
        "last": event.last,
        "committed": format_tai(event.committed_tai_ns),
        "committed_tai_ns": event.committed_tai_ns,
        **{name: _plain(value) for name, value in own.items()},
    }


def _plain(value: Any) -> Any:
    match value:
        case UUID():
            return str(value)
        case bytes():
            return value.hex()
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)  # JSON has no such numbers
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value
