"""Tables that users bring, from files or as Arrow, as columns of logical types; what has no such type is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from federation.errors import NotFoundError, UserError
from federation.model.logical import LogicalType
from federation.wire.arrow import ARROW_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.logical import TableDef

__all__ = ["TimeScale", "check_keys", "fitted", "logical_table", "read_file", "stored_columns"]

#: how times without a zone are meant
TimeScale = Literal["tai", "utc"]

_SUFFIXES = (".csv", ".tsv", ".parquet", ".arrow", ".feather")


def read_file(path: Path) -> pa.Table:
    """The rows of a CSV, TSV, Parquet or Arrow (Feather) file, types as written or, in a text, as they look.

    `NotFoundError` where there is no file, `UserError` for one that is not what its name says.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(
            f"{path}: the name does not say what kind of table it is", hint="one of " + " ".join(_SUFFIXES)
        )
    if not path.is_file():
        raise NotFoundError(f"no file {path}", hint="check the path")
    from pyarrow import feather, parquet

    try:
        if suffix in (".csv", ".tsv"):
            return _read_text(path, "\t" if suffix == ".tsv" else ",")
        if suffix == ".parquet":
            return parquet.read_table(path)
        return feather.read_table(path, memory_map=False)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        raise UserError(
            f"{path} is not a readable {suffix[1:]} file: {text}", hint="mend the file"
        ) from error


def _read_text(path: Path, delimiter: str) -> pa.Table:
    from pyarrow import csv

    found = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))
    for field in found.schema:
        if pa.types.is_binary(field.type):
            raise UserError(
                f"{path}: column {field.name!r} is not all UTF-8", hint="write the file in the encoding UTF-8"
            )
    return found


def logical_table(
    data: pa.Table, place: str, time_scale: TimeScale | None = None
) -> tuple[pa.Table, tuple[str, ...]]:
    """The same rows with a logical type for each column, and notes on what was changed.

    Times without a zone are TAI, or UTC that is converted where ``time_scale`` says so; times with a zone need that.
    NaN becomes NULL. `UserError` names ``place`` and the column that has no logical type, or the row of a bad value.
    """
    notes: list[str] = []
    fields, columns = [], []
    for field, column in zip(data.schema, data.columns, strict=True):
        where = f"{place}: column {field.name!r}"
        made, kind = _column(column, where, time_scale, notes)
        fields.append(pa.field(field.name, ARROW_TYPES[kind]))
        columns.append(made)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields)), tuple(notes)


def _column(
    column: pa.ChunkedArray, where: str, time_scale: TimeScale | None, notes: list[str]
) -> tuple[pa.ChunkedArray, LogicalType]:
    type_ = column.type
    if pa.types.is_dictionary(type_):
        column, type_ = column.cast(type_.value_type), type_.value_type
    if type_ == ARROW_TYPES[LogicalType.UUID]:
        return column, LogicalType.UUID
    if pa.types.is_integer(type_):
        return _cast(column, LogicalType.INT64, where), LogicalType.INT64
    if pa.types.is_floating(type_):
        return _floats(_cast(column, LogicalType.FLOAT64, where), where, notes), LogicalType.FLOAT64
    if pa.types.is_boolean(type_):
        return column, LogicalType.BOOL
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        column = _cast(column, LogicalType.STRING, where)
        _refuse_rows(pc.match_substring(column, "\0"), where, "holds the character U+0000", "remove it")
        return column, LogicalType.STRING
    if pa.types.is_null(type_):
        notes.append(f"{where} has no value at all and is taken for text")
        return _cast(column, LogicalType.STRING, where), LogicalType.STRING
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return _times(column, where, time_scale, notes), LogicalType.TIMESTAMP
    if (
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
        or pa.types.is_binary_view(type_)
    ):
        return _cast(column, LogicalType.BYTES, where), LogicalType.BYTES
    raise UserError(f"{where} has type {type_}, which no column can have", hint=_remedy(type_))


def _remedy(type_: pa.DataType) -> str:
    if pa.types.is_decimal(type_):
        return "cast it to double, or to text where every digit counts"
    if pa.types.is_nested(type_):
        return "give each part a column of its own, or each element a row"
    if pa.types.is_duration(type_) or pa.types.is_time(type_):
        return "make it a number of seconds"
    return "cast it to an integer, double, bool, text or timestamp"


def _cast(column: pa.ChunkedArray, kind: LogicalType, where: str) -> pa.ChunkedArray:
    try:
        return column.cast(ARROW_TYPES[kind])
    except pa.ArrowInvalid as error:
        text = str(error).splitlines()[0]
        raise UserError(f"{where} does not fit {kind}: {text}", hint="correct the value") from error


def _floats(column: pa.ChunkedArray, where: str, notes: list[str]) -> pa.ChunkedArray:
    """NaN as NULL: SQLite has no other NaN, and the sites must agree."""
    is_nan = pc.fill_null(pc.is_nan(column), False)
    count = pc.sum(is_nan).as_py()
    if not count:
        return column
    notes.append(f"{where}: {count} NaN became NULL")
    return pc.if_else(is_nan, pa.scalar(None, pa.float64()), column)


def _times(
    column: pa.ChunkedArray, where: str, time_scale: TimeScale | None, notes: list[str]
) -> pa.ChunkedArray:
    type_ = column.type
    has_zone = pa.types.is_timestamp(type_) and type_.tz is not None
    if has_zone and time_scale != "utc":
        raise UserError(
            f"{where} has times in zone {type_.tz}, and times here are TAI without a zone",
            hint="to have them converted from UTC to TAI give --time-scale utc",
        )
    if has_zone:
        column = column.cast(pa.timestamp(type_.unit))  # the count is of UTC whatever the zone
    if pa.types.is_date(type_):
        column = column.cast(pa.timestamp("ms"))
    column = _cast(column, LogicalType.TIMESTAMP, where)
    if time_scale == "utc":
        notes.append(f"{where}: converted from UTC to TAI")
        return _from_utc(column, where)
    if time_scale is None:
        notes.append(f"{where}: times are taken as TAI; --time-scale utc would convert them")
    return column


def _from_utc(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """UTC as TAI, by the leap seconds that ERFA knows (since 1972, when both began to differ by whole seconds)."""
    import erfa

    table = [row for row in erfa.leap_seconds.get() if row["year"] >= 1972]
    starts = np.array([f"{row['year']:04}-{row['month']:02}-01" for row in table], "datetime64[ns]")
    _refuse_rows(
        pc.less(column, pa.scalar(starts[0], pa.timestamp("ns"))),
        where,
        f"is a UTC time before {starts[0].astype('datetime64[D]')}, when leap seconds began",
        "convert it to TAI yourself",
    )
    offsets_s = np.array([int(row["tai_utc"]) for row in table], np.int64)
    chunks = []
    for chunk in column.chunks:
        values = pc.fill_null(chunk.cast(pa.int64()), int(starts[0].astype(np.int64))).to_numpy()
        places = np.searchsorted(starts.astype(np.int64), values, side="right") - 1
        shifted = pa.array(values + offsets_s[places] * 1_000_000_000, pa.int64())
        chunks.append(pc.if_else(chunk.is_valid(), shifted, None).cast(pa.timestamp("ns")))
    return pa.chunked_array(chunks, pa.timestamp("ns"))


def _refuse_rows(is_bad: pa.ChunkedArray, where: str, what: str, hint: str) -> None:
    row = pc.index(is_bad, True).as_py()
    if row >= 0:
        raise UserError(f"{where}, row {row + 1}: the value {what}", hint=hint)


def fitted(data: pa.Table, table: TableDef, place: str) -> pa.Table:
    """Columns of logical types in the order and types of a table; absent ones are NULL.

    `UserError` for a column that the table lacks, of another type, or without a value where there must be one.
    """
    unknown = [name for name in data.column_names if name not in table.column_names]
    if unknown:
        raise UserError(
            f"{place}: table {table.name} has no column {unknown[0]!r}",
            hint="its columns: " + ", ".join(table.column_names),
        )
    columns = []
    for column in table.columns:
        where, wanted = f"{place}: column {column.name!r}", ARROW_TYPES[column.type]
        if column.name not in data.column_names:
            found = pa.chunked_array([pa.nulls(data.num_rows, wanted)])
        else:
            found = data.column(column.name)
            is_wider = found.type == pa.int64() and wanted == pa.float64()
            if found.type != wanted and (is_wider or found.null_count == len(found)):
                found = found.cast(wanted)
        if found.type != wanted:
            raise UserError(
                f"{where} is {found.type}, in table {table.name} it is {column.type}",
                hint="convert the column",
            )
        if not column.nullable and found.null_count:
            _refuse_rows(pc.is_null(found), where, "is missing", "this column must have a value in every row")
        columns.append(found)
    return pa.Table.from_arrays(
        columns, schema=pa.schema([(c.name, ARROW_TYPES[c.type]) for c in table.columns])
    )


def check_keys(data: pa.Table, key: Sequence[str], place: str) -> None:
    """`UserError` names the first row whose key has a NULL, or is that of a row before it."""
    for name in key:
        _refuse_rows(
            pc.is_null(data.column(name)),
            f"{place}: key column {name!r}",
            "is missing",
            "every row needs a key; without --key rows are numbered",
        )
    plain = [_storage(data.column(name)) for name in key]
    names = [f"k{number}" for number in range(len(key))]
    numbered = pa.table([*plain, pa.array(np.arange(data.num_rows))], names=[*names, "row"])
    groups = numbered.group_by(names).aggregate([("row", "min"), ("row", "max")])
    doubled = groups.filter(pc.not_equal(groups["row_min"], groups["row_max"]))
    if doubled.num_rows:
        first = doubled.sort_by("row_min").slice(0, 1).to_pylist()[0]
        values = ", ".join(f"{n} = {data.column(n)[first['row_min']].as_py()!r}" for n in key)
        raise UserError(
            f"{place}: rows {first['row_min'] + 1} and {first['row_max'] + 1} have one key, {values}",
            hint="remove one, or name more columns with --key",
        )


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(column.type, pa.BaseExtensionType):
        return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    return column


def stored_columns(data: pa.Table) -> dict[str, list[Any]]:
    """Python values by column as they are stored: a UUID as 16 bytes, a time as TAI nanoseconds."""
    out = {}
    for name, column in zip(data.column_names, data.columns, strict=True):
        is_time = pa.types.is_timestamp(column.type)
        out[name] = (column.cast(pa.int64()) if is_time else _storage(column)).to_pylist()
    return out
