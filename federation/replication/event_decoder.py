"""Entries of a change log as typed events; decides without I/O, and asks two functions for what the log left out."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from federation.changelog import decode_changes
from federation.model import events
from federation.model.change import Operation
from federation.model.dataset import DatasetType
from federation.model.logical import LogicalType, TableKind, dataset_type_table, dimension_tables
from federation.model.position import Position
from federation.model.system_tables import system_tables
from federation.model.user_table import UserTable
from federation.replication.event_rows import DELETE, PUT, UNKNOWN, EntryContext

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from federation.model.change import Change, LogEntry
    from federation.model.dimension import DimensionUniverse
    from federation.model.logical import TableDef
    from federation.model.position import SchemaId

__all__ = ["EventDecoder"]

#: tables that say only what follows from others
_DERIVED = frozenset({"collection_summary"})
#: datasets whose type and run are remembered
_KEPT = 100_000


class EventDecoder:
    """Makes the events of one schema's log.

    ``declared`` gives the logical tables of the schema as they are now, by name; ``names`` type and run of datasets
    that the log has not told of. Both are asked only when they are needed, ``names`` once for each entry.
    """

    def __init__(
        self,
        schema: SchemaId,
        universe: DimensionUniverse,
        declared: Callable[[], Mapping[str, TableDef]],
        names: Callable[[Collection[bytes]], Mapping[bytes, tuple[str, str]]],
    ) -> None:
        self.schema, self._universe = schema, universe
        self._declared, self._names = declared, names
        self._tables = {table.name: table for table in (*system_tables(), *dimension_tables(universe))}
        self._asked: set[str] = set()
        self._known: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    def decode(self, epoch: str, entry: LogEntry) -> list[events.Event]:
        """The events of one entry in the order of its changes; `CorruptionError` when it cannot be read."""
        changes = decode_changes(entry.body)
        for change in changes:
            self._learn(change)
        base = {
            "position": Position(self.schema.site, self.schema.name, epoch, entry.lsn),
            "committed_tai_ns": entry.committed_tai_ns,
        }
        context = EntryContext(
            base, self._dataset_rows(changes), self._removed_types(changes), self._named(changes)
        )
        found = [event for change in changes for event in self._events(change, context)]
        for change in changes:
            if change.table == "dataset" and change.operation is Operation.DELETE:
                for (identity,) in change.rows:
                    self._known.pop(identity, None)
        return found

    # -- what is known ----------------------------------------------------------------------------------------

    def _learn(self, change: Change) -> None:
        """Take note of declarations and of datasets."""
        if change.operation is not Operation.PUT:
            return
        if change.table == "dataset_type":
            for row in _dicts(change):
                kind = DatasetType.from_row(row)
                self._tables[kind.name] = dataset_type_table(self._universe, kind)
        elif change.table == "user_table":
            for row in _dicts(change):
                table = UserTable.from_row(row).table()
                self._tables[table.name] = table
        elif change.table == "dataset":
            for row in _dicts(change):
                self._remember(row["dataset_id"], (row["dataset_type"], row["run"]))

    def _remember(self, identity: bytes, names: tuple[str, str]) -> None:
        self._known[identity] = names
        self._known.move_to_end(identity)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _table(self, name: str) -> TableDef | None:
        """The logical table as last declared; None where nobody knows it any more."""
        if name not in self._tables and name not in self._asked:
            for declared in self._declared().values():
                self._tables.setdefault(declared.name, declared)
            self._asked.add(name)
        return self._tables.get(name)

    def _kind(self, change: Change) -> TableKind | None:
        table = self._table(change.table)
        return table.kind if table is not None else None

    def _dataset_rows(self, changes: Iterable[Change]) -> dict[bytes, dict[str, Any]]:
        """Rows of dataset types' tables that were put for datasets put in the same transaction, by dataset."""
        added = {
            row["dataset_id"]
            for change in changes
            if change.table == "dataset" and change.operation is Operation.PUT
            for row in _dicts(change)
        }
        return {
            row["dataset_id"]: row
            for change in changes
            if added and change.operation is Operation.PUT and self._kind(change) is TableKind.DATASET_TYPE
            for row in _dicts(change)
            if row["dataset_id"] in added
        }

    def _removed_types(self, changes: Iterable[Change]) -> dict[bytes, str]:
        """The dataset type of each dataset that was removed."""
        return {
            row[0]: change.table
            for change in changes
            if change.operation is Operation.DELETE and self._kind(change) is TableKind.DATASET_TYPE
            for row in change.rows
        }

    def _named(self, changes: Iterable[Change]) -> dict[bytes, tuple[str, str]]:
        """Type and run of every dataset that the changes speak of without saying them."""
        wanted = dict.fromkeys(
            row["dataset_id"]
            for change in changes
            if change.table in ("artifact", "metric")
            for row in _dicts(change)
        )
        found = {identity: self._known[identity] for identity in wanted if identity in self._known}
        missing = [identity for identity in wanted if identity not in found]
        if missing:
            for identity, names in self._names(missing).items():
                self._remember(identity, names)
                found[identity] = names
        return found

    # -- events -----------------------------------------------------------------------------------------------

    def _events(self, change: Change, entry: EntryContext) -> Iterator[events.Event]:
        is_put = change.operation is Operation.PUT
        name = change.table
        if name == "dataset":
            yield from self._datasets(change, entry) if is_put else self._removed(change, entry)
        elif (make := (PUT if is_put else DELETE).get(name)) is not None:
            for row in _dicts(change):
                yield make(row, entry)
        elif name in _DERIVED:
            return
        elif self._kind(change) is TableKind.DIMENSION:
            for record in self._rows(change):
                if is_put:
                    yield events.RecordInserted(element=name, record=record, **entry.base)
                else:
                    yield events.RecordRemoved(element=name, key=record, **entry.base)
        else:
            rows = self._rows(change)
            if self._kind(change) is TableKind.DATASET_TYPE:  # said by the events of the datasets themselves
                told = entry.rows if is_put else entry.removed
                rows = [row for row in rows if row["dataset_id"].bytes not in told]
            if rows:
                yield events.RowsChanged(
                    name=name, operation=change.operation.value, rows=tuple(rows), **entry.base
                )

    def _datasets(self, change: Change, entry: EntryContext) -> Iterator[events.Event]:
        for row in _dicts(change):
            kind, own = row["dataset_type"], entry.rows.get(row["dataset_id"], {})
            table = self._table(kind)
            values = self._typed(table, own)
            dimensions = {
                name: value
                for name, value in values.items()
                if name in self._universe and name not in ("dataset_id", "run")
            }
            metadata = {
                name: value
                for name, value in values.items()
                if name not in dimensions and name not in ("dataset_id", "run")
            }
            yield events.DatasetAdded(
                dataset_id=UUID(bytes=row["dataset_id"]),
                dataset_type=kind,
                run=row["run"],
                data_id=dimensions,
                metadata=metadata,
                **entry.base,
            )

    def _removed(self, change: Change, entry: EntryContext) -> Iterator[events.Event]:
        for (identity,) in change.rows:
            kind, run = self._known.get(identity, UNKNOWN)
            yield events.DatasetRemoved(
                dataset_id=UUID(bytes=identity),
                dataset_type=kind or entry.removed.get(identity, ""),
                run=run,
                **entry.base,
            )

    def _rows(self, change: Change) -> list[dict[str, Any]]:
        table = self._table(change.table)
        return [self._typed(table, row) for row in _dicts(change)]

    def _typed(self, table: TableDef | None, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with UUIDs as such; of a table that is not known any more, as it was logged."""
        ids = {c.name for c in table.stored if c.type is LogicalType.UUID} if table is not None else ()
        return {
            name: UUID(bytes=value) if name in ids and isinstance(value, bytes) else value
            for name, value in row.items()
        }


def _dicts(change: Change) -> Iterator[dict[str, Any]]:
    return (dict(zip(change.columns, row, strict=True)) for row in change.rows)
