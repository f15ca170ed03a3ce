"""What a collection holds for data IDs: the rows that a new member or validity range must agree with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.errors import NotFoundError, UserError
from federation.registry.views import View, registry_of, values_of, views

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from federation.model.collection import CollectionType
    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.registry.schemas import HeldSchema
    from federation.registry.views import Source

__all__ = [
    "collection_of_type",
    "data_id_text",
    "find_collection",
    "governor_values",
    "governors_of",
    "occupants",
]

#: up to so many data IDs, datasets that have them are looked up first; else the collection is read through
FEW = 500


def find_collection(source: Source, name: str) -> tuple[HeldSchema, dict[str, Any]] | None:
    """The nearest schema that registers a collection, and its row; None where none does."""
    for view in views(source):
        for row in view.rows("collection", ("name",), [(name,)]):
            return view.held, dict(zip(view.tables["collection"].c.keys(), row, strict=True))
    return None


def collection_of_type(source: Source, name: str, type_: CollectionType) -> HeldSchema:
    """The schema that registers a collection of this type; `NotFoundError` or `UserError` where it is not one."""
    found = find_collection(source, name)
    if found is None:
        raise NotFoundError(f"no collection {name!r} at {registry_of(source).site}", hint="register it first")
    held, row = found
    if row["type"] != type_.value:
        raise UserError(
            f"collection {name!r} is {row['type']}, not {type_.value}", hint="use another collection"
        )
    return held


def occupants(
    source: Source,
    view: View,
    relation: str,
    name: str,
    dataset_type: str,
    required: Sequence[str],
    data_ids: Collection[tuple[Any, ...]] | None,
    where: Sequence[sa.ColumnElement[bool]] = (),
) -> Iterator[tuple[tuple[Any, ...], sa.Row[Any]]]:
    """(data ID, row) of what a schema says that a collection holds of one type.

    ``relation`` is ``collection_member`` or ``calibration``. Every row that meets ``where`` for one of ``data_ids``
    (None: any) is there; others may be.
    """
    table = view.tables[relation]
    known: dict[uuid.UUID, tuple[Any, ...]] = {}
    chosen = sa.select(table).where(table.c.collection == name, table.c.dataset_type == dataset_type, *where)
    if data_ids is not None and len(data_ids) <= FEW:
        known = _datasets_with(source, dataset_type, required, data_ids)
        ids = list(known)
        for begin in range(0, len(ids), 8000):
            part = chosen.where(table.c.dataset_id.in_(ids[begin : begin + 8000]))
            for row in view.connection.execute(part):
                yield known[row.dataset_id], row
        return
    if dataset_type in view.tables:
        typed = view.tables[dataset_type]
        # where the dataset is another schema's, its columns are NULL
        joined = chosen.add_columns(typed.c.dataset_id, *(typed.c[column] for column in required))
        joined = joined.join_from(table, typed, table.c.dataset_id == typed.c.dataset_id, isouter=True)
        width = len(table.c)
        orphans = []
        for row in view.connection.execute(joined):
            if row[width] is None:
                orphans.append(row)
            else:
                yield tuple(row[width + 1 :]), row
    else:
        orphans = list(view.connection.execute(chosen))
    values = values_of(source, dataset_type, required, (row.dataset_id for row in orphans))
    for row in orphans:
        if row.dataset_id in values:
            yield values[row.dataset_id], row


def _datasets_with(
    source: Source, dataset_type: str, required: Sequence[str], data_ids: Collection[tuple[Any, ...]]
) -> dict[uuid.UUID, tuple[Any, ...]]:
    """Every dataset of a type, in any schema here, that has one of the data IDs."""
    found: dict[uuid.UUID, tuple[Any, ...]] = {}
    for view in views(source):
        for row in view.rows(dataset_type, required, data_ids, ("dataset_id", *required)):
            found.setdefault(row[0], row[1:])
    return found


def governors_of(universe: DimensionUniverse, group: DimensionGroup) -> tuple[str, ...]:
    """The governor dimensions of a group."""
    return tuple(name for name in group.names if universe[name].governor)


def data_id_text(required: Sequence[str], values: Sequence[Any]) -> str:
    """A data ID for messages.

    >>> data_id_text(("instrument", "detector"), ("C", 1))
    "{instrument='C', detector=1}"
    """
    return "{" + ", ".join(f"{n}={v!r}" for n, v in zip(required, values, strict=True)) + "}"


def governor_values(
    names: Sequence[str], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> dict[str, set[Any]]:
    """Which values of the governors ``names`` there are in rows of ``columns``."""
    found: dict[str, set[Any]] = {name: set() for name in names}
    places = [(found[name], columns.index(name)) for name in names]
    for row in rows:
        for values, place in places:
            values.add(row[place])
    return {name: values - {None} for name, values in found.items()}
