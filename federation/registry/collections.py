"""Collections: registering, tagging, certifying."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.model.dataset import DATASET_ID_NAMESPACE
from federation.model.timespan import Timespan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.collection import Collection
    from federation.registry.transaction import Row, Transaction

__all__ = ["certify", "register", "tag"]


def register(tx: Transaction, collection: Collection) -> bool:
    """Register a collection in the transaction's schema; True when anything changed.

    Children of a CHAINED collection may live at other sites. `ConflictError` when the name has another type here.
    """
    row = {
        "name": collection.name,
        "type": collection.type.value,
        "doc": collection.doc,
        "host": collection.host,
        "timespan_begin": collection.timespan.begin,
        "timespan_end": collection.timespan.end,
    }
    found = tx.select("collection", ("name",), [(collection.name,)])
    if found and found[0]["type"] != row["type"]:
        raise ConflictError(
            f"collection {collection.name!r} is {found[0]['type']} in {tx.held.schema}, not {row['type']}",
            hint="use another name",
        )
    changed = not found or found[0] != row
    if changed:
        tx.put("collection", [row])
    if collection.type is CollectionType.CHAINED:
        changed |= _set_chain(tx, collection)
    return changed


def _set_chain(tx: Transaction, collection: Collection) -> bool:
    _check_acyclic(tx, collection)
    there = tx.select("collection_chain", ("parent",), [(collection.name,)])
    rows = [
        {"parent": collection.name, "position": position, "child": child}
        for position, child in enumerate(collection.children)
    ]
    old = {row["position"]: row["child"] for row in there}
    if old == {row["position"]: row["child"] for row in rows}:
        return False
    tx.delete("collection_chain", [row for row in there if row["position"] >= len(rows)])
    tx.put("collection_chain", rows)
    return True


def _check_acyclic(tx: Transaction, collection: Collection) -> None:
    seen: set[str] = set()
    todo = set(collection.children)
    while todo:
        if collection.name in todo:
            raise UserError(
                f"chain {collection.name!r} would contain itself",
                hint="leave out the child that leads back to it",
            )
        seen |= todo
        todo = {
            row["child"] for row in tx.select("collection_chain", ("parent",), [(name,) for name in todo])
        } - seen


def _members(
    tx: Transaction, name: str, type_: CollectionType, ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Row]:
    found = tx.known("collection", ("name",), [(name,)])
    if not found:
        raise NotFoundError(f"no collection {name!r} at {tx.registry.site}", hint="register it first")
    if found[(name,)]["type"] != type_.value:
        raise UserError(
            f"collection {name!r} is {found[(name,)]['type']}, not {type_.value}",
            hint="use another collection",
        )
    known: dict[uuid.UUID, Row] = {
        key[0]: row for key, row in tx.known("dataset", ("dataset_id",), [(i,) for i in ids]).items()
    }
    missing = [i for i in ids if i not in known]
    if missing:
        raise NotFoundError(
            f"dataset {missing[0]} is not known at {tx.registry.site}",
            hint="register it, or follow the site that has it",
        )
    return known


def tag(tx: Transaction, name: str, ids: Sequence[uuid.UUID]) -> int:
    """Put datasets into a TAGGED collection; returns how many were not in it."""
    known = _members(tx, name, CollectionType.TAGGED, ids)
    there = {row["dataset_id"] for row in tx.select("collection_member", ("collection",), [(name,)])}
    fresh = [i for i in dict.fromkeys(ids) if i not in there]
    tx.put(
        "collection_member",
        [{"collection": name, "dataset_id": i, "dataset_type": known[i]["dataset_type"]} for i in fresh],
    )
    return len(fresh)


def certify(tx: Transaction, name: str, timespan: Timespan, ids: Sequence[uuid.UUID]) -> int:
    """Declare calibrations valid for a timespan in a CALIBRATION collection; returns how many ranges were new.

    `ConflictError` when another dataset of the same type and data ID is valid in a part of it.
    """
    known = _members(tx, name, CollectionType.CALIBRATION, ids)
    there = tx.select("calibration", ("collection",), [(name,)])
    present = {row["validity_id"] for row in there}
    fresh: list[dict[str, Any]] = []
    for i in dict.fromkeys(ids):
        # named by what it says, so that the same certification twice is one
        validity = uuid.uuid5(DATASET_ID_NAMESPACE, f"validity={name},{i},{timespan.begin},{timespan.end}")
        if validity not in present:
            fresh.append(
                {
                    "collection": name,
                    "dataset_id": i,
                    "dataset_type": known[i]["dataset_type"],
                    "timespan_begin": timespan.begin,
                    "timespan_end": timespan.end,
                    "validity_id": validity,
                }
            )
    _check_overlaps(tx, name, there, fresh)
    tx.put("calibration", fresh)
    return len(fresh)


def _check_overlaps(tx: Transaction, name: str, there: Sequence[Row], fresh: Sequence[Row]) -> None:
    types = {row["dataset_type"] for row in fresh}
    new = {row["validity_id"] for row in fresh}
    for dataset_type in types:
        rows = [row for row in (*there, *fresh) if row["dataset_type"] == dataset_type]
        data_ids = _data_ids(tx, dataset_type, {row["dataset_id"] for row in rows})
        by_data_id: dict[Any, list[Row]] = {}
        for row in rows:
            by_data_id.setdefault(data_ids.get(row["dataset_id"]), []).append(row)
        for data_id, ranges in by_data_id.items():
            spans = [(Timespan(r["timespan_begin"], r["timespan_end"]), r) for r in ranges]
            for number, (span, row) in enumerate(spans):
                if row["validity_id"] not in new:
                    continue  # checked when it was certified; the new ones come last
                for other, other_row in spans[:number]:
                    if span.overlaps(other):
                        raise ConflictError(
                            f"{name}: {dataset_type} {data_id} would have two valid datasets: {row['dataset_id']} "
                            f"in {span} and {other_row['dataset_id']} in {other}",
                            hint="certify for a timespan that is free, or decertify the other first",
                        )


def _data_ids(tx: Transaction, dataset_type: str, ids: set[uuid.UUID]) -> dict[uuid.UUID, Any]:
    # the type may be declared in another schema that this registry holds
    declared = tx.known("dataset_type", ("name",), [(dataset_type,)])[(dataset_type,)]["dimensions"]
    dimensions = tx.registry.universe.group(declared.split(",") if declared else ()).required
    found = tx.known(dataset_type, ("dataset_id",), [(i,) for i in ids])
    return {key[0]: tuple(f"{n}={row[n]!r}" for n in dimensions) for key, row in found.items()}
