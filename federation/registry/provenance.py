"""Provenance: which dataset was made from which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.errors import UserError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from federation.registry.transaction import Transaction

__all__ = ["add_edges"]


def add_edges(tx: Transaction, edges: Sequence[tuple[uuid.UUID, uuid.UUID, str | None]]) -> int:
    """Record (dataset, input, task) edges in the transaction's schema; returns how many are new.

    Inputs may live anywhere. `UserError` for a dataset made from itself.
    """
    for dataset_id, input_id, _ in edges:
        if dataset_id == input_id:
            raise UserError(f"dataset {dataset_id} can't be made from itself", hint="leave out this edge")
    keys = {(dataset_id, input_id): task for dataset_id, input_id, task in edges}
    there = {
        (row["dataset_id"], row["input_id"])
        for row in tx.select("provenance", ("dataset_id", "input_id"), keys)
    }
    fresh = [
        {"dataset_id": dataset_id, "input_id": input_id, "task": task}
        for (dataset_id, input_id), task in keys.items()
        if (dataset_id, input_id) not in there
    ]
    tx.put("provenance", fresh)
    return len(fresh)
