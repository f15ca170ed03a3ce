"""Values of rows as people write them in files: times in ISO form, UUIDs as text, bytes as hexadecimal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from federation.errors import UserError
from federation.model.logical import LogicalType
from federation.model.timespan import parse_tai
from federation.registry.butler_fields import is_of_type

if TYPE_CHECKING:
    from federation.model.dimension import DimensionUniverse
    from federation.model.logical import ColumnDef, TableDef

__all__ = ["row_of", "typed_data_id"]


def row_of(table: TableDef, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row of values as the columns' types have them, from values or their texts; `UserError` names ``where``."""
    return {
        name: _value(table.column(name), value, f"{where}: {table.name}.{name}")
        for name, value in row.items()
    }


def _value(column: ColumnDef, value: Any, where: str) -> Any:
    """A value as the column's type has it, from itself or its text."""
    if value is None:
        return None
    try:
        if column.type is LogicalType.FLOAT64 and type(value) is int:
            value = float(value)
        elif column.type is LogicalType.TIMESTAMP and isinstance(value, str):
            value = parse_tai(value)
        elif column.type is LogicalType.UUID and isinstance(value, str):
            value = uuid.UUID(value)
        elif column.type is LogicalType.BYTES and isinstance(value, str):
            value = bytes.fromhex(value)
    except (ValueError, OverflowError, UserError) as error:
        raise UserError(
            f"{where} = {value!r} is not of type {column.type.value}", hint="correct the value"
        ) from error
    wanted = LogicalType.INT64 if column.type is LogicalType.TIMESTAMP else column.type
    if not is_of_type(value, wanted):
        raise UserError(f"{where} = {value!r} is not of type {column.type.value}", hint="correct the value")
    return value


def typed_data_id(universe: DimensionUniverse, values: Mapping[str, Any]) -> dict[str, Any]:
    """A data ID whose texts are made integers where the dimension's key is one."""
    out = dict(values)
    for name, value in values.items():
        if isinstance(value, str) and universe[name].key_type is LogicalType.INT64:
            try:
                out[name] = int(value)
            except ValueError:
                raise UserError(
                    f"data ID value {name}={value!r} is not an integer", hint="correct the data ID"
                ) from None
    return out
