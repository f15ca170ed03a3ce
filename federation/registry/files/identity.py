"""Which datasets the files of an ingest are, and what is recorded of them already."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import NotFoundError, UserError
from federation.formatters import formats
from federation.model.data_id import DataId
from federation.model.dataset import DatasetType, deterministic_id
from federation.model.position import SchemaId
from federation.registry.files.placing import local_of
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    from federation.formatters import Formatter
    from federation.registry.files.file_data_ids import FileToIngest
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["Item", "identify"]


@attrs.frozen
class Item:
    """A file with its identity and its absolute ``local`` path (None: it is remote).

    ``recorded`` is the artifact row of it, this site's or another's, if any.
    """

    file: FileToIngest
    local: str | None
    formatter: Formatter | None
    dataset_id: uuid.UUID
    data_id: DataId
    recorded: Mapping[str, Any] | None


def identify(
    registry: Registry, schema: str, run: str, dataset_type: str, files: Sequence[FileToIngest], *, once: bool
) -> tuple[DatasetType, list[Item]]:
    """The dataset type, and each file as a dataset of it.

    A dataset that is there keeps its id; with ``once`` the id of a new one follows from its data ID.
    """
    held = registry.get(SchemaId(registry.site, schema))
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        rows = list(select_rows(connection, physical["dataset_type"], ("name",), [(dataset_type,)]))
        if not rows:
            raise NotFoundError(
                f"dataset type {dataset_type!r} is not declared in {held.schema}",
                hint="declare it first: federation ingest --declare DIMENSIONS:CLASS, or --declare-from FILE",
            )
        declared = DatasetType.from_row(rows[0])
        group = registry.universe.group(declared.dimensions)
        data_ids = []
        for file in files:
            try:
                data_ids.append(DataId.standardize(registry.universe, group, file.data_id))
            except UserError as error:
                raise type(error)(f"{file.path}: {error.message}", hint=error.hint) from error
        _check_distinct(files, data_ids)
        columns = ("run", *group.required)
        keys = [(run, *data_id.values_) for data_id in data_ids]
        there = {
            tuple(row[name] for name in columns): row["dataset_id"]
            for row in select_rows(connection, physical[dataset_type], columns, keys)
        }
        ids = [there.get(key) or _new_id(registry, dataset_type, columns, key, once) for key in keys]
        recorded: dict[uuid.UUID, dict[str, Any]] = {}
        wanted = [(identity,) for identity in there.values()]
        for row in select_rows(connection, physical["artifact"], ("dataset_id",), wanted):
            if row["site"] == registry.site or row["dataset_id"] not in recorded:
                recorded[row["dataset_id"]] = row
    if once:
        _add_recorded_elsewhere(registry, held, ids, recorded)
    known = formats()
    chosen = [
        known.formatter(file.formatter) if file.formatter else known.for_name(file.path) for file in files
    ]
    return declared, [
        Item(file, local_of(file.path), formatter, i, data_id, recorded.get(i))
        for file, formatter, i, data_id in zip(files, chosen, ids, data_ids, strict=True)
    ]


def _new_id(
    registry: Registry, dataset_type: str, columns: Sequence[str], key: tuple[Any, ...], once: bool
) -> uuid.UUID:
    """The id of a dataset that is not there; ``key`` is its RUN and its data ID."""
    if not once:
        return registry.new_id()
    run, *values = key
    return deterministic_id(dataset_type, run, dict(zip(columns[1:], values, strict=True)))


def _add_recorded_elsewhere(
    registry: Registry, held: HeldSchema, ids: Sequence[uuid.UUID], recorded: dict[uuid.UUID, dict[str, Any]]
) -> None:
    """What other schemas, replicas of other sites' included, record of datasets that this one has no file of."""
    missing = [(i,) for i in ids if i not in recorded]
    for row in registry.rows_elsewhere(held, "artifact", ("dataset_id",), missing):
        if row["checksum"] is not None:
            recorded.setdefault(row["dataset_id"], row)


def _check_distinct(files: Sequence[FileToIngest], data_ids: Sequence[DataId]) -> None:
    seen: dict[DataId, str] = {}
    for file, data_id in zip(files, data_ids, strict=True):
        other = seen.setdefault(data_id, file.path)
        if other is not file.path:
            raise UserError(
                f"{other} and {file.path} have one data ID {data_id}", hint="ingest only one of them"
            )
