"""Rows as JSON, CSV, Parquet or Arrow, in a file that is whole or not there, or on a stream.

JSON and CSV show a UUID as text, a timestamp as ISO 8601 in TAI with nanoseconds where there are any, bytes as
hexadecimal digits. Parquet and Arrow keep the types, and have the columns' units as metadata ``unit``.
"""

from __future__ import annotations

import csv
import decimal
import enum
import errno
import io
import json
import math
import os
import uuid
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from federation.errors import LimitError, UsageError, UserError
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FileFormat", "file_format_of", "plain_dicts", "plain_rows", "write_file", "write_stream"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileFormat(enum.StrEnum):
    """How rows are written."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


def file_format_of(path: Path) -> FileFormat:
    """The format that a file's name says; `UsageError` where it says none."""
    try:
        return FileFormat(path.suffix.removeprefix(".").lower())
    except ValueError:
        raise UsageError(
            f"{path} does not say its format", hint="name the format: csv, json, parquet or arrow"
        ) from None


def plain_rows(table: pa.Table) -> Iterator[list[Any]]:
    """Rows of JSON values: text, numbers, true and false, null, lists."""
    for batch in table.to_batches(max_chunksize=8192):
        columns = [_plain_column(batch.column(number)) for number in range(batch.num_columns)]
        yield from (list(row) for row in zip(*columns, strict=True))


def plain_dicts(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Rows as objects of JSON values, by column name."""
    names = table.column_names
    return (dict(zip(names, row, strict=True)) for row in plain_rows(table))


def _plain_column(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        scale = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}[column.type.unit]
        return [None if v is None else format_tai(v * scale) for v in column.cast(pa.int64()).to_pylist()]
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def write_file(table: pa.Table, form: FileFormat, path: Path) -> None:
    """Rows to a file, whole or not at all: under another name until all is on the disk.

    `UserError` where it can't be written, `LimitError` where the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write_stream(table, form, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise LimitError(f"{path}: {error.strerror}", hint="free some space") from error
        raise UserError(f"{path} can't be written: {error.strerror}", hint="give another file") from error
    finally:
        partial.unlink(missing_ok=True)


def write_stream(table: pa.Table, form: FileFormat, file: IO[bytes]) -> None:
    """Rows to an open binary file."""
    if form is FileFormat.PARQUET:
        import pyarrow.parquet as pq

        pq.write_table(table, pa.PythonFile(file, "w"))
    elif form is FileFormat.ARROW:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), table.schema) as writer:
            writer.write_table(table)
    else:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        try:
            (_write_json if form is FileFormat.JSON else _write_csv)(table, text)
            text.flush()
        finally:
            text.detach()


def _write_json(table: pa.Table, text: IO[str]) -> None:
    separator = "["
    for row in plain_dicts(table):
        text.write(f"{separator}\n{json.dumps(row, ensure_ascii=False)}")
        separator = ","
    text.write("[]\n" if separator == "[" else "\n]\n")


def _write_csv(table: pa.Table, text: IO[str]) -> None:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows(plain_rows(table))
