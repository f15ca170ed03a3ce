"""Registering datasets in bulk: what exists is read once, what is new is written once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.data_id import DataId
from federation.model.dataset import DatasetRef, deterministic_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.dimension import DimensionGroup
    from federation.model.logical import TableDef
    from federation.registry.transaction import Transaction

__all__ = ["Inserted", "NewDataset", "insert_datasets"]


@attrs.frozen
class NewDataset:
    """A dataset to register. Without ``id`` it gets a new one, or with ``once`` the one that its data ID determines."""

    dataset_type: str
    run: str
    data_id: Mapping[str, Any]
    id: uuid.UUID | None = None
    once: bool = False
    metadata: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Inserted:
    """The datasets in the order they were given, and the ids of those that were not there before."""

    refs: tuple[DatasetRef, ...]
    new: frozenset[uuid.UUID]


def insert_datasets(tx: Transaction, datasets: Sequence[NewDataset]) -> Inserted:
    """Register datasets; one that is there already, the same in every respect, is left alone.

    `NotFoundError` for an undeclared dataset type or an unknown run; `UserError` for a data ID that is incomplete or
    names unknown records; `ConflictError` for an id or a (run, data ID) that stands for something else.
    """
    _check_runs(tx, {dataset.run for dataset in datasets})
    refs: dict[int, DatasetRef] = {}
    new: set[uuid.UUID] = set()
    by_type: dict[str, list[int]] = {}
    for number, dataset in enumerate(datasets):
        by_type.setdefault(dataset.dataset_type, []).append(number)
    for name, numbers in by_type.items():
        chosen = [datasets[number] for number in numbers]
        type_refs = _refs(tx, name, chosen)
        refs.update(zip(numbers, type_refs, strict=True))
        new |= _insert_type(tx, name, chosen, type_refs)
    return Inserted(tuple(refs[number] for number in range(len(datasets))), frozenset(new))


def _check_runs(tx: Transaction, runs: set[str]) -> None:
    found = {row["name"]: row["type"] for row in tx.select("collection", ("name",), [(run,) for run in runs])}
    for run in sorted(runs):
        if found.get(run) != "RUN":
            what = f"is {found[run]}" if run in found else "is not registered"
            raise NotFoundError(
                f"RUN collection {run!r} {what} in {tx.held.schema}", hint="register the RUN first"
            )


def _table(tx: Transaction, name: str) -> tuple[TableDef, DimensionGroup]:
    rows = tx.select("dataset_type", ("name",), [(name,)])
    if not rows:
        raise NotFoundError(
            f"dataset type {name!r} is not declared in {tx.held.schema}", hint="declare it first"
        )
    return tx.table(name), tx.registry.universe.group(
        rows[0]["dimensions"].split(",") if rows[0]["dimensions"] else ()
    )


def _refs(tx: Transaction, name: str, datasets: Sequence[NewDataset]) -> list[DatasetRef]:
    _, group = _table(tx, name)
    refs = []
    for dataset in datasets:
        data_id = DataId.standardize(tx.registry.universe, group, dataset.data_id)
        identity = dataset.id or (
            deterministic_id(name, dataset.run, data_id) if dataset.once else tx.registry.new_id()
        )
        refs.append(DatasetRef(identity, name, data_id, dataset.run))
    return refs


def _insert_type(
    tx: Transaction, name: str, datasets: Sequence[NewDataset], refs: Sequence[DatasetRef]
) -> set[uuid.UUID]:
    table, group = _table(tx, name)
    _check_same(tx, refs)
    _check_data_ids(tx, table, group, refs)
    _check_said_before(tx, name, datasets, refs)
    there = {
        row["dataset_id"]: row for row in tx.select("dataset", ("dataset_id",), [(ref.id,) for ref in refs])
    }
    implied = _implied(tx, group, refs)
    _check_implied(datasets, refs, implied)
    known = set(table.stored_names) - {"dataset_id", "run", *group.names}
    rows, typed = [], []
    seen: set[uuid.UUID] = set()
    now = tx.registry.clock()
    for dataset, ref in zip(datasets, refs, strict=True):
        if ref.id in there or ref.id in seen:
            continue
        unknown = set(dataset.metadata) - known
        if unknown:
            raise UserError(f"dataset type {name} has no metadata column {', '.join(sorted(unknown))}")
        seen.add(ref.id)
        rows.append({"dataset_id": ref.id, "dataset_type": name, "run": ref.run, "ingest_date": now})
        typed.append(
            {"dataset_id": ref.id, "run": ref.run, **ref.data_id, **implied[ref.data_id], **dataset.metadata}
        )
    tx.put("dataset", rows)
    tx.put(name, typed)
    return seen


def _check_same(tx: Transaction, refs: Sequence[DatasetRef]) -> None:
    """An id that is known, here or elsewhere, must stand for the same type and run."""
    known = tx.known("dataset", ("dataset_id",), [(ref.id,) for ref in refs])
    for ref in refs:
        row = known.get((ref.id,))
        if row is not None and (row["dataset_type"], row["run"]) != (ref.dataset_type, ref.run):
            raise ConflictError(
                f"dataset {ref.id} is a {row['dataset_type']} in {row['run']}, not a {ref.dataset_type} in {ref.run}",
                hint="an identity is never given twice; use a new id",
            )


def _check_data_ids(
    tx: Transaction, table: TableDef, group: DimensionGroup, refs: Sequence[DatasetRef]
) -> None:
    columns = ("run", *group.required)
    wanted: dict[tuple[Any, ...], uuid.UUID] = {}
    for ref in refs:
        other = wanted.setdefault((ref.run, *ref.data_id.values_), ref.id)
        if other != ref.id:
            raise ConflictError(
                f"{ref.dataset_type} {ref.data_id} is given twice for {ref.run}", hint="leave one out"
            )
    for row in tx.select(table.name, columns, wanted):
        key = tuple(row[name] for name in columns)
        if row["dataset_id"] != wanted[key]:
            raise ConflictError(
                f"{ref_text(table.name, columns, key)} is dataset {row['dataset_id']}, not {wanted[key]}",
                hint="a RUN holds one dataset of a type for a data ID; use another RUN",
            )


def _check_said_before(
    tx: Transaction, name: str, datasets: Sequence[NewDataset], refs: Sequence[DatasetRef]
) -> None:
    """An id that is known, or given twice, must stand for the same data ID and metadata."""
    known = tx.known(name, ("dataset_id",), [(ref.id,) for ref in refs])
    said: dict[uuid.UUID, Mapping[str, Any]] = {key[0]: row for key, row in known.items()}
    for dataset, ref in zip(datasets, refs, strict=True):
        new = {**ref.data_id, **dataset.metadata}
        old = said.setdefault(ref.id, new)
        for column, value in new.items():
            if column in old and old[column] != value:
                raise ConflictError(
                    f"dataset {ref.id} ({name} in {ref.run}) has {column}={old[column]!r}, not {value!r}",
                    hint="an identity is never given twice; use a new id",
                )


def ref_text(name: str, columns: Sequence[str], key: Sequence[Any]) -> str:
    """A dataset by type, run and data ID, for messages."""
    return f"{name} " + ", ".join(f"{column}={value!r}" for column, value in zip(columns, key, strict=True))


def _implied(
    tx: Transaction, group: DimensionGroup, refs: Sequence[DatasetRef]
) -> dict[DataId, dict[str, Any]]:
    """Implied values of each data ID, from the records of its dimensions; every record must be known."""
    universe = tx.registry.universe
    values: dict[DataId, dict[str, Any]] = {ref.data_id: dict(ref.data_id) for ref in refs}
    for name in universe.sort(group.names):
        element = universe[name]
        if element.is_skypix or (name in group.implied and not element.implied):
            continue
        _expand(tx, name, values)
    pending = [name for name in group.implied if universe[name].implied]
    for name in pending:
        _expand(tx, name, values)
    return {
        data_id: {name: expanded.get(name) for name in group.implied} for data_id, expanded in values.items()
    }


def _check_implied(
    datasets: Sequence[NewDataset], refs: Sequence[DatasetRef], implied: Mapping[DataId, Mapping[str, Any]]
) -> None:
    """Implied values that were given must be those that the records imply."""
    for dataset, ref in zip(datasets, refs, strict=True):
        for name, value in implied[ref.data_id].items():
            given = dataset.data_id.get(name)
            if given is not None and value is not None and given != value:
                raise UserError(
                    f"data ID {ref.data_id}: {name} is given as {given!r}, but its records imply {value!r}",
                    hint="leave out implied values, or mend the record",
                )


def _expand(tx: Transaction, name: str, values: Mapping[DataId, dict[str, Any]]) -> None:
    element = tx.registry.universe[name]
    columns = (*element.required, name)
    keys = {
        data_id: tuple(known[column] for column in columns)
        for data_id, known in values.items()
        if all(known.get(column) is not None for column in columns)
    }
    records = tx.known(name, tx.registry.universe.table_key(name), keys.values())
    for data_id, key in keys.items():
        record = records.get(key)
        if record is None:
            raise UserError(
                f"data ID {data_id}: no {name} record {ref_text('', columns, key).strip()} at {tx.registry.site}",
                hint=f"insert the {name} record first, or follow the site that has it",
            )
        for dimension in element.implied:
            given = values[data_id].get(dimension)
            if given is not None and record[dimension] is not None and given != record[dimension]:
                raise UserError(
                    f"data ID {data_id}: {dimension} is {given!r}, but {name} implies {record[dimension]!r}",
                    hint="leave out implied values, or mend the record",
                )
            values[data_id][dimension] = record[dimension] if given is None else given
