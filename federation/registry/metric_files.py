"""Metrics as files: CSV, JSON lines or Parquet, one metric a row."""

from __future__ import annotations

import csv
import json
import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from federation.errors import UserError
from federation.registry.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["parse_value", "read_metrics"]

_COLUMNS = ("dataset_id", "name", "value", "unit")


def read_metrics(path: Path) -> list[Metric]:
    """The metrics of a ``.csv``, ``.jsonl`` or ``.parquet`` file with columns dataset_id, name, value and perhaps unit.

    In CSV a value that reads as a number is one. `UserError` names file, row and column.
    """
    try:
        if path.suffix == ".csv":
            return [_metric(where, row, as_text=True) for where, row in _csv(path)]
        if path.suffix in (".jsonl", ".ndjson"):
            return [_metric(where, row) for where, row in _json_lines(path)]
        if path.suffix in (".parquet", ".pq"):
            rows = pq.read_table(path).to_pylist()
            return [_metric(f"{path}: row {number}", row) for number, row in enumerate(rows, 1)]
    except (UnicodeDecodeError, csv.Error, pa.ArrowException) as error:
        raise UserError(
            f"{path} can't be read: {' '.join(str(error).split())}", hint="check its format"
        ) from error
    raise UserError(f"{path} does not say its format", hint="name it .csv, .jsonl or .parquet")


def parse_value(text: str) -> float | str:
    """A number where the text reads as one, else the text.

    >>> parse_value("0.7"), parse_value("good")
    (0.7, 'good')
    """
    try:
        return float(text)
    except ValueError:
        return text


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="more columns than the first line")
        for row in reader:
            yield f"{path}:{reader.line_num}", row


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{where} is not JSON: {error}", hint="correct the file") from error
        if not isinstance(row, dict):
            raise UserError(f"{where} is not an object", hint="write dataset_id, name, value and unit")
        yield where, row


def _metric(where: str, row: Mapping[str, Any], *, as_text: bool = False) -> Metric:
    unknown = [name for name in row if name not in _COLUMNS]
    missing = [name for name in _COLUMNS[:3] if row.get(name) in (None, "")]
    if unknown or missing:
        said = f"unknown column {unknown[0]!r}" if unknown else f"no {missing[0]}"
        raise UserError(f"{where} has {said}", hint="columns: " + ", ".join(_COLUMNS))
    given = row["dataset_id"]
    try:
        dataset_id = (
            given
            if isinstance(given, uuid.UUID)
            else uuid.UUID(bytes=given)
            if isinstance(given, bytes)
            else uuid.UUID(str(given))
        )
    except ValueError:
        raise UserError(f"{where}: dataset_id = {given!r} is not a UUID", hint="write it as text") from None
    value = parse_value(row["value"]) if as_text else row["value"]
    return Metric(dataset_id, row["name"], value, row.get("unit") or None)
