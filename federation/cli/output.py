"""What commands print: text for people, one JSON object for programs, errors in one form."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import FederationError, QueryError

__all__ = ["byte_text", "console", "count_text", "print_error", "print_json", "print_table", "print_text"]


def console(*, stderr: bool = False) -> Console:
    """The terminal; without one, lines are as long as they need to be."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 10_000
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def print_text(text: str) -> None:
    """Plain text on standard output."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: frozenset[int] = frozenset()
) -> None:
    """A table; the columns numbered in ``right`` stand at the right, as numbers do."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    console().print(table)


def print_error(error: FederationError, *, as_json: bool) -> None:
    """The error on standard error; with ``as_json`` as an object on standard output too."""
    if as_json:
        detail: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        if isinstance(error, QueryError) and error.position is not None:
            detail["position"] = error.position
        if error.request_id:
            detail["request"] = error.request_id
        print_json({"error": detail})
    lines = [f"error: {error.message}"]
    if isinstance(error, QueryError) and error.marked():
        lines.append(error.marked())
    if error.hint:
        lines.append(f"hint: {error.hint}")
    if error.request_id:
        lines.append(f"request {error.request_id}")
    sys.stderr.write("\n".join(lines) + "\n")


def count_text(number: int, noun: str) -> str:
    """So many of a thing, whose plural has an s.

    >>> count_text(1, "file"), count_text(2, "file")
    ('1 file', '2 files')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def byte_text(size_bytes: float) -> str:
    """A size for reading.

    >>> byte_text(12_345_678)
    '12.3 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
