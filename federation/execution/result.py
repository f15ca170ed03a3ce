"""The answer to a query: rows in Arrow, where they came from, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pyarrow as pa

from federation.errors import UserError
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.model.position import Position
    from federation.planner.plan import Missing, OutputColumn, Plan

__all__ = ["FragmentStats", "KeyUse", "Result", "Stream"]


@attrs.frozen
class KeyUse:
    """A table of keys that a fragment was to be asked with; ``is_sent`` is False where there were too many."""

    name: str
    count: int
    is_sent: bool


@attrs.frozen
class FragmentStats:
    """What one fragment took: ``byte_count`` as sent, keys included, ``seconds`` from the call to the last row.

    A fragment for which there are no ``keys`` at all is not asked for.
    """

    id: str
    site: str
    row_count: int
    byte_count: int
    seconds: float
    keys: tuple[KeyUse, ...] = ()


@attrs.frozen(eq=False)
class Result:
    """Rows of a query. ``positions`` say which state of each schema was read, ``missing`` what a partial answer lacks.

    ``seconds`` is the whole time, ``local_seconds`` that of the local engine. ``truncation`` says at which limit the
    rows end, ``""`` where they are complete. Iteration gives dicts as `to_pylist`.
    """

    table: pa.Table = attrs.field(repr=False)
    plan: Plan = attrs.field(repr=False)
    positions: tuple[Position, ...] = ()
    fragments: tuple[FragmentStats, ...] = ()
    seconds: float = 0.0
    local_seconds: float = 0.0
    truncation: str = ""

    @property
    def is_truncated(self) -> bool:
        """Whether there are more rows than these, as the caller's limit allowed."""
        return bool(self.truncation)

    @property
    def columns(self) -> tuple[OutputColumn, ...]:
        return self.plan.columns

    @property
    def missing(self) -> tuple[Missing, ...]:
        return self.plan.missing

    @property
    def row_count(self) -> int:
        return int(self.table.num_rows)

    def __len__(self) -> int:
        return self.row_count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.table.to_batches(max_chunksize=10_000):
            yield from _dicts(pa.Table.from_batches([batch]))

    def to_pylist(self) -> list[dict[str, Any]]:
        """One dict a row: UUIDs as `uuid.UUID`, timestamps as ISO texts of TAI with up to nine decimals."""
        return _dicts(self.table)

    def to_pandas(self) -> Any:
        """A pandas frame; needs pandas."""
        try:
            return self.table.to_pandas()
        except ImportError as error:
            raise UserError(
                "pandas is not installed", hint="pip install pandas, or use to_pylist()"
            ) from error


@attrs.frozen(eq=False)
class Stream:
    """Rows of a query as they come; iterate once, within the context that gave it."""

    schema: pa.Schema
    plan: Plan = attrs.field(repr=False)
    positions: tuple[Position, ...]
    _batches: Iterator[pa.RecordBatch] = attrs.field(repr=False)

    @property
    def missing(self) -> tuple[Missing, ...]:
        return self.plan.missing

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches


def _dicts(table: pa.Table) -> list[dict[str, Any]]:
    names = table.column_names
    columns = [_values(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if column.type == pa.timestamp("ns"):
        return [None if ns is None else format_tai(ns) for ns in column.cast(pa.int64()).to_pylist()]
    values: list[Any] = column.to_pylist()
    return values
