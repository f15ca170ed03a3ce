"""The schemas of one registry as they are read: the nearest first, each through a connection of its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.errors import NotFoundError
from federation.model.dataset import DatasetType
from federation.registry.keyed import VALUES_MAX, chunks, select_by_keys
from federation.registry.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from federation.model.dimension import DimensionGroup
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

    Source = Transaction | Registry

__all__ = [
    "Id",
    "View",
    "dataset_type_of",
    "group_of",
    "id_bytes",
    "registry_of",
    "types_of",
    "values_of",
    "views",
]

#: a dataset id, or its 16 bytes
Id = uuid.UUID | bytes


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

    def of_datasets(
        self, table: str, ids: Collection[bytes], names: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        """(id, *values) of the rows that speak of datasets; ids are their 16 bytes, values as the driver gives them."""
        if not ids or table not in self.tables:
            return
        physical = self.tables[table]
        raw: Any = self.connection.connection.dbapi_connection
        cursor = raw.cursor()
        columns = "".join(f', "{name}"' for name in names)
        place = f'FROM "{physical.schema}"."{physical.name}" WHERE dataset_id'
        if self.connection.dialect.name == "postgresql":
            texts = [identity.hex() for identity in ids]
            cursor.execute(f"SELECT uuid_send(dataset_id){columns} {place} = ANY(%s::uuid[])", (texts,))
            yield from cursor
            return
        for chunk in chunks(ids, VALUES_MAX):
            marks = ", ".join("?" * len(chunk))
            yield from cursor.execute(f"SELECT dataset_id{columns} {place} IN ({marks})", chunk)

    def id_column(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[bytes]:
        """A column of UUIDs read as their 16 bytes, without an object for each."""
        if self.connection.dialect.name == "postgresql":
            return sa.func.uuid_send(column, type_=sa.LargeBinary())
        return sa.type_coerce(column, sa.LargeBinary())


def id_bytes(ids: Iterable[Id]) -> list[bytes]:
    """The 16 bytes of each id, as `View.of_datasets` takes them."""
    return [identity.bytes if isinstance(identity, uuid.UUID) else identity for identity in ids]


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


def types_of(source: Source, ids: Iterable[bytes]) -> dict[bytes, str]:
    """Dataset types of datasets; `NotFoundError` names one that no schema here knows."""
    wanted = dict.fromkeys(ids)
    found = {identity: row[0] for identity, row in _first(source, "dataset", ("dataset_type",), wanted)}
    missing = next((i for i in wanted if i not in found), None)
    if missing is not None:
        raise NotFoundError(
            f"dataset {uuid.UUID(bytes=missing)} is not known at {registry_of(source).site}",
            hint="register it, or follow the site that has it",
        )
    return found


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
    source: Source, dataset_type: str, columns: Sequence[str], ids: Iterable[bytes]
) -> dict[bytes, tuple[Any, ...]]:
    """Values of ``columns`` of datasets of one type, of the nearest schema that has them; unknown ones are left out."""
    return dict(_first(source, dataset_type, columns, dict.fromkeys(ids)))


def _first(
    source: Source, table: str, columns: Sequence[str], ids: Mapping[bytes, None]
) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
    """(id, values) of each dataset in the nearest schema that has a row of it."""
    missing = dict(ids)
    for view in views(source) if missing else ():
        rows = list(view.of_datasets(table, missing, columns))
        for row in rows:
            del missing[row[0]]
        yield from ((row[0], row[1:]) for row in rows)
        if not missing:
            return
