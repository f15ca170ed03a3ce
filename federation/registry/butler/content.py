"""What a Butler export holds, once read: in our terms, merged from several files, or a choice of it."""

from __future__ import annotations

import fnmatch
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection
from federation.model.dataset import DatasetType
from federation.model.timespan import Timespan

if TYPE_CHECKING:
    from federation.model.dimension import DimensionUniverse

__all__ = [
    "ButlerExport",
    "ExportedDataset",
    "ValidityRange",
    "combine_collections",
    "combine_records",
    "merge_exports",
    "select",
]


@attrs.frozen
class ExportedDataset:
    """One dataset; ``data_id`` holds the dimensions as the file gave them, in canonical order.

    ``path`` is relative to the datastore root that came with the file, or an absolute URL; None: no file.
    """

    dataset_type: str
    run: str
    dataset_id: uuid.UUID
    data_id: dict[str, Any]
    path: str | None = None
    formatter: str | None = None


@attrs.frozen
class ValidityRange:
    """Datasets certified in a CALIBRATION collection for one timespan."""

    collection: str
    timespan: Timespan
    dataset_ids: tuple[uuid.UUID, ...]


@attrs.frozen
class ButlerExport:
    """All of one export, or of several merged.

    ``dimension_records`` maps element names, in canonical order, to rows with every column of the element's
    logical table. ``tags`` maps TAGGED collections to their datasets. ``warnings`` say, a line each, what was
    read otherwise than written. Names may refer to what the file leaves out; the importer resolves them.
    """

    dimension_records: dict[str, tuple[dict[str, Any], ...]]
    dataset_types: tuple[DatasetType, ...]
    collections: tuple[Collection, ...]
    datasets: tuple[ExportedDataset, ...]
    tags: dict[str, tuple[uuid.UUID, ...]]
    validity: tuple[ValidityRange, ...]
    universe_version: int
    format_version: str
    warnings: tuple[str, ...] = ()


def combine_records(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
    """The two rows of one key as one, each filling the other's nulls; None when they contradict.

    A file of an older universe lacks values that a newer one has, so null means "not said" here.
    """
    out = dict(old)
    for column, value in new.items():
        known = out[column]
        if known is None:
            out[column] = value
        elif value is not None and value != known:
            return None
    return out


def combine_collections(old: Collection, new: Collection) -> Collection | None:
    """Two declarations of a collection as one, each adding what the other lacks; None if they contradict."""
    if old.type is not new.type:
        return None
    changes: dict[str, Any] = {}
    for field in ("doc", "children", "host", "timespan"):
        before, after = getattr(old, field), getattr(new, field)
        if before == after or after in (None, (), Timespan()):
            continue
        if before not in (None, (), Timespan()):
            return None
        changes[field] = after
    return attrs.evolve(old, **changes)


def merge_exports(exports: Iterable[ButlerExport], universe: DimensionUniverse) -> ButlerExport:
    """Several files given together as one, in the order given.

    What two files say alike is kept once; what they say differently is a `ConflictError` that names it.
    Versions are the newest of the files'.
    """
    given = tuple(exports)
    if not given:
        raise UserError("no export to merge", hint="give at least one export file")
    types: dict[str, DatasetType] = {}
    collections: dict[str, Collection] = {}
    datasets: dict[uuid.UUID, ExportedDataset] = {}
    tags: dict[str, dict[uuid.UUID, None]] = {}
    validity: dict[tuple[str, Timespan], dict[uuid.UUID, None]] = {}
    for export in given:
        for dataset_type in export.dataset_types:
            if types.setdefault(dataset_type.name, dataset_type) != dataset_type:
                raise _conflict(f"dataset type {dataset_type.name!r}", types[dataset_type.name], dataset_type)
        for collection in export.collections:
            known = collections.get(collection.name, collection)
            both = combine_collections(known, collection)
            if both is None:
                raise _conflict(f"collection {collection.name!r}", known, collection)
            collections[collection.name] = both
        for dataset in export.datasets:
            if datasets.setdefault(dataset.dataset_id, dataset) != dataset:
                raise _conflict(f"dataset {dataset.dataset_id}", datasets[dataset.dataset_id], dataset)
        for name, members in export.tags.items():
            tags.setdefault(name, {}).update(dict.fromkeys(members))
        for item in export.validity:
            validity.setdefault((item.collection, item.timespan), {}).update(dict.fromkeys(item.dataset_ids))
    return ButlerExport(
        _merge_records(given, universe),
        tuple(types.values()),
        tuple(collections.values()),
        tuple(datasets.values()),
        {name: tuple(members) for name, members in tags.items()},
        tuple(ValidityRange(name, span, tuple(members)) for (name, span), members in validity.items()),
        max(export.universe_version for export in given),
        max(
            (export.format_version for export in given),
            key=lambda text: [int(part) for part in text.split(".")],
        ),
        tuple(dict.fromkeys(warning for export in given for warning in export.warnings)),
    )


def _merge_records(
    given: tuple[ButlerExport, ...], universe: DimensionUniverse
) -> dict[str, tuple[dict[str, Any], ...]]:
    out = {}
    for element in universe.element_names:
        key = universe.table_key(element)
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for export in given:
            for row in export.dimension_records.get(element, ()):
                identity = tuple(row[column] for column in key)
                known = rows.get(identity, row)
                both = combine_records(known, row)
                if both is None:
                    raise _conflict(f"{element} {dict(zip(key, identity, strict=True))}", known, row)
                rows[identity] = both
        if rows:
            out[element] = tuple(rows.values())
    return out


def _conflict(what: str, one: Any, other: Any) -> ConflictError:
    if isinstance(one, dict):
        first, second = one, other
    else:
        first, second = attrs.asdict(one, recurse=False), attrs.asdict(other, recurse=False)
    differing = next(name for name, value in first.items() if value != second[name])
    return ConflictError(
        f"{what} differs between the files: {differing} is {first[differing]!r} and {second[differing]!r}",
        hint="import only one of them, or make them agree",
    )


def select(
    export: ButlerExport,
    *,
    collections: Sequence[str] | None = None,
    dataset_types: Sequence[str] | None = None,
) -> ButlerExport:
    """The part of an export in the named collections and dataset types (globs; None: all).

    Datasets stay with their RUN; tags and validity ranges stay where collection and dataset stay; a CHAINED
    collection stays as it is, though its children may be elsewhere; dimension records all stay. A dataset
    type that loses all its datasets to the choice of collections goes, unless ``dataset_types`` names it.
    A pattern that matches nothing is a `NotFoundError`.
    """
    if collections is None and dataset_types is None:
        return export
    runs_used = dict.fromkeys(dataset.run for dataset in export.datasets)
    names = dict.fromkeys((*(collection.name for collection in export.collections), *runs_used))
    kept_names = _matching("collection", names, collections)
    types_used = {dataset.dataset_type for dataset in export.datasets}
    type_names = dict.fromkeys((*(item.name for item in export.dataset_types), *types_used))
    kept_types = _matching("dataset type", type_names, dataset_types)
    datasets = tuple(
        dataset
        for dataset in export.datasets
        if dataset.run in kept_names and dataset.dataset_type in kept_types
    )
    ids = {dataset.dataset_id for dataset in datasets}
    if dataset_types is None:
        kept_types &= {dataset.dataset_type for dataset in datasets} | (set(type_names) - types_used)
    tags = {
        name: tuple(member for member in members if member in ids)
        for name, members in export.tags.items()
        if name in kept_names
    }
    validity = (
        attrs.evolve(item, dataset_ids=tuple(member for member in item.dataset_ids if member in ids))
        for item in export.validity
        if item.collection in kept_names
    )
    return attrs.evolve(
        export,
        dataset_types=tuple(item for item in export.dataset_types if item.name in kept_types),
        collections=tuple(item for item in export.collections if item.name in kept_names),
        datasets=datasets,
        tags={name: members for name, members in tags.items() if members},
        validity=tuple(item for item in validity if item.dataset_ids),
    )


def _matching(kind: str, names: Iterable[str], patterns: Sequence[str] | None) -> set[str]:
    known = tuple(names)
    if patterns is None:
        return set(known)
    out: set[str] = set()
    for pattern in patterns:
        found = {name for name in known if fnmatch.fnmatchcase(name, pattern)}
        if not found:
            raise NotFoundError(
                f"no {kind} of the export matches {pattern!r}", hint="it has: " + (", ".join(known) or "none")
            )
        out |= found
    return out
