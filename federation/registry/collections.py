"""Collections: registering and removing them; `chains`, `tags` and `calibrations` say what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.errors import ConflictError, NotFoundError
from federation.model.collection import CollectionType
from federation.registry import summaries
from federation.registry.calibrations import (
    Validity,
    certify,
    certify_ranges,
    decertify,
    valid_at,
)
from federation.registry.chains import (
    extend_chain,
    parents_of,
    prepend_to_chain,
    redefine_chain,
    remove_from_chain,
    set_children,
)
from federation.registry.members import find_collection
from federation.registry.removal import remove_datasets
from federation.registry.tags import tag, untag
from federation.registry.views import views

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from federation.model.collection import Collection
    from federation.registry.transaction import Transaction

__all__ = [
    "Validity",
    "certify",
    "certify_ranges",
    "decertify",
    "extend_chain",
    "prepend_to_chain",
    "redefine_chain",
    "register",
    "remove_collection",
    "remove_from_chain",
    "tag",
    "untag",
    "valid_at",
]


def register(tx: Transaction, collection: Collection) -> bool:
    """Register a collection in the transaction's schema; True when anything changed.

    What the collection leaves open (doc, host, bounds of the timespan) stays as it was registered before. Children of
    a CHAINED collection may live at other sites. `ConflictError` when the name has another type here.
    """
    row: dict[str, Any] = {
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
    if found:
        row = {name: found[0][name] if value is None else value for name, value in row.items()}
    changed = not found or found[0] != row
    if changed:
        tx.put("collection", [row])
    if not found:
        summaries.start(tx, collection.name)
    if collection.type is CollectionType.CHAINED:
        changed |= set_children(tx, collection.name, collection.children)
    return changed


def remove_collection(tx: Transaction, name: str, *, unchain: bool = False, purge: bool = False) -> int:
    """Remove a collection of the transaction's schema; returns how many datasets went with it.

    Removing a TAGGED or CALIBRATION collection removes its tags or validity ranges, not the datasets. `ConflictError`,
    with nothing changed, while a chain leads to it unless ``unchain`` (which takes it out of this schema's chains; in
    others' it stays as a name that finds nothing), and while a RUN holds datasets unless ``purge``: they are removed
    with all that this schema says of them, files excepted. One that another schema has tagged or certified is never
    removed.
    """
    rows = tx.select("collection", ("name",), [(name,)])
    if not rows:
        found = find_collection(tx, name)
        where = f"; it belongs to {found[0].schema}" if found else ""
        raise NotFoundError(
            f"no collection {name!r} in {tx.held.schema}{where}", hint="only its owner removes a collection"
        )
    parents = parents_of(tx, name)
    if parents and not unchain:
        schema, parent = parents[0]
        raise ConflictError(
            f"collection {name!r} is a child of {parent!r} in {schema}"
            + (f" (and of {len(parents) - 1} more)" if len(parents) > 1 else ""),
            hint="take it out of the chain first, or ask for that too",
        )
    ids = _ids_in(tx, name) if rows[0]["type"] == CollectionType.RUN.value else []
    if ids and not purge:
        raise ConflictError(
            f"RUN {name!r} holds {len(ids)} datasets", hint="ask for them to be removed too, or keep it"
        )
    _check_unused_elsewhere(tx, name, ids)
    for schema, parent in parents:
        if schema == str(tx.held.schema):
            remove_from_chain(tx, parent, [name])
    by_type: dict[str, list[uuid.UUID]] = {}
    for dataset_id, dataset_type in ids:
        by_type.setdefault(dataset_type, []).append(dataset_id)
    for dataset_type, some in by_type.items():
        remove_datasets(tx, dataset_type, some)
    for table, column in (
        ("collection_member", "collection"),
        ("calibration", "collection"),
        ("collection_summary", "collection"),
        ("collection_chain", "parent"),
    ):
        tx.delete(table, tx.select(table, (column,), [(name,)]))
    tx.delete("collection", [{"name": name}])
    summaries.forget(tx, name)
    return len(ids)


def _ids_in(tx: Transaction, run: str) -> list[tuple[uuid.UUID, str]]:
    table = tx.physical("dataset")
    chosen = sa.select(table.c.dataset_id, table.c.dataset_type).where(table.c.run == run)
    return [(row.dataset_id, row.dataset_type) for row in tx.connection.execute(chosen)]


def _check_unused_elsewhere(tx: Transaction, name: str, ids: Sequence[tuple[uuid.UUID, str]]) -> None:
    keys = [(dataset_id,) for dataset_id, _ in ids]
    for view in views(tx) if keys else ():
        if view.held == tx.held:
            continue
        for table in ("collection_member", "calibration"):
            for dataset_id, collection in view.rows(
                table, ("dataset_id",), keys, ("dataset_id", "collection")
            ):
                raise ConflictError(
                    f"dataset {dataset_id} of RUN {name!r} is in {collection!r} of {view.held.schema}",
                    hint="untag or decertify it there first",
                )
