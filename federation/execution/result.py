"""The answer to a query: rows in Arrow, where they came from, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pyarrow as pa

from federation.errors import UsageError
from federation.execution.analysis import Analysis
from federation.execution.row_files import FileFormat, file_format_of, write_file
from federation.execution.row_frames import to_astropy, to_pandas, to_polars
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.model.position import Position
    from federation.planner.plan import Missing, OutputColumn, Plan

__all__ = ["FragmentStats", "KeyUse", "Result", "Stream"]


@attrs.frozen
class KeyUse:
    """A table of keys that a fragment was to be asked with; ``is_sent`` is False where there were too many.

    With ``as_filter`` a Bloom filter of them was sent.
    """

    name: str
    count: int
    is_sent: bool
    as_filter: bool = False


@attrs.frozen
class FragmentStats:
    """What one fragment took: ``byte_count`` as sent, keys included, ``seconds`` from the call to the last row.

    ``site_seconds`` is what the site worked of that, by its own account; 0 where it was left before its end. A fragment
    for which there are no ``keys`` at all is not asked for: it takes no round trip.
    """

    id: str
    site: str
    row_count: int
    byte_count: int
    seconds: float
    keys: tuple[KeyUse, ...] = ()
    site_seconds: float = 0.0
    round_trips: int = 0


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
    def analysis(self) -> Analysis:
        """What the query took by site and step, beside what its plan expected: text and JSON values."""
        return Analysis(self)

    @property
    def is_partial(self) -> bool:
        """Whether a site's rows are missing, as the caller allowed; `missing` names them."""
        return bool(self.missing)

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
    def vector(self) -> tuple[Position, ...]:
        """`positions`, and those of schemas that were not read as they were known to give no row: what to ask as of."""
        read = {position.schema_id for position in self.positions}
        return self.positions + tuple(one for one in self.plan.consulted if one.schema_id not in read)

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
        """A pandas frame: UUIDs are objects, timestamps have no zone and are of TAI. Needs pandas."""
        return to_pandas(self.table)

    def to_polars(self) -> Any:
        """A polars frame: UUIDs are texts, timestamps have no zone and are of TAI. Needs polars."""
        return to_polars(self.table)

    def to_astropy(self) -> Any:
        """An astropy `Table`: units where they are known, timestamps as `Time` in TAI, NULLs masked."""
        return to_astropy(self.table, {column.name: column.unit for column in self.columns})

    def to_arrow(self) -> pa.Table:
        """The rows in Arrow; fields have the columns' units as metadata ``unit``."""
        fields = [
            field.with_metadata({"unit": column.unit}) if column.unit else field
            for field, column in zip(self.table.schema, self.columns, strict=True)
        ]
        return pa.Table.from_arrays(self.table.columns, schema=pa.schema(fields))

    def write(self, path: str | Path, file_format: str = "") -> None:
        """Write the rows to a file, whole or not at all: CSV, JSON, Parquet or Arrow, as its name or the format says.

        `UsageError` for another format, `UserError` where the file can't be written.
        """
        target = Path(path)
        if file_format and file_format not in set(FileFormat):
            raise UsageError(
                f"{file_format!r} is no format of a file", hint="formats: " + ", ".join(FileFormat)
            )
        form = FileFormat(file_format) if file_format else file_format_of(target)
        write_file(self.to_arrow(), form, target)

    def to_csv(self, path: str | Path) -> None:
        """Write CSV; as `write`."""
        self.write(path, FileFormat.CSV)

    def to_parquet(self, path: str | Path) -> None:
        """Write Parquet; as `write`."""
        self.write(path, FileFormat.PARQUET)


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
