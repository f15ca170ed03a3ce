"""Statistics of the tables that a registry holds, looked at again when enough of their rows have changed."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError
from federation.model.statistics import ColumnStats
from federation.registry.exact_values import exact_values
from federation.registry.marks import glance_at_marks, read_marks
from federation.registry.row_counts import count_rows
from federation.registry.sampling import sample_rows, sampled_columns, sampled_stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

    from federation.model.logical import TableDef
    from federation.registry.exact_values import ExactValues
    from federation.registry.marks import Mark
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["SchemaStatistics", "StatisticsSource"]

#: a table is sampled again when its rows have become so many more or fewer, or by this part of them
CHANGED_ROWS, CHANGED_SHARE = 50, 0.1


@attrs.frozen
class _TableSample:
    row_count: int
    columns: Mapping[str, ColumnStats]


@attrs.frozen
class SchemaStatistics:
    """Columns by table; what is exact of them holds at ``mark``. ``version`` changes with any of it."""

    mark: Mark
    columns: Mapping[str, Mapping[str, ColumnStats]]
    version: str


class StatisticsSource:
    """Statistics of one registry, in memory; `refresh` reads the tables, in whatever thread calls it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._samples: dict[str, dict[str, _TableSample]] = {}
        self._known: dict[str, SchemaStatistics] = {}
        self._lock = threading.Lock()

    def known(self, physical: str) -> SchemaStatistics | None:
        """What was found of a physical schema when it was last looked at."""
        return self._known.get(physical)

    def refresh(self) -> int:
        """Look at every schema whose log or copy has moved; returns how many had."""
        with self._lock:
            return sum(self._look_again(held) for held in self._registry.held())

    def _look_again(self, held: HeldSchema) -> bool:
        try:
            (mark,) = glance_at_marks(self._registry.database, (held.physical,))
            known = self._known.get(held.physical)
            if known is not None and known.mark == mark:
                return False
            with self._registry.database.read((held.physical,)) as connection:
                self._known[held.physical] = self._look(connection, held)
        except NotFoundError:  # it was dropped meanwhile
            self._known.pop(held.physical, None)
            return False
        return True

    def _look(self, connection: sa.Connection, held: HeldSchema) -> SchemaStatistics:
        registry = self._registry
        (mark,) = read_marks(connection, (held.physical,))
        tables = tuple(registry.tables_in(connection, held.physical).values())
        physical = registry.physical_tables(held.physical, tables)
        counts = count_rows(connection, held.physical, {table.name: physical[table.name] for table in tables})
        samples = self._samples.setdefault(held.physical, {})
        columns: dict[str, Mapping[str, ColumnStats]] = {}
        for table in tables:
            row_count = counts[table.name].row_count
            if not row_count:
                samples.pop(table.name, None)
                continue
            sample = samples.get(table.name)
            if sample is None or _has_changed(sample, table, row_count):
                sample = _sample(connection, physical[table.name], table, row_count)
                samples[table.name] = sample
            exact = exact_values(connection, physical[table.name], table)
            columns[table.name] = {
                name: _with_exact(stats, exact, name) for name, stats in sample.columns.items()
            }
        return SchemaStatistics(mark, columns, _version(columns))


def _has_changed(sample: _TableSample, table: TableDef, row_count: int) -> bool:
    if any(column.name not in sample.columns for column in sampled_columns(table)):
        return True
    return abs(row_count - sample.row_count) > CHANGED_ROWS + CHANGED_SHARE * sample.row_count


def _sample(connection: sa.Connection, physical: sa.Table, table: TableDef, row_count: int) -> _TableSample:
    columns = sampled_columns(table)
    rows = sample_rows(connection, physical, columns, row_count)
    # a sample grows old, so nothing of it is exact; what is, is read from the index each time
    found = {
        name: attrs.evolve(stats, is_exact=False, is_complete=False)
        for name, stats in sampled_stats(columns, rows, row_count, table.key).items()
    }
    return _TableSample(row_count, found)


def _with_exact(stats: ColumnStats, exact: ExactValues, name: str) -> ColumnStats:
    """A column with what holds of all rows now."""
    if name not in exact:
        return stats
    low, high, values = exact[name]
    if values is None:
        return attrs.evolve(stats, low=low, high=high, is_exact=True)
    shares = {value: share for value, share in stats.common if value in values}
    rest = max(1.0 - stats.null_fraction - sum(shares.values()), 0.0) / max(len(values) - len(shares), 1)
    common = tuple(sorted(((v, shares.get(v, rest)) for v in values), key=lambda item: -item[1]))
    return attrs.evolve(
        stats,
        distinct_count=float(len(values)),
        low=low,
        high=high,
        is_exact=True,
        common=common,
        is_complete=True,
    )


def _version(columns: Mapping[str, Mapping[str, ColumnStats]]) -> str:
    text = repr([(name, sorted(found.items())) for name, found in sorted(columns.items())])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
