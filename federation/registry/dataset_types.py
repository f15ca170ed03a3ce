"""Declaring dataset types at run time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from federation.errors import ConflictError, UserError
from federation.model.logical import TableKind

if TYPE_CHECKING:
    from federation.model.dataset import DatasetType
    from federation.registry.transaction import Transaction

__all__ = ["declare"]

#: PostgreSQL cuts identifiers at 63 bytes
COLUMN_LENGTH_MAX = 63
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def declare(tx: Transaction, dataset_type: DatasetType) -> DatasetType:
    """Declare a dataset type in the transaction's schema; the same declaration again changes nothing.

    Dimensions are closed and put in canonical order. `ConflictError` when the name stands for something else here,
    `NotFoundError` for an unknown dimension, `UserError` for a metadata column that can't be one.
    """
    universe = tx.registry.universe
    group = universe.group(dataset_type.dimensions)
    dataset_type = attrs.evolve(dataset_type, dimensions=universe.sort(group.names))
    row = dataset_type.to_row()
    found = tx.select("dataset_type", ("name",), [(dataset_type.name,)])
    if found:
        known = {key: found[0][key] for key in row}
        if known != row:
            changed = ", ".join(
                f"{key} {known[key]!r} is not {row[key]!r}" for key in row if known[key] != row[key]
            )
            raise ConflictError(
                f"dataset type {dataset_type.name!r} is declared otherwise in {tx.held.schema}: {changed}",
                hint="use the same definition, or another name",
            )
        return dataset_type
    _check_name(tx, dataset_type.name)
    _check_metadata(dataset_type)
    tx.add_table(tx.registry.table_of(dataset_type))
    tx.put("dataset_type", [row])
    return dataset_type


def _check_name(tx: Transaction, name: str) -> None:
    """No other table or dimension has the name.

    Another dataset type may not even differ by case only, as SQLite takes the names of their tables for one; the
    Butler's own ``skyMap`` beside dimension ``skymap`` is fine.
    """
    for other in (*tx.tables, *(element.name for element in tx.registry.universe.elements)):
        table = tx.tables.get(other)
        is_of_datasets = table is not None and table.kind is TableKind.DATASET_TYPE
        if other == name or (is_of_datasets and other.lower() == name.lower()):
            what = "dimension" if table is None else "table"
            raise ConflictError(f"{name!r} would hide {what} {other!r}", hint="choose another name")


def _check_metadata(dataset_type: DatasetType) -> None:
    """Metadata columns are identifiers, distinct from one another and from the columns that every type has."""
    taken = {"dataset_id", "run", "origin", *dataset_type.dimensions}
    for field in dataset_type.metadata:
        place = f"dataset type {dataset_type.name!r}: metadata column {field.name!r}"
        if not _COLUMN.match(field.name) or len(field.name) > COLUMN_LENGTH_MAX:
            raise UserError(
                f"{place} is not an identifier of at most {COLUMN_LENGTH_MAX} characters",
                hint="use letters, digits and _, not starting with a digit",
            )
        if field.name.lower() in taken:
            raise UserError(f"{place} is there already", hint="choose another name for it")
        taken.add(field.name.lower())
