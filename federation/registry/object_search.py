"""One dataset by id, or by type and data ID in collections searched in order; and where its files are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetRef
from federation.registry.chains import flatten
from federation.registry.members import find_collection
from federation.registry.views import dataset_type_of, group_of, views

if TYPE_CHECKING:
    from federation.registry.registry import Registry

__all__ = ["FileOf", "files_of", "find_ref", "ref_of"]


@attrs.frozen
class FileOf:
    """A file of a dataset, as recorded for one site."""

    site: str
    uri: str
    size_bytes: int | None
    checksum: str | None
    formatter: str | None
    present: bool


def ref_of(registry: Registry, dataset_id: uuid.UUID) -> DatasetRef:
    """The dataset with this id, of whatever schema is held here; `NotFoundError` when none has it."""
    for view in views(registry):
        for name, run in view.rows("dataset", ("dataset_id",), [(dataset_id,)], ("dataset_type", "run")):
            required = group_of(registry, name).required
            values = next(view.rows(name, ("dataset_id",), [(dataset_id,)], required), ())
            return DatasetRef(dataset_id, name, DataId(required, tuple(values)), run)
    raise NotFoundError(
        f"dataset {dataset_id} is not known at {registry.site}", hint="ask the site that has it"
    )


def find_ref(
    registry: Registry, dataset_type: str, data_id: Mapping[str, Any], collections: Sequence[str]
) -> DatasetRef:
    """The first dataset of a type with this data ID in ``collections`` (RUN, TAGGED, CHAINED), searched in order.

    `NotFoundError` says what was searched; `UserError` for a data ID that is incomplete, or a CALIBRATION collection,
    which holds many for one data ID.
    """
    group = registry.universe.group(dataset_type_of(registry, dataset_type).dimensions)
    wanted = DataId.standardize(registry.universe, group, data_id)
    searched: dict[str, None] = {}
    for name in collections:
        searched.update(dict.fromkeys(flatten(registry, name)))
    for name in searched:
        found = find_collection(registry, name)
        if found is None:
            raise NotFoundError(
                f"no collection {name!r} at {registry.site}", hint="federation registry collections"
            )
        type_ = CollectionType(found[1]["type"])
        if type_ is CollectionType.RUN:
            identity = _in_run(registry, dataset_type, name, wanted)
        elif type_ is CollectionType.TAGGED:
            identity = _tagged(registry, dataset_type, name, wanted)
        elif type_ is CollectionType.CALIBRATION:
            raise UserError(
                f"{name!r} is a CALIBRATION collection, which holds a {dataset_type} for each validity range",
                hint="find the id of the one valid at a time, and get that",
            )
        else:
            continue
        if identity is not None:
            return ref_of(registry, identity)
    raise NotFoundError(
        f"no {dataset_type} {wanted} in {', '.join(searched) or 'no collection'} at {registry.site}",
        hint="check data ID and collections",
    )


def _in_run(registry: Registry, dataset_type: str, run: str, data_id: DataId) -> uuid.UUID | None:
    columns, key = ("run", *data_id.keys_), (run, *data_id.values_)
    for view in views(registry):
        for (identity,) in view.rows(dataset_type, columns, [key], ("dataset_id",)):
            return uuid.UUID(str(identity))
    return None


def _tagged(registry: Registry, dataset_type: str, name: str, data_id: DataId) -> uuid.UUID | None:
    """The member may be a dataset of another schema than the one that tags it."""
    ids: list[tuple[str, uuid.UUID]] = []
    for view in views(registry):
        if data_id.keys_:
            rows = view.rows(dataset_type, data_id.keys_, [data_id.values_], ("dataset_id",))
        else:
            rows = view.rows("dataset", ("dataset_type",), [(dataset_type,)], ("dataset_id",))
        ids.extend((name, identity) for (identity,) in rows)
    for view in views(registry):
        for (identity,) in view.rows("collection_member", ("collection", "dataset_id"), ids, ("dataset_id",)):
            return uuid.UUID(str(identity))
    return None


def files_of(registry: Registry, dataset_id: uuid.UUID) -> tuple[FileOf, ...]:
    """Files of a dataset as the schemas held here record them, one a site, this site's first."""
    names = ("site", "uri", "size_bytes", "checksum", "formatter", "present")
    found: dict[str, FileOf] = {}
    for view in views(registry):
        for row in view.rows("artifact", ("dataset_id",), [(dataset_id,)], names):
            file = FileOf(*row)
            if file.site not in found or (file.present and not found[file.site].present):
                found[file.site] = file
    return tuple(sorted(found.values(), key=lambda file: (file.site != registry.site, file.site)))
