"""What a collection holds for data IDs: the rows that a new member or validity range must agree with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.errors import NotFoundError, UserError
from federation.registry.keyed import VALUES_MAX, chunks
from federation.registry.views import View, registry_of, values_of, views

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from federation.model.collection import CollectionType
    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.registry.schemas import HeldSchema
    from federation.registry.views import Source

__all__ = [
    "Occupant",
    "collection_of_type",
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


@attrs.frozen
class Occupant:
    """A dataset that a schema says is in a collection; the times (TAI ns) and ``validity_id`` of a CALIBRATION only."""

    data_id: tuple[Any, ...]
    dataset_id: bytes
    begin: int | None = None
    end: int | None = None
    validity_id: bytes = b""


def occupants(
    source: Source,
    view: View,
    relation: str,
    name: str,
    dataset_type: str,
    required: Sequence[str],
    data_ids: Collection[tuple[Any, ...]] | None,
    where: Sequence[sa.ColumnElement[bool]] = (),
) -> Iterator[Occupant]:
    """What a schema says that a collection holds of one type.

    ``relation`` is ``collection_member`` or ``calibration``. Every dataset that meets ``where`` with one of
    ``data_ids`` (None: any) is there; others may be.
    """
    table = view.tables[relation]
    columns: list[sa.ColumnElement[Any]] = [view.id_column(table.c.dataset_id)]
    if relation == "calibration":
        columns += [table.c.timespan_begin, table.c.timespan_end, view.id_column(table.c.validity_id)]
    width = len(columns)
    here = sa.and_(table.c.collection == name, table.c.dataset_type == dataset_type, *where)
    chosen = sa.select(*columns).where(here)
    if data_ids is not None and len(data_ids) <= FEW:
        known = _datasets_with(source, dataset_type, required, data_ids)
        for part in chunks(known, VALUES_MAX):
            for row in view.connection.execute(chosen.where(table.c.dataset_id.in_(part))):
                yield Occupant(known[row[0]], *row)
        return
    if dataset_type in view.tables:
        typed = view.tables[dataset_type]
        # where the dataset is another schema's, its columns are NULL
        joined = chosen.add_columns(typed.c.dataset_id.is_(None), *(typed.c[column] for column in required))
        joined = joined.join_from(table, typed, table.c.dataset_id == typed.c.dataset_id, isouter=True)
        orphans = []
        for row in view.connection.execute(joined):
            if row[width]:
                orphans.append(tuple(row[:width]))
            else:
                yield Occupant(tuple(row[width + 1 :]), *row[:width])
    else:
        orphans = [tuple(row) for row in view.connection.execute(chosen)]
    values = values_of(source, dataset_type, required, (row[0] for row in orphans))
    for orphan in orphans:
        if orphan[0] in values:
            yield Occupant(values[orphan[0]], *orphan)


def _datasets_with(
    source: Source, dataset_type: str, required: Sequence[str], data_ids: Collection[tuple[Any, ...]]
) -> dict[bytes, tuple[Any, ...]]:
    """Every dataset of a type, in any schema here, that has one of the data IDs."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for view in views(source):
        for identity, *data_id in view.rows(dataset_type, required, data_ids, ("dataset_id", *required)):
            found.setdefault(identity.bytes, tuple(data_id))
    return found


def governors_of(universe: DimensionUniverse, group: DimensionGroup) -> tuple[str, ...]:
    """The governor dimensions of a group."""
    return tuple(name for name in group.names if universe[name].governor)


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
