"""Rows in the containers of other libraries, which are optional."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from federation.errors import UserError
from federation.execution.row_files import plain_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

__all__ = ["to_astropy", "to_pandas", "to_polars"]

_DAY_NS = 86_400_000_000_000
#: of 1970-01-01, from which timestamps count their nanoseconds
_EPOCH_JD = 2440587.5


def _library(name: str, extra: str) -> ModuleType:
    """An optional library; `UserError` that says how it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name.partition('.')[0]} is not installed",
            hint=f"pip install 'federation[{extra}]', or use to_pylist() or table",
        ) from error


def to_pandas(table: pa.Table) -> Any:
    """A pandas frame; UUIDs are objects `uuid.UUID`, timestamps of TAI without a zone."""
    _library("pandas", "pandas")
    return table.to_pandas()


def to_polars(table: pa.Table) -> Any:
    """A polars frame; UUIDs are texts, as polars has no type for them."""
    polars = _library("polars", "polars")
    columns = {name: _without_uuid(table.column(name)) for name in table.column_names}
    return polars.from_arrow(pa.table(columns))


def to_astropy(table: pa.Table, units: Mapping[str, str]) -> Any:
    """An astropy table: units where ``units`` has them, timestamps as `Time` of scale TAI, NULLs masked.

    UUIDs are texts; so is what has no type in numpy. A unit that astropy does not know stays as it is written.
    """
    # half a second, which most users of this package need not wait for
    from astropy import table as tables
    from astropy import time as times
    from astropy import units as known_units

    made = tables.Table()
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        is_null = np.asarray(column.is_null())
        if pa.types.is_timestamp(column.type):
            made[name] = _time(times, column, is_null)
            continue
        values = _numpy(column, name, table)
        masked = tables.MaskedColumn(values, mask=is_null) if is_null.any() else tables.Column(values)
        if units.get(name):
            masked.unit = known_units.Unit(units[name], parse_strict="silent")
        made[name] = masked
    return made


def _time(times: Any, column: pa.Array, is_null: np.ndarray[Any, Any]) -> Any:
    """Days and the rest of them apart, so that no nanosecond is lost."""
    ns = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    days, rest = np.divmod(ns, _DAY_NS)
    made = times.Time(_EPOCH_JD + days, rest / _DAY_NS, format="jd", scale="tai")
    made.format = "isot"
    if is_null.any():
        made[is_null] = np.ma.masked
    return made


def _numpy(column: pa.Array, name: str, table: pa.Table) -> np.ndarray[Any, Any]:
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return np.asarray(column.fill_null(False if pa.types.is_boolean(kind) else 0))
    if pa.types.is_floating(kind):
        return np.asarray(column.fill_null(float("nan")))
    texts = [row[0] for row in plain_rows(table.select([name]))]
    return np.array(["" if text is None else str(text) for text in texts], dtype=np.str_)


def _without_uuid(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type != pa.uuid():
        return column
    texts = [None if value is None else str(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])
