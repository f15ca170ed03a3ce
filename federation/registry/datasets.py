"""Registering datasets in bulk: what exists is read once, what is new is written once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.coded import Coded
from federation.model.data_id import DataId
from federation.model.dataset import DatasetRef, DatasetType, deterministic_id
from federation.model.logical import LogicalType
from federation.registry import summaries
from federation.registry.columns import check_coded, check_values, columns_of
from federation.registry.expansion import expand, without_alternate_keys
from federation.registry.keyed import has_none_in_range
from federation.registry.removal import remove_datasets
from federation.registry.transaction import select_rows, stored_values

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup
    from federation.model.logical import TableDef
    from federation.registry.columns import Rows
    from federation.registry.transaction import Transaction

__all__ = ["Inserted", "InsertedMany", "NewDataset", "OnConflict", "insert_datasets", "insert_many"]

#: what becomes of a dataset when its RUN holds another one of its type for its data ID
OnConflict = Literal["refuse", "ignore", "replace"]


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


@attrs.frozen
class InsertedMany:
    """Datasets of one type and RUN in the order they were given: ids of 16 bytes, and which were not there before."""

    dataset_type: str
    run: str
    dimensions: tuple[str, ...]
    keys: Sequence[tuple[Any, ...]] = attrs.field(repr=False)
    ids: Sequence[bytes] = attrs.field(repr=False)
    new: Sequence[bool] = attrs.field(repr=False)

    @property
    def new_count(self) -> int:
        return sum(self.new)

    def refs(self) -> Iterator[DatasetRef]:
        """The datasets as objects, made one by one."""
        for identity, key in zip(self.ids, self.keys, strict=True):
            yield DatasetRef(
                uuid.UUID(bytes=identity), self.dataset_type, DataId(self.dimensions, key), self.run
            )


def insert_datasets(
    tx: Transaction, datasets: Sequence[NewDataset], *, on_conflict: OnConflict = "refuse"
) -> Inserted:
    """`insert_many` for datasets of any types and RUNs."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, dataset in enumerate(datasets):
        kind = (dataset.dataset_type, dataset.run, dataset.once, dataset.id is None)
        groups.setdefault(kind, []).append(number)
    refs: dict[int, DatasetRef] = {}
    new: set[uuid.UUID] = set()
    for (name, run, once, is_nameless), numbers in groups.items():
        chosen = [datasets[number] for number in numbers]
        done = insert_many(
            tx,
            name,
            run,
            [dataset.data_id for dataset in chosen],
            ids=None if is_nameless else [dataset.id for dataset in chosen if dataset.id is not None],
            once=once,
            metadata=[dataset.metadata for dataset in chosen],
            on_conflict=on_conflict,
        )
        for number, ref, is_new in zip(numbers, done.refs(), done.new, strict=True):
            refs[number] = ref
            if is_new:
                new.add(ref.id)
    return Inserted(tuple(refs[number] for number in range(len(datasets))), frozenset(new))


def insert_many(
    tx: Transaction,
    dataset_type: str,
    run: str,
    data_ids: Rows,
    *,
    ids: Sequence[uuid.UUID | bytes] | None = None,
    once: bool = False,
    metadata: Rows | None = None,
    on_conflict: OnConflict = "refuse",
) -> InsertedMany:
    """Register datasets of one type in one RUN; one that is there already, the same in every respect, is left alone.

    Without ``ids`` they get new ones, or with ``once`` those that their data IDs determine. ``metadata`` has values of
    the type's metadata columns, a row for each dataset. ``on_conflict`` says what happens where the RUN holds another
    dataset for a data ID: ``refuse`` raises, ``ignore`` leaves it, ``replace`` removes it with all that this schema
    says of it.

    `NotFoundError` for an undeclared dataset type or an unknown run; `UserError` for a data ID that is incomplete or
    names unknown records; `ConflictError` for an id that stands for something else, whatever ``on_conflict`` says.
    """
    batch = _Batch.prepare(tx, dataset_type, run, data_ids, ids, once, metadata)
    if not batch.keys:
        return batch.result([], [])
    there = batch.there(tx)
    if batch.ids is not None:
        batch.check_identities(tx)
    if not there and isinstance(batch.firsts, range):
        named = batch.ids or tx.registry.new_ids(len(batch.keys))
        batch.write(tx, range(len(named)), named)
        return batch.result(named, [True] * len(named))
    return _insert_some(tx, batch, there, on_conflict)


def _insert_some(
    tx: Transaction,
    batch: _Batch,
    there: Mapping[tuple[Any, ...], Mapping[str, Any]],
    on_conflict: OnConflict,
) -> InsertedMany:
    """Insert what is new of a batch that says some things twice, or that are there."""
    final: list[bytes | None] = list(batch.ids) if batch.ids is not None else [None] * len(batch.keys)
    new = [True] * len(final)
    replaced: list[uuid.UUID] = []
    for number, first in enumerate(batch.firsts):
        if first != number:  # said twice, the same way
            new[number] = False
            continue
        known = there.get(batch.keys[number])
        if known is None:
            continue
        old, wanted = known["dataset_id"], final[number]
        if wanted == old.bytes:
            batch.check_same(number, known)
            new[number] = False
        elif on_conflict == "ignore":
            final[number], new[number] = old.bytes, False
        elif on_conflict == "replace":
            replaced.append(old)
        else:
            raise batch.conflict(number, old)
    remove_datasets(tx, batch.table.name, replaced)
    fresh = [number for number, is_new in enumerate(new) if is_new]
    for number, identity in zip(fresh, tx.registry.new_ids(len(fresh)), strict=True):
        if final[number] is None:
            final[number] = identity
    for number, first in enumerate(batch.firsts):
        final[number] = final[first]
    named = [identity for identity in final if identity is not None]
    batch.write(tx, fresh, named)
    return batch.result(named, new)


@attrs.frozen
class _Batch:
    """Datasets of one type and RUN as checked columns; ``keys`` are their ``required`` values, row by row."""

    table: TableDef
    group: DimensionGroup
    run: str
    required: dict[str, Coded]
    keys: list[tuple[Any, ...]]
    ids: list[bytes] | None
    #: place of the first dataset with the same data ID
    firsts: Sequence[int]
    implied: dict[str, Coded]
    metadata: dict[str, list[Any]]

    @classmethod
    def prepare(
        cls,
        tx: Transaction,
        name: str,
        run: str,
        data_ids: Rows,
        ids: Sequence[uuid.UUID | bytes] | None,
        once: bool,
        metadata: Rows | None,
    ) -> _Batch:
        """Check everything that one dataset says by itself, and expand the data IDs."""
        universe = tx.registry.universe
        declared = _declared(tx, name)
        _check_run(tx, run)
        table, group = tx.table(name), universe.group(declared.dimensions)
        known = [element.name for element in universe.elements if element.is_dimension]
        columns, count = columns_of(
            without_alternate_keys(tx, group, data_ids), known, f"a data ID of {name}"
        )
        for dimension in group.implied:
            columns[dimension] = check_values(
                universe[dimension].key_type, columns[dimension], f"data ID value {dimension}"
            )
        required = {
            dimension: check_coded(
                universe[dimension].key_type, columns[dimension], f"data ID value {dimension}"
            )
            for dimension in group.required
        }
        _check_complete(group, {**columns, **required})
        keys = list(zip(*required.values(), strict=True)) or [()] * count
        fields = {field.name: field for field in declared.metadata}
        said, rows = columns_of(
            {} if metadata is None else metadata, fields, f"metadata of dataset type {name}"
        )
        if metadata is not None and rows != count and (rows or any(metadata)):
            raise UserError(
                f"{count} datasets of type {name} have {rows} rows of metadata", hint="give each one"
            )
        values = {
            field: check_values(fields[field].type, column or [None] * count, f"{name} metadata {field}")
            for field, column in said.items()
        }
        implied = expand(tx, group, required, columns, count)
        identities = _identities(name, run, group, keys, ids, once)
        batch = cls(table, group, run, required, keys, identities, range(count), implied, values)
        if not Coded.are_distinct(list(required.values()), count):
            return attrs.evolve(batch, firsts=batch.find_firsts())
        return batch

    def find_firsts(self) -> list[int]:
        """The first dataset for each data ID; `ConflictError` when a later one says anything else."""
        firsts: dict[tuple[Any, ...], int] = {}
        out = []
        for number, key in enumerate(self.keys):
            first = firsts.setdefault(key, number)
            if first != number:
                if self.ids is None or self.ids[first] != self.ids[number]:
                    raise ConflictError(
                        f"{self.text(number)} is given twice for {self.run}", hint="leave one out"
                    )
                self.check_same(number, {name: values[first] for name, values in self.metadata.items()})
            out.append(first)
        return out

    def there(self, tx: Transaction) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows of the RUN that have one of the data IDs."""
        physical = tx.physical(self.table.name)
        distinct = {dimension: column.values for dimension, column in self.required.items()}
        if has_none_in_range(tx.connection, physical, {"run": [self.run], **distinct}):
            return {}
        columns = ("run", *self.group.required)
        wanted = [(self.run, *key) for key in self.keys]
        rows = select_rows(tx.connection, physical, columns, wanted)
        return {tuple(row[name] for name in self.group.required): row for row in rows}

    def check_identities(self, tx: Transaction) -> None:
        """An id that is known, here or elsewhere, or given twice, must stand for the same dataset."""
        assert self.ids is not None
        places: dict[bytes, int] = {}
        for number, identity in enumerate(self.ids):
            other = places.setdefault(identity, number)
            if self.keys[other] != self.keys[number]:
                raise ConflictError(
                    f"dataset {uuid.UUID(bytes=identity)} is given twice, for {self.text(other)} and "
                    f"{self.text(number)}",
                    hint="an identity is never given twice; use a new id",
                )
        wanted = [(uuid.UUID(bytes=identity),) for identity in places]
        name = self.table.name
        known = tx.known("dataset", ("dataset_id",), wanted)
        for (identity,), row in known.items():
            if (row["dataset_type"], row["run"]) != (name, self.run):
                raise ConflictError(
                    f"dataset {identity} is a {row['dataset_type']} in {row['run']}, not a {name} in {self.run}",
                    hint="an identity is never given twice; use a new id",
                )
        for (identity,), row in tx.known(name, ("dataset_id",), known).items():
            self.check_same(places[identity.bytes], row)

    def check_same(self, number: int, row: Mapping[str, Any]) -> None:
        """What is known of a dataset must be what is said of it now."""
        said = dict(zip(self.group.required, self.keys[number], strict=True))
        said |= {name: values[number] for name, values in self.metadata.items() if values[number] is not None}
        for column, value in said.items():
            if column in row and row[column] != value:
                identity = "" if self.ids is None else f"{uuid.UUID(bytes=self.ids[number])} "
                raise ConflictError(
                    f"dataset {identity}({self.table.name} in {self.run}) has {column}={row[column]!r}, not {value!r}",
                    hint="an identity is never given twice; use a new id",
                )

    def conflict(self, number: int, old: uuid.UUID) -> ConflictError:
        wanted = "a new one" if self.ids is None else str(uuid.UUID(bytes=self.ids[number]))
        return ConflictError(
            f"{self.table.name} run={self.run!r}, {self.text(number)} is dataset {old}, not {wanted}",
            hint="a RUN holds one dataset of a type for a data ID; use another RUN, or ignore or replace it",
        )

    def text(self, number: int) -> str:
        """A data ID, for messages."""
        pairs = zip(self.group.required, self.keys[number], strict=True)
        return ", ".join(f"{name}={value!r}" for name, value in pairs) or self.table.name

    def write(self, tx: Transaction, fresh: Sequence[int], ids: Sequence[bytes]) -> None:
        """Write the datasets at the places ``fresh``, none of which is there."""
        if not fresh:
            return
        every = len(fresh) == len(self.keys)

        def chosen(values: Sequence[Any]) -> Sequence[Any]:
            if every:
                return values
            if isinstance(values, Coded):
                return values.rows(fresh)
            return [values[number] for number in fresh]

        count, name = len(fresh), self.table.name
        dataset = {
            "dataset_id": chosen(ids),
            "dataset_type": Coded.constant(name, count),
            "run": Coded.constant(self.run, count),
            "ingest_date": Coded.constant(tx.registry.clock(), count),
        }
        typed = {
            **{field: chosen(values) for field, values in self.metadata.items()},
            **{dimension: chosen(values) for dimension, values in self.implied.items()},
            **{dimension: chosen(values) for dimension, values in self.required.items()},
            "dataset_id": dataset["dataset_id"],
            "run": dataset["run"],
        }
        tx.put_columns("dataset", dataset, fresh=True)
        tx.put_columns(name, typed, fresh=True)
        governors = {
            dimension: set(values.values if isinstance(values, Coded) else values)
            for dimension, values in typed.items()
            if dimension in self.group.names and tx.registry.universe[dimension].governor
        }
        summaries.note(tx, self.run, name, governors)

    def result(self, ids: Sequence[bytes], new: Sequence[bool]) -> InsertedMany:
        return InsertedMany(self.table.name, self.run, self.group.required, self.keys, ids, new)


def _declared(tx: Transaction, name: str) -> DatasetType:
    rows = tx.select("dataset_type", ("name",), [(name,)])
    if not rows:
        raise NotFoundError(
            f"dataset type {name!r} is not declared in {tx.held.schema}", hint="declare it first"
        )
    return DatasetType.from_row(rows[0])


def _check_run(tx: Transaction, run: str) -> None:
    found = tx.select("collection", ("name",), [(run,)])
    if not found or found[0]["type"] != "RUN":
        what = f"is {found[0]['type']}" if found else "is not registered"
        raise NotFoundError(
            f"RUN collection {run!r} {what} in {tx.held.schema}", hint="register the RUN first"
        )


def _check_complete(group: DimensionGroup, columns: Mapping[str, Sequence[Any]]) -> None:
    missing = [name for name in group.required if None in columns[name]]
    if missing:
        number = columns[missing[0]].index(None)
        given = {name: values[number] for name, values in columns.items() if values[number] is not None}
        lacking = [name for name in group.required if columns[name][number] is None]
        raise UserError(
            f"data ID {given} lacks {', '.join(lacking)}", hint="it needs " + ", ".join(group.required)
        )


def _identities(
    name: str,
    run: str,
    group: DimensionGroup,
    keys: Sequence[tuple[Any, ...]],
    ids: Iterable[uuid.UUID | bytes] | None,
    once: bool,
) -> list[bytes] | None:
    """16 bytes each: the given ids, those that the data IDs determine, or None for new ones."""
    if ids is not None:
        checked = check_values(LogicalType.UUID, list(ids), f"{name} dataset_id")
        out = list(stored_values(LogicalType.UUID, checked))
        if len(out) != len(keys):
            raise UserError(
                f"{len(keys)} datasets of type {name} have {len(out)} ids", hint="give each one id"
            )
        return out
    if not once:
        return None
    return [deterministic_id(name, run, dict(zip(group.required, key, strict=True))).bytes for key in keys]
