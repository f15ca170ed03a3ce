"""Rows for an export: of one schema first, then of whatever else the registry holds."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.model.dataset import DatasetType
from federation.registry.keyed import chunks
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Iterator, Sequence

    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["ExportSource", "FileRow"]

_BATCH = 5000
#: names in one IN list; more are compared here
_NAMES_MAX = 500
Key = tuple[Any, ...]


@attrs.frozen
class FileRow:
    """A dataset as it is written: identity, run, values of its required dimensions, and its file at this site."""

    dataset_id: uuid.UUID
    run: str
    data_id: tuple[Any, ...]
    uri: str | None
    formatter: str | None
    size_bytes: int | None
    checksum: str | None
    present: bool


class ExportSource:
    """Reads schemas one after the other, ``home`` first.

    What a schema refers to was there before it, so that what is read later has it too.
    """

    def __init__(self, registry: Registry, home: HeldSchema) -> None:
        self.registry = registry
        self.home = home
        self.schemas = (home, *(held for held in registry.held() if held != home))
        self._tables: dict[HeldSchema, dict[str, TableDef]] = {}

    def tables(self, held: HeldSchema) -> dict[str, TableDef]:
        """Logical tables of a schema."""
        if held not in self._tables:
            self._tables[held] = self.registry.tables(held.schema)
        return self._tables[held]

    def _physical(self, held: HeldSchema, name: str) -> sa.Table:
        tables = tuple(self.tables(held).values())
        return self.registry.physical_tables(held.physical, tables)[name]

    def rows(self, held: HeldSchema, table: str) -> Iterator[dict[str, Any]]:
        """All rows of a table of one schema, in the order of its key; none where it has no such table."""
        definition = self.tables(held).get(table)
        if definition is None:
            return
        physical = self._physical(held, table)
        statement = sa.select(physical).order_by(*(physical.c[name] for name in definition.key))
        with self.registry.database.read((held.physical,)) as connection:
            for row in connection.execution_options(yield_per=_BATCH).execute(statement):
                yield dict(row._mapping)

    def select(
        self, held: HeldSchema, table: str, columns: Sequence[str], keys: Iterable[Key]
    ) -> Iterator[dict[str, Any]]:
        """Rows of one schema whose columns have one of these value tuples."""
        if table in self.tables(held):
            with self.registry.database.read((held.physical,)) as connection:
                yield from select_rows(connection, self._physical(held, table), columns, keys)

    def find(
        self, table: str, columns: Sequence[str], keys: Iterable[Key]
    ) -> dict[Key, tuple[HeldSchema, dict[str, Any]]]:
        """The row of each unique key, from the nearest schema that has it."""
        missing = set(keys)
        found: dict[Key, tuple[HeldSchema, dict[str, Any]]] = {}
        for held in self.schemas:
            if not missing:
                break
            for row in self.select(held, table, columns, missing):
                found[tuple(row[name] for name in columns)] = (held, row)
            missing -= found.keys()
        return found

    @cached_property
    def dataset_types(self) -> dict[str, DatasetType]:
        """Every dataset type that a schema here declares, those of the home schema first; the nearest of a name."""
        known: dict[str, DatasetType] = {}
        for held in self.schemas:
            for row in self.rows(held, "dataset_type"):
                known.setdefault(row["name"], DatasetType.from_row(row))
        return known

    def datasets(
        self,
        held: HeldSchema,
        dataset_type: str,
        dimensions: Sequence[str],
        *,
        runs: Iterable[str] | None = None,
        ids: Iterable[uuid.UUID] | None = None,
    ) -> Iterator[list[FileRow]]:
        """Batches of datasets of one type, ordered by run and file; those in ``runs``, or with ``ids`` (None: all)."""
        if dataset_type not in self.tables(held):
            return
        typed, artifact = self._physical(held, dataset_type), self._physical(held, "artifact")
        here = sa.and_(artifact.c.dataset_id == typed.c.dataset_id, artifact.c.site == self.registry.site)
        files = [artifact.c[name] for name in ("uri", "formatter", "size_bytes", "checksum", "present")]
        statement = (
            sa.select(typed.c.dataset_id, typed.c.run, *(typed.c[name] for name in dimensions), *files)
            .select_from(typed.outerjoin(artifact, here))
            .order_by(typed.c.run, artifact.c.uri, typed.c.dataset_id)
        )
        chosen = None if runs is None else set(runs)
        if chosen is not None and len(chosen) <= _NAMES_MAX:
            statement = statement.where(typed.c.run.in_(sorted(chosen)))
        parts = [statement] if ids is None else [
            statement.where(typed.c.dataset_id.in_(chunk)) for chunk in chunks(ids, _BATCH)
        ]  # fmt: skip
        with self.registry.database.read((held.physical,)) as connection:
            for part in parts:
                result = connection.execution_options(yield_per=_BATCH).execute(part)
                for batch in result.partitions(_BATCH):
                    rows = [
                        FileRow(
                            row[0],
                            row[1],
                            tuple(row[2:-5]),
                            row[-5],
                            row[-4],
                            row[-3],
                            row[-2],
                            bool(row[-1]),
                        )
                        for row in batch
                        if chosen is None or row[1] in chosen
                    ]
                    yield self._with_files(held, rows)

    def _with_files(self, held: HeldSchema, rows: list[FileRow]) -> list[FileRow]:
        """Files that this site has of another schema's datasets are recorded in its own schemas."""
        without = {row.dataset_id for row in rows if row.uri is None}
        found: dict[uuid.UUID, dict[str, Any]] = {}
        for other in self.schemas:
            if other != held and other.owned and without - found.keys():
                keys = [(identity,) for identity in without - found.keys()]
                for row in self.select(other, "artifact", ("dataset_id",), keys):
                    if row["site"] == self.registry.site:
                        found[row["dataset_id"]] = row
        names = ("uri", "formatter", "size_bytes", "checksum", "present")
        return rows if not found else [
            attrs.evolve(row, **{name: found[row.dataset_id][name] for name in names})
            if row.dataset_id in found
            else row
            for row in rows
        ]  # fmt: skip
