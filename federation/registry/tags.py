"""TAGGED collections: one dataset of a type for each data ID."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError
from federation.model.collection import CollectionType
from federation.model.data_id import data_id_text
from federation.registry import summaries
from federation.registry.members import (
    collection_of_type,
    governor_values,
    governors_of,
    occupants,
)
from federation.registry.views import Id, group_of, id_bytes, types_of, values_of, views

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.registry.schemas import HeldSchema
    from federation.registry.transaction import Transaction

__all__ = ["tag", "untag"]


def tag(tx: Transaction, name: str, ids: Iterable[Id], *, replace: bool = False) -> int:
    """Put datasets into a TAGGED collection; returns how many were not in it.

    `ConflictError` when the collection would hold two of a type for one data ID, unless ``replace``, which takes out
    the one that is there; `NotFoundError` for an unknown collection or dataset, `UserError` for one that is not TAGGED.
    """
    owner = collection_of_type(tx, name, CollectionType.TAGGED)
    wanted = list(dict.fromkeys(id_bytes(ids)))
    own = next(iter(views(tx)))
    members = own.of_datasets("collection_member", wanted, ("collection",))
    there = {dataset_id for dataset_id, collection in members if collection == name}
    by_type: dict[str, list[bytes]] = {}
    for dataset_id, dataset_type in types_of(tx, wanted).items():
        if dataset_id not in there:
            by_type.setdefault(dataset_type, []).append(dataset_id)
    for dataset_type, fresh in by_type.items():
        _tag(tx, owner, name, dataset_type, fresh, replace=replace)
    return sum(map(len, by_type.values()))


def _tag(
    tx: Transaction,
    owner: HeldSchema,
    name: str,
    dataset_type: str,
    fresh: Sequence[bytes],
    *,
    replace: bool,
) -> None:
    universe = tx.registry.universe
    group = group_of(tx, dataset_type)
    governors = governors_of(universe, group)
    columns = (*group.required, *(governor for governor in governors if governor not in group.required))
    values = values_of(tx, dataset_type, columns, fresh)
    width = len(group.required)
    data_ids: dict[tuple[Any, ...], bytes] = {}
    for dataset_id, row in values.items():
        other = data_ids.setdefault(row[:width], dataset_id)
        if other != dataset_id:
            raise ConflictError(
                f"{name}: {dataset_type} {data_id_text(group.required, row[:width])} is given twice: "
                f"{uuid.UUID(bytes=other)} and {uuid.UUID(bytes=dataset_id)}",
                hint="a TAGGED collection holds one dataset of a type for a data ID; leave one out",
            )
    replaced = []
    for view in views(tx):
        # a collection of another schema: what its owner has put into it counts too
        if view.held not in (tx.held, owner):
            continue
        for old in occupants(tx, view, "collection_member", name, dataset_type, group.required, data_ids):
            new = data_ids.get(old.data_id)
            if new is None or new == old.dataset_id:
                continue
            if not replace or view.held != tx.held:
                raise ConflictError(
                    f"{name}: {dataset_type} {data_id_text(group.required, old.data_id)} is dataset "
                    f"{uuid.UUID(bytes=old.dataset_id)}, not {uuid.UUID(bytes=new)}",
                    hint="untag it first, or ask for it to be replaced"
                    if view.held == tx.held
                    else f"{view.held.schema} has put it there; use a collection of your own",
                )
            replaced.append({"collection": name, "dataset_id": old.dataset_id})
    tx.delete("collection_member", replaced)
    count = len(fresh)
    tx.put_columns(
        "collection_member",
        {"collection": [name] * count, "dataset_id": fresh, "dataset_type": [dataset_type] * count},
        fresh=True,
    )
    summaries.note(tx, name, dataset_type, governor_values(governors, columns, values.values()))


def untag(tx: Transaction, name: str, ids: Iterable[Id]) -> int:
    """Take datasets out of a TAGGED collection; returns how many were in it.

    Those that are not in it, or that another schema has put there, are left alone.
    """
    collection_of_type(tx, name, CollectionType.TAGGED)
    own = next(iter(views(tx)))
    members = own.of_datasets("collection_member", list(dict.fromkeys(id_bytes(ids))), ("collection",))
    found = [
        {"collection": name, "dataset_id": dataset_id}
        for dataset_id, collection in members
        if collection == name
    ]
    tx.delete("collection_member", found)
    return len(found)
