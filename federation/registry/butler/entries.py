"""The entries of one export file, taken one by one and checked against each other at the end."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.logical import LogicalType
from federation.model.timespan import Timespan
from federation.registry.butler.content import (
    ButlerExport,
    ExportedDataset,
    ValidityRange,
    combine_collections,
)
from federation.registry.butler.fields import Fields, is_of_type, short
from federation.registry.butler.records import RecordReader
from federation.registry.butler.yaml_text import Located

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.registry.butler.universes import Migration

__all__ = ["EntryReader"]

_RUN_ONLY = {"host", "timespan_begin", "timespan_end"}


class EntryReader:
    """Takes the entries of one file in turn; holds what they said until `finish`."""

    def __init__(self, universe: DimensionUniverse, migration: Migration, where: str) -> None:
        self._universe = universe
        self._migration = migration
        self._where = where
        self._fields = Fields(where)
        self._records = RecordReader(universe, where)
        self._types: dict[str, DatasetType] = {}
        self._groups: dict[str, DimensionGroup] = {}
        self._collections: dict[str, Collection] = {}
        self._datasets: dict[uuid.UUID, ExportedDataset] = {}
        self._lines: dict[uuid.UUID, int] = {}
        self._uses: dict[tuple[str, CollectionType], int] = {}
        self._tags: dict[str, dict[uuid.UUID, None]] = {}
        self._validity: dict[tuple[str, Timespan], dict[uuid.UUID, None]] = {}
        self._key_orders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._warnings: dict[str, None] = {}

    def entry(self, entry: Any) -> None:
        """Take one entry of ``data``; `UserError` names file, line and value of what is not understood."""
        if not isinstance(entry, Located):
            raise UserError(f"{self._where}: data entry {short(entry)} is not a mapping", hint="is it whole?")
        kind = entry.get("type")
        read = _ENTRIES.get(kind) if isinstance(kind, str) else None
        if read is None:
            hint = "known: " + ", ".join(sorted(_ENTRIES))
            raise self._fields.error(entry, f"unknown entry type {short(kind)}", hint)
        read(self, entry)

    def finish(self, version: int, format_version: str) -> ButlerExport:
        """All of it, once every entry was taken and agrees with the others."""
        for element, records in self._migration.derived.items():
            for record in records:
                self._records.add(element, record)
        self._check_collection_types()
        self._check_data_ids()
        warnings = (*self._migration.warnings, *self._records.warnings, *self._warnings)
        return ButlerExport(
            self._records.rows(),
            tuple(self._types.values()),
            tuple(self._collections.values()),
            tuple(self._datasets.values()),
            {name: tuple(members) for name, members in self._tags.items()},
            tuple(ValidityRange(name, span, tuple(ids)) for (name, span), ids in self._validity.items()),
            version,
            format_version,
            tuple(f"{self._where}: {warning}" for warning in warnings),
        )

    def _dimension(self, entry: Located) -> None:
        self._fields.check(entry, "dimension entry", {"element", "records"})
        element = self._fields.text(entry, "dimension entry", "element")
        if element not in self._universe or self._universe[element].is_skypix:
            universe = f"universe {self._universe.namespace} version {self._universe.version}"
            hint = "it has: " + ", ".join(self._universe.element_names)
            raise self._fields.error(entry, f"element {element!r} has no records in {universe}", hint)
        for record in self._fields.mappings(entry, element, "records"):
            self._records.add(element, self._migration.record(element, record))

    def _collection(self, entry: Located) -> None:
        required = {"collection_type", "name"}
        self._fields.check(entry, "collection", required, {"doc", "children", *_RUN_ONLY})
        name = self._fields.text(entry, "collection", "name")
        kind = self._collection_type(entry)
        for field in sorted({"children", *_RUN_ONLY} & entry.keys()):
            owner = CollectionType.RUN if field in _RUN_ONLY else CollectionType.CHAINED
            if entry[field] is not None and kind is not owner:
                hint = f"only a {owner} collection has {field}"
                raise self._fields.error(entry, f"{kind} collection {name!r} has {field}", hint)
        children: tuple[str, ...] = ()
        if kind is CollectionType.CHAINED:
            self._fields.check(entry, "CHAINED collection", {"children", *required}, {"doc", *_RUN_ONLY})
            children = tuple(
                self._child(entry, name, child) for child in self._fields.items(entry, name, "children")
            )
        self._declare(entry, name, kind, children)

    def _run(self, entry: Located) -> None:
        self._fields.check(entry, "run", {"name"}, {"doc", *_RUN_ONLY})
        self._declare(entry, self._fields.text(entry, "run", "name"), CollectionType.RUN, ())

    def _declare(self, entry: Located, name: str, kind: CollectionType, children: tuple[str, ...]) -> None:
        new = Collection(
            name,
            kind,
            self._fields.optional_text(entry, "collection", "doc"),
            children,
            self._fields.optional_text(entry, "collection", "host"),
            self._fields.bounds(entry, f"{kind} {name!r}", "timespan_begin", "timespan_end"),
        )
        old = self._collections.get(name, new)
        both = combine_collections(old, new)
        if both is None:
            raise ConflictError(
                f"{self._where}:{entry.line}: collection {name!r} is declared again as {new}, was {old}",
                hint="keep one of the two",
            )
        self._collections[name] = both

    def _child(self, entry: Located, chain: str, child: Any) -> str:
        if isinstance(child, list) and len(child) == 2:
            # the old form, with a restriction to dataset types
            child, restriction = child
            if restriction not in (None, "...", [], {}):
                what = f"chain {chain!r}: the restriction {short(restriction)} on its child {child!r}"
                self._warnings[f"{what} is left out: chains no longer have any"] = None
        if not child or not is_of_type(child, LogicalType.STRING):
            message = f"child {short(child)} of {chain!r} is not a collection name"
            raise self._fields.error(entry, message, "quote it, if meant as text")
        return str(child)

    def _collection_type(self, entry: Located) -> CollectionType:
        raw = entry["collection_type"]
        try:
            return CollectionType(raw)
        except ValueError:
            hint = "known: " + ", ".join(CollectionType)
            raise self._fields.error(entry, f"unknown collection type {short(raw)}", hint) from None

    def _dataset_type(self, entry: Located) -> None:
        what = "dataset_type"
        self._fields.check(entry, what, {"name", "dimensions", "storage_class"}, {"is_calibration"})
        name = self._fields.text(entry, what, "name")
        dimensions = self._fields.items(entry, what, "dimensions")
        is_calibration = entry.get("is_calibration", False)
        if not isinstance(is_calibration, bool):
            message = f"{what} {name!r} is_calibration {short(is_calibration)} is not a boolean"
            raise self._fields.error(entry, message, "true or false")
        if not all(isinstance(dimension, str) for dimension in dimensions):
            raise self._fields.error(
                entry, f"{what} {name!r} dimensions {dimensions} are not names", "quote them"
            )
        storage_class = self._fields.text(entry, what, "storage_class")
        try:
            group = self._universe.group(self._migration.dimensions(dimensions))
            new = DatasetType(name, self._universe.sort(group.names), storage_class, is_calibration)
        except UserError as error:
            raise self._fields.error(entry, f"{what} {name!r}: {error.message}", error.hint) from error
        old = self._types.setdefault(name, new)
        if old != new:
            raise ConflictError(
                f"{self._where}:{entry.line}: dataset type {name!r} is declared again as {new}, was {old}",
                hint="keep one of the two",
            )
        self._groups[name] = group

    def _dataset(self, entry: Located) -> None:
        self._fields.check(entry, "dataset entry", {"dataset_type", "run", "records"})
        dataset_type = self._fields.text(entry, "dataset entry", "dataset_type")
        run = self._fields.text(entry, "dataset entry", "run")
        self._uses.setdefault((run, CollectionType.RUN), entry.line)
        for record in self._fields.mappings(entry, dataset_type, "records"):
            self._fields.check(record, "dataset", {"dataset_id", "data_id"}, {"path", "formatter"})
            ids, data_ids = record["dataset_id"], record["data_id"]
            ids = ids if isinstance(ids, list) else [ids]
            data_ids = data_ids if isinstance(data_ids, list) else [data_ids]
            if len(ids) != len(data_ids):
                message = f"{dataset_type}: {len(ids)} dataset_id for {len(data_ids)} data_id"
                raise self._fields.error(record, message, "one for each")
            path = self._fields.optional_text(record, "dataset", "path")
            formatter = self._fields.optional_text(record, "dataset", "formatter")
            for raw_id, raw_data_id in zip(ids, data_ids, strict=True):
                dataset_id = self._fields.dataset_id(record, raw_id)
                first = self._lines.setdefault(dataset_id, record.line)
                if dataset_id in self._datasets:
                    hint = f"first on line {first}; keep one"
                    raise self._fields.error(record, f"dataset id {raw_id} is given twice", hint)
                data_id = self._data_id(record, dataset_type, raw_data_id)
                self._datasets[dataset_id] = ExportedDataset(
                    dataset_type, run, dataset_id, data_id, path, formatter
                )

    def _data_id(self, at: Located, dataset_type: str, raw: Any) -> dict[str, Any]:
        if not isinstance(raw, Located):
            message = f"{dataset_type}: data_id {short(raw)} is not a mapping"
            raise self._fields.error(at, message, "dimensions and their values")
        given = tuple(raw)
        order = self._key_orders.get(given)
        if order is None:
            try:
                order = self._universe.sort(self._migration.dimensions(given))
                self._universe.group(order)  # raises for a relation
            except UserError as error:
                raise self._fields.error(
                    raw, f"{dataset_type}: data_id: {error.message}", error.hint
                ) from error
            self._key_orders[given] = order
        for name in order:
            key_type = self._universe[name].key_type
            if not is_of_type(raw[name], key_type):
                message = f"{dataset_type}: data_id {name} {short(raw[name])} is not of type {key_type}"
                hint = (
                    "unquote a number"
                    if isinstance(raw[name], str)
                    else "quote a text that looks like another type"
                )
                raise self._fields.error(raw, message, hint)
        return {name: raw[name] for name in order}

    def _associations(self, entry: Located) -> None:
        what, required = "associations entry", {"collection", "collection_type"}
        self._fields.check(entry, what, required, {"dataset_ids", "validity_ranges"})
        name = self._fields.text(entry, what, "collection")
        kind = self._collection_type(entry)
        self._uses.setdefault((name, kind), entry.line)
        if kind is CollectionType.TAGGED:
            self._fields.check(entry, what, {"dataset_ids", *required})
            self._tags.setdefault(name, {}).update(self._fields.dataset_ids(entry, what))
        elif kind is CollectionType.CALIBRATION:
            self._fields.check(entry, what, {"validity_ranges", *required})
            for item in self._fields.mappings(entry, what, "validity_ranges"):
                ids = self._validity.setdefault((name, self._validity_timespan(item, name)), {})
                ids.update(self._fields.dataset_ids(item, "validity range"))
        else:
            hint = "only TAGGED and CALIBRATION collections have any"
            raise self._fields.error(entry, f"associations of {kind} collection {name!r}", hint)

    def _validity_timespan(self, item: Located, collection: str) -> Timespan:
        what = f"validity range of {collection!r}"
        if "timespan" not in item:  # the old form
            self._fields.check(item, what, {"begin", "end", "dataset_ids"})
            return self._fields.bounds(item, what, "begin", "end")
        self._fields.check(item, what, {"timespan", "dataset_ids"})
        span = item["timespan"]
        if not isinstance(span, Timespan):
            hint = "a timespan is !lsst.daf.butler.Timespan with begin and end"
            raise self._fields.error(item, f"{what}: {short(span)} is not a timespan", hint)
        return span

    def _check_collection_types(self) -> None:
        for (name, kind), line in self._uses.items():
            declared = self._collections.get(name)
            if declared is not None and declared.type is not kind:
                use = "datasets" if kind is CollectionType.RUN else "associations"
                message = f"{use} of {kind} collection {name!r}, which is declared {declared.type}"
                raise self._fields.error(line, message, "make declaration and use agree")

    def _check_data_ids(self) -> None:
        """Data IDs against the dataset types of this file; those of other files are for the importer."""
        checked: set[tuple[str, tuple[str, ...]]] = set()
        for dataset in self._datasets.values():
            group = self._groups.get(dataset.dataset_type)
            shape = (dataset.dataset_type, tuple(dataset.data_id))
            if group is None or shape in checked:
                continue
            checked.add(shape)
            missing = [name for name in group.required if name not in dataset.data_id]
            extra = [name for name in dataset.data_id if name not in group.names]
            if missing or extra:
                trouble = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which its type has not"
                message = f"{dataset.dataset_type}: data_id {dataset.data_id} {trouble}"
                hint = "it needs " + ", ".join(group.required)
                raise self._fields.error(self._lines[dataset.dataset_id], message, hint)


_ENTRIES: dict[str, Callable[[EntryReader, Located], None]] = {
    "associations": EntryReader._associations,
    "collection": EntryReader._collection,
    "dataset": EntryReader._dataset,
    "dataset_type": EntryReader._dataset_type,
    "dimension": EntryReader._dimension,
    "run": EntryReader._run,
}
