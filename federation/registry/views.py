"""The schemas of one registry as they are read: the nearest first, each through a connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import NotFoundError
from federation.model.dataset import DatasetType
from federation.registry.keyed import select_by_keys
from federation.registry.transaction import Transaction

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import sqlalchemy as sa

    from federation.model.dimension import DimensionGroup
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

    Source = Transaction | Registry

__all__ = ["View", "dataset_type_of", "group_of", "registry_of", "types_of", "values_of", "views"]


@attrs.frozen(eq=False)
class View:
    """One schema, open for reading: its physical tables by logical name."""

    held: HeldSchema
    connection: sa.Connection
    tables: Mapping[str, sa.Table]

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        keys: Iterable[tuple[Any, ...]],
        names: Sequence[str] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Rows with these values, as tuples of ``names`` (None: all columns); nothing where there is no such table."""
        if table in self.tables:
            yield from select_by_keys(self.connection, self.tables[table], columns, keys, names)


def registry_of(source: Source) -> Registry:
    """The registry that is read."""
    return source.registry if isinstance(source, Transaction) else source


def views(source: Source) -> Iterator[View]:
    """Every schema that the registry holds; a transaction's own, as it is changed by now, comes first.

    A view is open until the next one is asked for.
    """
    here = None
    if isinstance(source, Transaction):
        here = source.held
        yield View(here, source.connection, {name: source.physical(name) for name in source.tables})
    registry = registry_of(source)
    for held in registry.held():
        if held != here:
            with registry.database.read((held.physical,)) as connection:
                tables = tuple(registry.tables_in(connection, held.physical).values())
                yield View(held, connection, registry.physical_tables(held.physical, tables))


def types_of(source: Source, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Dataset types of datasets; `NotFoundError` names one that no schema here knows."""
    wanted = dict.fromkeys(ids)
    found: dict[uuid.UUID, str] = {}
    if not wanted:
        return found
    for view in views(source):
        keys = [(i,) for i in wanted if i not in found] if found else [(i,) for i in wanted]
        found.update(view.rows("dataset", ("dataset_id",), keys, ("dataset_id", "dataset_type")))
        if len(found) == len(wanted):
            return found
    missing = next(i for i in wanted if i not in found)
    raise NotFoundError(
        f"dataset {missing} is not known at {registry_of(source).site}",
        hint="register it, or follow the site that has it",
    )


def dataset_type_of(source: Source, name: str) -> DatasetType:
    """The dataset type as it is declared in the nearest schema that does; `NotFoundError` where none does."""
    for view in views(source):
        for row in view.rows("dataset_type", ("name",), [(name,)]):
            return DatasetType.from_row(dict(zip(view.tables["dataset_type"].c.keys(), row, strict=True)))
    raise NotFoundError(
        f"dataset type {name!r} is not declared at {registry_of(source).site}", hint="declare it first"
    )


def group_of(source: Source, name: str) -> DimensionGroup:
    """The dimensions of a dataset type."""
    return registry_of(source).universe.group(dataset_type_of(source, name).dimensions)


def values_of(
    source: Source, dataset_type: str, columns: Sequence[str], ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, tuple[Any, ...]]:
    """Values of ``columns`` of datasets of one type, of the nearest schema that has them; unknown ones are left out."""
    wanted = dict.fromkeys(ids)
    found: dict[uuid.UUID, tuple[Any, ...]] = {}
    if not wanted:
        return found
    names = ("dataset_id", *columns)
    for view in views(source):
        keys = [(i,) for i in wanted if i not in found] if found else [(i,) for i in wanted]
        for row in view.rows(dataset_type, ("dataset_id",), keys, names):
            found[row[0]] = row[1:]
        if len(found) == len(wanted):
            break
    return found
