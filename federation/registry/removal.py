"""Removing datasets from a schema, with all that the schema says of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from federation.registry.keyed import select_by_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.registry.transaction import Transaction

__all__ = ["TABLES_ABOUT", "remove_datasets"]

#: tables that speak of a dataset; edges to what was made from it stay, as history
TABLES_ABOUT = ("artifact", "metric", "collection_member", "calibration", "activity_dataset", "provenance")


def remove_datasets(tx: Transaction, dataset_type: str, ids: Sequence[uuid.UUID]) -> None:
    """Delete datasets of one type from the transaction's schema; ids that are not there are passed over."""
    if not ids:
        return
    keys = [(identity,) for identity in dict.fromkeys(ids)]
    for name in (*TABLES_ABOUT, dataset_type, "dataset"):
        table = tx.table(name)
        found = select_by_keys(tx.connection, tx.physical(name), ("dataset_id",), keys, table.key)
        tx.delete_keys(name, list(found))
