"""A small federation in memory for tests of the closure: rows by site, answered as sites would, and a plain oracle."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.logical import dataset_type_table, dimension_tables
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables
from federation.snapshot.closure import Closure, ClosureState
from federation.snapshot.lookup import Answer, Lookup, RowsByIds, RowsByKeys

UNIVERSE = DimensionUniverse.default()
Row = dict[str, Any]


@attrs.define
class Sites:
    """Rows by (schema, table); counts the rounds and remembers the lookups it has answered."""

    rows: dict[tuple[SchemaId, str], list[Row]] = attrs.field(factory=lambda: defaultdict(list))
    columns: dict[str, tuple[str, ...]] = attrs.field(
        factory=lambda: {
            table.name: table.stored_names for table in (*system_tables(), *dimension_tables(UNIVERSE))
        }
    )
    lookups: list[Lookup] = attrs.field(factory=list)
    follows: bool = False

    def put(self, site: str, table: str, /, **values: Any) -> None:
        """Add a row; columns not given are NULL."""
        columns = self.columns[table]
        assert set(values) <= set(columns), set(values) - set(columns)
        self.rows[SchemaId(site, site), table].append({name: values.get(name) for name in columns})

    def declare(self, site: str, dataset_type: DatasetType) -> None:
        self.columns[dataset_type.name] = dataset_type_table(UNIVERSE, dataset_type).stored_names
        self.put(site, "dataset_type", **dataset_type.to_row())

    def dataset(
        self, site: str, type_name: str, run: str, dataset_id: uuid.UUID, **data_id: Any
    ) -> uuid.UUID:
        self.put(site, "dataset", dataset_id=dataset_id, dataset_type=type_name, run=run, ingest_date=0)
        self.put(site, type_name, dataset_id=dataset_id, run=run, **data_id)
        return dataset_id

    def table(self, name: str) -> list[Row]:
        return [row for (_, table), rows in self.rows.items() if table == name for row in rows]

    def answer(self, lookup: Lookup) -> Iterable[Answer]:
        self.lookups.append(lookup)
        for (schema, table), rows in self.rows.items():
            if table == lookup.table:
                found = (
                    self._follow(lookup, rows)
                    if self.follows
                    else [row for row in rows if matches(lookup, row)]
                )
                columns = self.columns[table]
                yield Answer(
                    table, schema, columns, tuple(tuple(row[name] for name in columns) for row in found)
                )

    @staticmethod
    def _follow(lookup: Lookup, rows: list[Row]) -> list[Row]:
        """What a site gives that answers transitively from its own rows."""
        found = [row for row in rows if matches(lookup, row)]
        if isinstance(lookup, RowsByIds) and lookup.follow:
            reached = set(lookup.ids)
            while new := {row[lookup.follow] for row in rows if row[lookup.column] in reached} - reached:
                reached |= new
            found = [row for row in rows if row[lookup.column] in reached]
        return found

    def closure(self, seeds: Iterable[uuid.UUID], **named: Iterable[str]) -> Closure:
        state = ClosureState(UNIVERSE)
        requests = state.start(seeds, **named)
        while requests:
            requests = state.receive([answer for lookup in requests for answer in self.answer(lookup)])
        return state.closure()


def matches(lookup: Lookup, row: Row) -> bool:
    if isinstance(lookup, RowsByIds):
        return row[lookup.column] in lookup.ids
    if isinstance(lookup, RowsByKeys):
        return tuple(row[name] for name in lookup.columns) in lookup.keys
    return row[lookup.column] in lookup.names and any(
        (row["timespan_begin"] is None or timespan.end is None or row["timespan_begin"] < timespan.end)
        and (row["timespan_end"] is None or timespan.begin is None or timespan.begin < row["timespan_end"])
        for timespan in lookup.timespans
    )


def fixpoint(seeds: Iterable[Any], step: Callable[[Any], Iterable[Any]]) -> set[Any]:
    """Everything reached from ``seeds``, the plain way."""
    reached: set[Any] = set()
    todo = list(seeds)
    while todo:
        item = todo.pop()
        if item not in reached:
            reached.add(item)
            todo.extend(step(item))
    return reached


def column(closure: Closure, table: str, *names: str) -> set[Any]:
    """Values of one column (or tuples of several) over all schemas."""
    out = set()
    for part in closure.table(table):
        places = [part.columns.index(name) for name in names]
        out |= {row[places[0]] if len(places) == 1 else tuple(row[p] for p in places) for row in part.rows}
    return out
