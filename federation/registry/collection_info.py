"""What there is to see of collections: a list of them, and one in detail."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.errors import NotFoundError
from federation.model.collection import CollectionType
from federation.registry import summaries
from federation.registry.chains import children_of, flatten, parents_of
from federation.registry.views import registry_of, views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.position import SchemaId
    from federation.registry.summaries import Summary
    from federation.registry.views import Source

__all__ = ["CollectionDetails", "CollectionInfo", "list_collections", "show_collection"]


@attrs.frozen
class CollectionInfo:
    """A collection as the nearest schema that registers it says; ``children`` are those of a CHAINED one."""

    name: str
    type: CollectionType
    schema: SchemaId
    doc: str | None
    children: tuple[str, ...] = ()


@attrs.frozen
class CollectionDetails:
    """A collection, its ``parents`` as (schema, chain), what a search goes through, and what it holds.

    ``counts`` has the number of datasets (of a CALIBRATION collection, of validity ranges) by dataset type, those of a
    chain's members together; a dataset in two members counts twice.
    """

    info: CollectionInfo
    parents: tuple[tuple[str, str], ...]
    members: tuple[str, ...]
    counts: dict[str, int]
    summary: Summary


def list_collections(
    source: Source, globs: Sequence[str] = (), types: Sequence[CollectionType] = ()
) -> list[CollectionInfo]:
    """Collections of all schemas held here by name, those that match one of ``globs`` and have one of ``types``."""
    found: dict[str, CollectionInfo] = {}
    for view in views(source):
        table = view.tables["collection"]
        for row in view.connection.execute(sa.select(table)):
            info = CollectionInfo(row.name, CollectionType(row.type), view.held.schema, row.doc)
            found.setdefault(info.name, info)
    chosen = [
        info
        for name, info in sorted(found.items())
        if (not globs or any(fnmatchcase(name, glob) for glob in globs)) and (not types or info.type in types)
    ]
    children = children_of(source, [info.name for info in chosen if info.type is CollectionType.CHAINED])
    return [attrs.evolve(info, children=children.get(info.name, ())) for info in chosen]


def show_collection(source: Source, name: str) -> CollectionDetails:
    """One collection in detail; `NotFoundError` where no schema here registers it."""
    found = [info for info in list_collections(source) if info.name == name]
    if not found:
        raise NotFoundError(
            f"no collection {name!r} at {registry_of(source).site}", hint="run: federation collection list"
        )
    members = flatten(source, name)
    return CollectionDetails(
        found[0],
        tuple(parents_of(source, name)),
        members if found[0].type is CollectionType.CHAINED else (),
        _counts(source, members),
        summaries.read(source, [name])[name],
    )


def _counts(source: Source, names: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for view in views(source):
        for table, column in (
            ("dataset", "run"),
            ("collection_member", "collection"),
            ("calibration", "collection"),
        ):
            physical = view.tables[table]
            chosen = (
                sa.select(physical.c.dataset_type, sa.func.count())
                .where(physical.c[column].in_(names))
                .group_by(physical.c.dataset_type)
            )
            for dataset_type, count in view.connection.execute(chosen):
                counts[dataset_type] = counts.get(dataset_type, 0) + count
    return dict(sorted(counts.items()))
