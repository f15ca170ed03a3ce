"""Rows of an answer as a table, JSON, CSV, Parquet or Arrow.

Texts, JSON and CSV show a UUID as text, a timestamp as ISO 8601 in TAI with nanoseconds where there are any, bytes as
hexadecimal digits. Parquet and Arrow keep the types.
"""

from __future__ import annotations

import csv
import decimal
import enum
import io
import json
import math
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from federation.cli.output import print_table
from federation.errors import UsageError
from federation.model.timespan import format_tai

__all__ = ["Format", "plain_dicts", "plain_rows", "print_rows", "write_rows"]

#: rows that a table shows
ROWS_SHOWN = 200


class Format(enum.StrEnum):
    """How rows are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def is_binary(self) -> bool:
        return self in (Format.PARQUET, Format.ARROW)


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


def print_rows(table: pa.Table) -> None:
    """A table for reading, of the first rows."""
    numbers = frozenset(
        number
        for number, field in enumerate(table.schema)
        if pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        or pa.types.is_decimal(field.type)
    )
    print_table(table.column_names, plain_rows(table.slice(0, ROWS_SHOWN)), right=numbers)
    count = table.num_rows
    note = f"{count} row{'' if count == 1 else 's'}"
    if count > ROWS_SHOWN:
        note += f", {ROWS_SHOWN} shown; all of them with --format csv, json, parquet or arrow"
    sys.stdout.write(note + "\n")


def write_rows(table: pa.Table, form: Format, output: Path | None) -> None:
    """Rows to a file, whole or not at all, or to standard output."""
    if output is None:
        if form.is_binary and sys.stdout.isatty():
            raise UsageError(
                f"--format {form} is not for a terminal", hint="give --output FILE, or redirect the output"
            )
        if form is Format.TABLE:
            print_rows(table)
        else:
            sys.stdout.flush()
            _write(table, form, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("wb") as file:
            _write(table, form, file)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


def _write(table: pa.Table, form: Format, file: IO[bytes]) -> None:
    if form is Format.PARQUET:
        import pyarrow.parquet as pq

        pq.write_table(table, pa.PythonFile(file, "w"))
    elif form is Format.ARROW:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), table.schema) as writer:
            writer.write_table(table)
    else:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        try:
            (_write_json if form is Format.JSON else _write_csv)(table, text)
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
