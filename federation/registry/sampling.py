"""Statistics of columns from a bounded sample of a table's rows."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from federation.model.logical import LogicalType
from federation.model.statistics import ColumnStats, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.logical import ColumnDef, TableDef

__all__ = ["SAMPLE_ROWS", "column_stats", "sample_rows", "sampled_columns", "sampled_stats"]

#: rows of a sample: 300 times the common values that are kept would be PostgreSQL's default
SAMPLE_ROWS = 10_000
#: most common values that are kept for a column, and characters of the longest text among them
COMMON_MAX, TEXT_MAX = 50, 80
#: a value is common when it comes this much more often than the average one
_COMMON_TIMES = 1.25
#: rows of a page of PostgreSQL, about: one row of each page would be the best sample
_PAGE_ROWS = 100
_WIDTH = {LogicalType.UUID: 16.0, LogicalType.BOOL: 1.0}


def sampled_columns(table: TableDef) -> tuple[ColumnDef, ...]:
    """The columns of which statistics are kept: all but bytes and those that are not stored."""
    return tuple(column for column in table.stored if column.type is not LogicalType.BYTES)


def sample_rows(
    connection: sa.Connection, physical: sa.Table, columns: Sequence[ColumnDef], row_count: int
) -> list[Any]:
    """Rows of the columns: all where the table has no more than a sample, else about as many, from everywhere in it."""
    chosen = sa.select(*(physical.c[column.name] for column in columns))
    if row_count <= SAMPLE_ROWS:
        return list(connection.execute(chosen.limit(2 * SAMPLE_ROWS)))
    if connection.dialect.name == "postgresql":
        percent = 100.0 * SAMPLE_ROWS / row_count
        # rows of one page are often alike: of many pages some rows tell more than all rows of a few
        of_pages = min(100.0, _PAGE_ROWS * percent)
        sampled = physical.tablesample(sa.func.system(of_pages))
        chosen = sa.select(*(sampled.c[column.name] for column in columns))
        kept = chosen.where(sa.func.random() < percent / of_pages)
        return list(connection.execute(kept.limit(2 * SAMPLE_ROWS)))
    # SQLite reads its table once; only what is chosen leaves it
    every = max(row_count // SAMPLE_ROWS, 1)
    kept = chosen.where(sa.text(f"(random() % {every}) = 0"))
    return list(connection.execute(kept.limit(2 * SAMPLE_ROWS)))


def sampled_stats(
    columns: Sequence[ColumnDef], rows: Sequence[Any], row_count: int, key: Sequence[str]
) -> dict[str, ColumnStats]:
    """Statistics of each column of a sample of a table with so many rows, which ``key`` tells apart."""
    is_whole = len(rows) >= row_count
    by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return {
        column.name: column_stats(
            values, column.type, max(row_count, len(rows)), is_whole, is_key=tuple(key) == (column.name,)
        )
        for column, values in zip(columns, by_column, strict=True)
    }


def column_stats(
    values: Sequence[Any], type_: LogicalType, row_count: int, is_whole: bool, *, is_key: bool = False
) -> ColumnStats:
    """Statistics of one column from values of a sample; with ``is_whole`` these are all there are."""
    filled = [_plain(value) for value in values if value is not None]
    if not filled:
        is_all_null = is_whole or bool(values)
        return ColumnStats(0.0 if is_all_null else None, 1.0 if is_all_null else 0.0, is_complete=is_whole)
    counts = Counter(filled)
    null_fraction = 1.0 - len(filled) / len(values)
    width = _WIDTH.get(type_, 8.0)
    if type_ is LogicalType.STRING:
        width = sum(len(str(value)) * count for value, count in counts.items()) / len(filled)
    distinct = _distinct(counts, len(filled), row_count * (1.0 - null_fraction), is_whole or is_key, is_key)
    if type_ is LogicalType.UUID:
        return ColumnStats(distinct, null_fraction, width=width)
    is_listed = is_whole and len(counts) <= COMMON_MAX
    # where few values came, and all of them again, there are hardly others
    is_listed_here = len(counts) <= COMMON_MAX and (is_whole or min(counts.values()) > 1)
    least = 1 if is_listed_here else max(2.0, _COMMON_TIMES * len(filled) / len(counts))
    common = tuple(
        (value, count / len(values))
        for value, count in counts.most_common(COMMON_MAX)
        if count >= least and not _is_long(value)
    )
    low, high = min(counts), max(counts)
    return ColumnStats(
        distinct,
        null_fraction,
        None if _is_long(low) else low,
        None if _is_long(high) else high,
        is_whole and not _is_long(low) and not _is_long(high),
        common,
        width,
        is_listed and len(common) == len(counts),
    )


def _is_long(value: Value) -> bool:
    return isinstance(value, str) and len(value) > TEXT_MAX


def _plain(value: Any) -> Value:
    if isinstance(value, uuid.UUID):
        return value.hex
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _distinct(counts: Counter[Value], sampled: int, row_count: float, is_known: bool, is_key: bool) -> float:
    """Different values in the whole column: n d / (n - f1 + f1 n / N), of the values d in n sampled rows f1 once.

    The estimator Duj1 of Haas and Stokes, "Estimating the number of classes in a finite population" (1998), which
    PostgreSQL's ANALYZE takes too.
    """
    if is_key:
        return row_count
    if is_known or sampled >= row_count:
        return float(len(counts))
    once = sum(1 for count in counts.values() if count == 1)
    found = sampled * len(counts) / (sampled - once + once * sampled / row_count)
    return min(max(found, float(len(counts))), row_count)
