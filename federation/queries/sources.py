"""Datasets of one type in some collections, as a source of a SELECT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.model.collection import CollectionType
from federation.queries.sql import all_of, column, literal, one_of, output

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from federation.model.dataset import DatasetType
    from federation.model.dimension import DimensionGroup
    from federation.queries.collections import Leaf

__all__ = ["COLLECTION_FIELDS", "DatasetSource", "dataset_source", "needs_rank"]

#: fields that a dataset has as a member of a collection
COLLECTION_FIELDS = frozenset({"collection", "timespan", "timespan_begin", "timespan_end"})
_SPAN = ("timespan_begin", "timespan_end")


@attrs.frozen
class DatasetSource:
    """``source`` stands in FROM under ``alias``, and ``conditions`` in WHERE; ``fields`` says where fields are.

    With ``may_repeat`` one dataset may come several times.
    """

    source: str
    alias: str
    conditions: tuple[str, ...]
    fields: dict[str, str]
    may_repeat: bool = False


def needs_rank(leaves: Sequence[Leaf] | None, find_first: bool) -> bool:
    """Whether the first collection must be chosen for each data ID."""
    return find_first and leaves is not None and len(leaves) > 1


def dataset_source(
    dataset_type: DatasetType,
    group: DimensionGroup,
    leaves: Sequence[Leaf] | None,
    find_first: bool,
    used: Collection[str],
    inner: list[str],
) -> DatasetSource:
    """Datasets of the type in ``leaves`` (None: all there are).

    ``used`` are the dataset's fields and dimensions that the statement reads. ``inner`` are conditions that hold for
    a dataset before the first collection is chosen; they may name the table by the type's name, and the validity
    range by ``validity``.
    """
    alias = dataset_type.name
    columns = [
        name
        for name in dict.fromkeys(("dataset_id", "run", *group.names, *used))
        if name not in COLLECTION_FIELDS
    ]
    columns = [name for name in columns if name not in {"ingest_date", "dataset_type"}]
    fields = {name: column(alias, name) for name in columns}
    fields["dataset_type"] = literal(dataset_type.name)
    if leaves is not None and set(used) & set(COLLECTION_FIELDS - {"collection"}):
        # only a certified dataset is valid in a timespan
        leaves = [leaf for leaf in leaves if leaf.type is CollectionType.CALIBRATION]
    ranked = needs_rank(leaves, find_first) or bool(inner)
    plain = not ranked and not set(used) & COLLECTION_FIELDS
    if leaves is None or not leaves or plain:
        conditions = list(inner)
        if leaves is not None:
            conditions.append(_anywhere(alias, leaves))
        fields |= dict.fromkeys(COLLECTION_FIELDS, "NULL")
        return DatasetSource(column(alias), alias, tuple(conditions), fields)
    if not ranked and all(leaf.type is CollectionType.RUN for leaf in leaves):
        fields["collection"] = column(alias, "run")
        return DatasetSource(column(alias), alias, (_anywhere(alias, leaves),), fields)
    extra = [
        name for name in ("collection", *_SPAN) if name in used or (name in _SPAN and "timespan" in used)
    ]
    fields |= {name: column(alias, name) for name in extra}
    rank, found = _fresh("rank", [*columns, *extra]), _fresh("first", [*columns, *extra])
    arms = _arms(alias, leaves, columns, extra, rank if find_first else "", inner)
    union = " UNION ALL ".join(arms)
    if not find_first:
        return DatasetSource(f"({union}) AS {column(alias)}", alias, (), fields, may_repeat=True)
    listed = ", ".join(column(alias, name) for name in (*columns, *extra))
    partition = ", ".join(column(alias, name) for name in group.required)
    window = f"{f'PARTITION BY {partition} ' if partition else ''}ORDER BY {column(alias, rank)}"
    chosen = (
        f"(SELECT {listed}, row_number() OVER ({window}, {column(alias, 'dataset_id')}) AS {column(found)}"
        f" FROM ({union}) AS {column(alias)}) AS {column(alias)}"
    )
    return DatasetSource(chosen, alias, (f"{column(alias, found)} = 1",), fields)


def check_find_first(dataset_type: DatasetType, leaves: Sequence[Leaf] | None, uses_validity: bool) -> None:
    """`QueryError` when a calibration that is valid at some time is asked for without a time."""
    for leaf in leaves or ():
        if leaf.type is CollectionType.CALIBRATION and not uses_validity:
            raise QueryError(
                f"which {dataset_type.name} comes first in CALIBRATION collection {leaf.name!r} depends on the time",
                hint=f"pass find_first=False, or where=\"{dataset_type.name}.timespan OVERLAPS T'...'\"",
            )


def _fresh(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _anywhere(alias: str, leaves: Sequence[Leaf]) -> str:
    """The condition that a dataset is in one of the collections."""
    parts = []
    runs = _names(leaves, CollectionType.RUN)
    if runs:
        parts.append(one_of(column(alias, "run"), runs))
    for kind, table in _MEMBERS.items():
        names = _names(leaves, kind)
        if names:
            parts.append(
                f"{column(alias, 'dataset_id')} IN (SELECT dataset_id FROM {table} WHERE {one_of('collection', names)}"
                f" AND dataset_type = {literal(alias)})"
            )
    if not parts:
        return "FALSE"
    return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"


#: where the datasets of a collection are listed
_MEMBERS = {CollectionType.TAGGED: "collection_member", CollectionType.CALIBRATION: "calibration"}


def _names(leaves: Sequence[Leaf], kind: CollectionType) -> list[str]:
    return [literal(leaf.name) for leaf in leaves if leaf.type is kind]


def _arms(
    alias: str,
    leaves: Sequence[Leaf],
    columns: Sequence[str],
    extra: Sequence[str],
    rank: str,
    inner: list[str],
) -> list[str]:
    """One SELECT for each kind of collection."""
    arms = []
    for kind in (CollectionType.RUN, *_MEMBERS):
        names = _names(leaves, kind)
        if not names:
            continue
        member = "validity" if kind is CollectionType.CALIBRATION else "member"
        where_it_is = column(alias, "run") if kind is CollectionType.RUN else column(member, "collection")
        items = [column(alias, name) for name in columns]
        for name in extra:
            value = where_it_is if name == "collection" else column(member, name)
            items.append(output(value, name))
        if rank:
            order = " ".join(
                f"WHEN {where_it_is} = {literal(leaf.name)} THEN {place}"
                for place, leaf in enumerate(leaves)
                if leaf.type is kind
            )
            items.append(f"CASE {order} END AS {column(rank)}")
        source = column(alias)
        conditions = [one_of(where_it_is, names), *inner]
        if kind is not CollectionType.RUN:
            source += (
                f" JOIN {_MEMBERS[kind]} AS {column(member)}"
                f" ON {column(member, 'dataset_id')} = {column(alias, 'dataset_id')}"
            )
            conditions.append(f"{column(member, 'dataset_type')} = {literal(alias)}")
        arms.append(f"SELECT {', '.join(items)} FROM {source} WHERE {all_of(conditions)}")
    return arms
