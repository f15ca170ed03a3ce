"""Values of rows as people write them in files: times in ISO form, UUIDs as text, bytes as hexadecimal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from federation.errors import UserError
from federation.model.alternate_keys import in_place_types
from federation.model.logical import LogicalType
from federation.model.timespan import parse_tai
from federation.registry.butler.fields import is_of_type

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


def typed_data_id(
    universe: DimensionUniverse, values: Mapping[str, Any], *, alternate_keys: bool = False
) -> dict[str, Any]:
    """A data ID whose texts are made integers where the dimension's key is one; `UserError` for another text.

    With ``alternate_keys`` names of other columns of records may be in it, and a text may stay where it can be a key.
    """
    out = dict(values)
    for name, value in values.items():
        type_ = _column_type(universe, name) if alternate_keys else universe[name].key_type
        if not isinstance(value, str) or type_ is not LogicalType.INT64:
            continue
        try:
            out[name] = int(value)
        except ValueError:
            if alternate_keys and name in universe and str in in_place_types(universe[name]):
                continue
            raise UserError(
                f"data ID value {name}={value!r} is not an integer", hint="correct the data ID"
            ) from None
    return out


def _column_type(universe: DimensionUniverse, name: str) -> LogicalType | None:
    """Type of a dimension's key, or of ``dimension.column`` or ``column``; None where that is not clear."""
    if name in universe:
        return universe[name].key_type
    dimension, _, column = name.rpartition(".")
    elements = [element for element in universe.elements if dimension in ("", element.name)]
    types = {
        field.type for e in elements for field in (*e.alternate_keys, *e.metadata) if field.name == column
    }
    return types.pop() if len(types) == 1 else None
