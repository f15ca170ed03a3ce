"""Dimension records of an export file into rows of the element's logical table, every value checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError
from federation.model.logical import LogicalType, dimension_tables
from federation.model.timespan import Timespan
from federation.registry.butler.content import combine_records
from federation.registry.butler.fields import Fields, is_of_type, short
from federation.registry.butler.yaml_text import Located, RegionBytes

if TYPE_CHECKING:
    from federation.model.dimension import DimensionUniverse
    from federation.model.logical import ColumnDef

__all__ = ["RecordReader"]


class RecordReader:
    """Collects the rows of all elements of one file; a key said twice must be said alike."""

    def __init__(self, universe: DimensionUniverse, where: str) -> None:
        self._universe = universe
        self._fields = Fields(where)
        self._columns = {table.name: table.columns for table in dimension_tables(universe)}
        self._rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {name: {} for name in self._columns}
        self.warnings: dict[str, None] = {}

    def add(self, element: str, record: Located) -> None:
        """Check one record and keep it; `UserError` names file, line, element, column and value."""
        row = self._row(element, record)
        key = tuple(row[column] for column in self._universe.table_key(element))
        rows = self._rows[element]
        known = rows.setdefault(key, row)
        if known is row:
            return
        both = combine_records(known, row)
        if both is None:
            column = next(name for name, value in row.items() if value != known[name])
            raise ConflictError(
                f"{self._fields.where}:{record.line}: {element} {key} is given twice: "
                f"{column} is {short(known[column])} and {short(row[column])}",
                hint="keep one of the two records",
            )
        rows[key] = both

    def rows(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """Rows by element, in canonical order; only elements that have any."""
        return {name: tuple(rows.values()) for name, rows in self._rows.items() if rows}

    def _row(self, element: str, record: Located) -> dict[str, Any]:
        rest = dict(record)
        bounds: dict[str, int | None] = {}
        if self._universe[element].has_timespan:
            span = self._timespan(element, record)
            bounds = {"timespan_begin": span.begin, "timespan_end": span.end}
            for name in ("timespan", "datetime_begin", "datetime_end"):
                rest.pop(name, None)
        row = {}
        for column in self._columns[element]:
            if column.name in bounds:
                row[column.name] = bounds[column.name]
            else:
                row[column.name] = self._value(element, column, rest.pop(column.name, None), record)
        for name, value in rest.items():
            known = [column.name for column in self._columns[element] if column.name not in bounds]
            known += ["datetime_begin", "datetime_end"] if bounds else []
            message = f"{element} has no column {name!r} (value {short(value)})"
            raise self._fields.error(record, message, "its columns: " + ", ".join(known))
        self._derive(element, row, record.line)
        return row

    def _timespan(self, element: str, record: Located) -> Timespan:
        whole = record.get("timespan")
        if whole is None:
            return self._fields.bounds(record, element, "datetime_begin", "datetime_end")
        if not isinstance(whole, Timespan) or "datetime_begin" in record or "datetime_end" in record:
            hint = "give datetime_begin and datetime_end, or one !lsst.daf.butler.Timespan"
            raise self._fields.error(record, f"{element}.timespan {short(whole)} is not understood", hint)
        return whole

    def _value(self, element: str, column: ColumnDef, value: Any, record: Located) -> Any:
        if value is None:
            if column.nullable:
                return None
            raise self._fields.error(record, f"{element} record lacks {column.name}", "it may not be null")
        if column.name == "region":
            if type(value) is RegionBytes:
                return bytes(value)
        elif is_of_type(value, column.type):
            if column.type is LogicalType.FLOAT64:
                return self._float(element, column.name, value)
            return int(value) if column.type is LogicalType.TIMESTAMP else value
        wanted = "region" if column.name == "region" else column.type.value
        hint = "quote a text that looks like a number" if wanted == "string" else f"expected a {wanted} value"
        message = f"{element}.{column.name} {short(value)} is not of type {wanted}"
        raise self._fields.error(record, message, hint)

    def _float(self, element: str, column: str, value: float) -> float | None:
        if not math.isnan(value):
            return float(value)
        # SQLite stores NaN as NULL; one meaning everywhere
        self.warnings[f"{element}.{column}: NaN is read as null"] = None
        return None

    def _derive(self, source: str, row: dict[str, Any], line: int) -> None:
        """The record of an element that exists only by being named in ``source`` (its ``derived_from``)."""
        for name in self._universe[source].implied:
            element = self._universe[name]
            if element.derived_from != source or element.primary_key is None or row[name] is None:
                continue
            record = Located({dimension: row.get(dimension) for dimension in element.required})
            record[element.primary_key.name] = row[name]
            record.line = line
            self.add(name, record)
