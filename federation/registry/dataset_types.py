"""Declaring dataset types at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import ConflictError

if TYPE_CHECKING:
    from federation.model.dataset import DatasetType
    from federation.registry.transaction import Transaction

__all__ = ["declare"]


def declare(tx: Transaction, dataset_type: DatasetType) -> DatasetType:
    """Declare a dataset type in the transaction's schema; the same declaration again changes nothing.

    Dimensions are closed and put in canonical order. `ConflictError` when the name stands for something else here.
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
    for name in tx.tables:
        if name == dataset_type.name or (
            name.lower() == dataset_type.name.lower() and tx.tables[name].physical_name.startswith("ds_")
        ):
            raise ConflictError(
                f"{dataset_type.name!r} would hide table {name!r}", hint="choose another name"
            )
    tx.add_table(tx.registry.table_of(dataset_type))
    tx.put("dataset_type", [row])
    return dataset_type
