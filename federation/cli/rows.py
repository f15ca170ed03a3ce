"""Rows of an answer on the terminal, in a file, or on standard output."""

from __future__ import annotations

import enum
import sys
from typing import TYPE_CHECKING

import pyarrow as pa

from federation.cli.output import print_table
from federation.errors import UsageError
from federation.execution.row_files import FileFormat, plain_dicts, plain_rows, write_file, write_stream

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Format", "plain_dicts", "plain_rows", "print_rows", "write_rows"]

#: rows that a table shows
ROWS_SHOWN = 200


class Format(enum.StrEnum):
    """How rows are written: as a table for reading, or as files are."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def is_binary(self) -> bool:
        return self in (Format.PARQUET, Format.ARROW)


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
    """Rows to a file, whole or not at all, or to standard output; a table for reading goes there only."""
    if output is not None:
        write_file(table, FileFormat(form.value), output)
        return
    if form.is_binary and sys.stdout.isatty():
        raise UsageError(
            f"--format {form} is not for a terminal", hint="give --output FILE, or redirect the output"
        )
    if form is Format.TABLE:
        print_rows(table)
        return
    sys.stdout.flush()
    write_stream(table, FileFormat(form.value), sys.stdout.buffer)
    sys.stdout.buffer.flush()
