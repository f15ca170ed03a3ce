"""Alternate keys in data IDs: a detector by its full name, an exposure by the observatory's name for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from federation.errors import NotFoundError, UserError
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.model.dimension_element import DimensionElement, Field

__all__ = ["RecordLookup", "resolve_alternate_keys"]

_PYTHON_TYPES: dict[LogicalType, type] = {
    LogicalType.INT64: int,
    LogicalType.STRING: str,
    LogicalType.FLOAT64: float,
    LogicalType.BOOL: bool,
    LogicalType.BYTES: bytes,
}


class RecordLookup(Protocol):
    """Finds records of ``element`` by the values of some of its columns; each has at least the key columns.

    The columns are an alternate key and the required dimensions that are known. Two records are enough to show that
    the values are ambiguous.
    """

    def __call__(self, element: str, columns: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]: ...


def resolve_alternate_keys(
    universe: DimensionUniverse, group: DimensionGroup, values: Mapping[str, Any], lookup: RecordLookup
) -> dict[str, Any]:
    """``values`` with dimensions only, for `DataId.standardize`: every alternate key replaced by what it stands for.

    An alternate key is written ``detector.full_name``, or ``full_name`` where one dimension of the group has such a
    key, or as the value of the dimension itself where its type is that of the only alternate key
    (``detector="R22_S11"``). A key may be given beside the dimension's own value if they agree. A record found also
    gives the dimensions that it requires.

    Raises `NotFoundError` for a name that is neither a dimension nor an alternate key, and `UserError` for a value
    that no record has or several have, of the wrong type, or that contradicts another.
    """
    found = {name: value for name, value in values.items() if name in universe}
    wanted: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in universe:
            element, field = _alternate_key(universe, group, name)
            if field.name in wanted.get(element.name, {}) and wanted[element.name][field.name] != value:
                raise UserError(
                    f"data ID has two values for {element.name}.{field.name}", hint="give it once"
                )
            wanted.setdefault(element.name, {})[field.name] = _checked(element, field, value)
        elif (alternate := _in_place(universe[name], value)) is not None:
            wanted.setdefault(name, {})[alternate.name] = value
            del found[name]
    for name in universe.sort(wanted):
        element = universe[name]
        for column, value in wanted[name].items():
            known = {d: found[d] for d in element.required if found.get(d) is not None}
            records = lookup(name, {**known, column: value})
            _take(element, column, value, records, found)
    return found


def _alternate_key(
    universe: DimensionUniverse, group: DimensionGroup, name: str
) -> tuple[DimensionElement, Field]:
    dimension, _, column = name.rpartition(".")
    candidates = [universe[d] for d in ([dimension] if dimension else group.names)]
    matches = [(e, f) for e in candidates for f in e.alternate_keys if f.name == column]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = " or ".join(f"{element.name}.{column}" for element, _ in matches)
        raise UserError(f"{name!r} is an alternate key of several dimensions", hint=f"write {choices}")
    known = [f"{e.name}.{f.name}" for e in candidates for f in e.alternate_keys]
    raise NotFoundError(
        f"{name!r} is neither a dimension nor an alternate key",
        hint=f"dimensions: {', '.join(group.names)}; alternate keys: {', '.join(known) or 'none'}",
    )


def _in_place(element: DimensionElement, value: Any) -> Field | None:
    """The alternate key that a value of the dimension itself stands for; None when it is the primary key's."""
    expected = _PYTHON_TYPES.get(element.key_type) if element.is_dimension else None
    if expected is None or value is None or isinstance(value, (expected, bool)):
        return None
    fitting = [f for f in element.alternate_keys if isinstance(value, _PYTHON_TYPES.get(f.type, ()))]
    return fitting[0] if len(fitting) == 1 else None


def _checked(element: DimensionElement, field: Field, value: Any) -> Any:
    expected = _PYTHON_TYPES.get(field.type)
    if expected is not None and (
        not isinstance(value, expected) or (isinstance(value, bool) and expected is int)
    ):
        raise UserError(
            f"data ID value {element.name}.{field.name}={value!r} is not of type {expected.__name__}",
            hint="write it as the records have it",
        )
    return value


def _take(
    element: DimensionElement,
    column: str,
    value: Any,
    records: Sequence[Mapping[str, Any]],
    found: dict[str, Any],
) -> None:
    """Put the key of the one record into ``found``."""
    assert element.primary_key is not None
    shown = f"{element.name}.{column}={value!r}"
    known = ", ".join(f"{d}={found[d]!r}" for d in element.required if found.get(d) is not None)
    if not records:
        raise UserError(
            f"no {element.name} has {column} {value!r}" + (f" with {known}" if known else ""),
            hint=f"check the value, or give {element.name} itself",
        )
    keys = {d: [record[d] for record in records] for d in element.required}
    keys[element.name] = [record[element.primary_key.name] for record in records]
    for dimension, choices in keys.items():
        if any(choice != choices[0] for choice in choices):
            several = ", ".join(sorted(map(repr, set(choices))))
            raise UserError(
                f"{shown} is ambiguous: {dimension} may be {several}", hint=f"give {dimension} too"
            )
    for dimension, (key, *_) in keys.items():
        if found.get(dimension) is not None and found[dimension] != key:
            raise UserError(
                f"data ID contradicts itself: {dimension}={found[dimension]!r}, but {shown} is of {dimension} {key!r}",
                hint="leave one of them out",
            )
        found[dimension] = key
