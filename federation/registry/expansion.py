"""Expanding data IDs in bulk: the values that dimension records imply, each record read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from federation.errors import UserError
from federation.model.alternate_keys import in_place_types, resolve_alternate_keys
from federation.model.coded import Coded
from federation.model.data_id import data_id_text
from federation.registry.columns import transposed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.registry.columns import Rows
    from federation.registry.transaction import Transaction

__all__ = ["expand", "without_alternate_keys"]


def without_alternate_keys(tx: Transaction, group: DimensionGroup, rows: Rows) -> Rows:
    """Data IDs with dimensions' own keys only: alternate ones are looked up, each value once."""
    universe = tx.registry.universe
    columns = rows if isinstance(rows, (pa.Table, Mapping)) else transposed(rows)
    names = set(columns.column_names if isinstance(columns, pa.Table) else columns)
    if all(name in universe for name in names) and not _has_values_in_place(universe, names, columns):
        return columns if names else rows
    if isinstance(rows, pa.Table):
        rows = rows.to_pylist()
    elif isinstance(rows, Mapping):
        rows = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    known: dict[tuple[Any, ...], list[dict[str, Any]]] = {}

    def lookup(element: str, columns: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        asked = (element, *columns.items())
        if asked not in known:
            key = tuple(columns.values())
            here = tx.select(element, tuple(columns), [key])
            known[asked] = here or list(tx.registry.rows_elsewhere(tx.held, element, tuple(columns), [key]))
        return known[asked]

    return [resolve_alternate_keys(universe, group, row, lookup) for row in rows]


def _has_values_in_place(
    universe: DimensionUniverse, names: Iterable[str], columns: pa.Table | Mapping[str, Sequence[Any]]
) -> bool:
    """Whether some dimension is given the value of an alternate key in the place of its own."""
    for name in names:
        types = in_place_types(universe[name])
        if types and not _value_types(columns[name]).isdisjoint(types):
            return True
    return False


def _value_types(column: pa.ChunkedArray | Sequence[Any]) -> set[type]:
    """Types of the values of one column."""
    if isinstance(column, pa.ChunkedArray):  # whose values are all of one type
        return {type(value.as_py()) for value in column.drop_null()[:1]}
    return set(map(type, column))


def expand(
    tx: Transaction,
    group: DimensionGroup,
    required: Mapping[str, Coded],
    columns: Mapping[str, Sequence[Any]],
    count: int,
) -> dict[str, Coded]:
    """Values of the implied dimensions of ``count`` data IDs, by dimension; all records of the group must be known.

    ``columns`` may have implied values. `UserError` for an unknown record, and for an implied value that contradicts
    the records.
    """
    universe = tx.registry.universe
    values: dict[str, Coded] = {name: required[name] for name in group.required}
    # what required records imply may itself imply something; canonical order puts what is implied first
    for name in (*group.required, *(name for name in reversed(group.implied) if universe[name].implied)):
        element = universe[name]
        if element.is_skypix:
            continue
        found = _implied_by(tx, name, values, count)
        for dimension in element.implied:
            values[dimension] = _agreed(values, dimension, found[dimension], name)
    for name in group.implied:
        given = columns.get(name) or [None] * count
        implied = values.setdefault(name, Coded.constant(None, count))
        if given.count(None) < count:
            _check_given(group, required, name, given, implied)
    return {name: values[name] for name in group.implied}


def _implied_by(tx: Transaction, name: str, values: Mapping[str, Coded], count: int) -> dict[str, Coded]:
    """What the records of one dimension imply for each data ID."""
    universe = tx.registry.universe
    element = universe[name]
    columns = (*element.required, name)
    keys = Coded.combine([values[column] for column in columns], count)
    wanted = {key for key in keys.values if None not in key}
    target = universe.table_key(name)
    if not element.implied:
        known: Mapping[tuple[Any, ...], Any] = dict.fromkeys(tx.known_keys(name, target, wanted))
    else:
        known = tx.known(name, target, wanted)
    missing = wanted - known.keys()
    if missing:
        key = min(missing, key=str)
        shown = ", ".join(f"{column}={value!r}" for column, value in zip(columns, key, strict=True))
        raise UserError(
            f"data ID {_text(values, keys.index(key))}: no {name} record {shown} at {tx.registry.site}",
            hint=f"insert the {name} record first, or follow the site that has it",
        )
    out: dict[str, Coded] = {}
    for dimension in element.implied:
        out[dimension] = keys.mapped([known[key][dimension] if key in known else None for key in keys.values])
    return out


def _agreed(values: Mapping[str, Coded], dimension: str, implied: Coded, name: str) -> Coded:
    """What is known of a dimension already, completed by what another's records imply."""
    there = values.get(dimension)
    if there is None:
        return implied
    for number, (given, value) in enumerate(zip(there, implied, strict=True)):
        if given is not None and value is not None and given != value:
            raise UserError(
                f"data ID {_text(values, number)}: {dimension} is {given!r}, but {name} implies {value!r}",
                hint="leave out implied values, or mend the record",
            )
    return Coded.of([value if given is None else given for given, value in zip(there, implied, strict=True)])


def _check_given(
    group: DimensionGroup,
    columns: Mapping[str, Sequence[Any]],
    name: str,
    given: Sequence[Any],
    implied: Sequence[Any],
) -> None:
    """Implied values that were given must be those that the records imply."""
    for number, (said, value) in enumerate(zip(given, implied, strict=True)):
        if said is not None and value is not None and said != value:
            required = {key: columns[key] for key in group.required}
            raise UserError(
                f"data ID {_text(required, number)}: {name} is given as {said!r}, but its records imply {value!r}",
                hint="leave out implied values, or mend the record",
            )


def _text(values: Mapping[str, Sequence[Any]], number: int) -> str:
    return data_id_text(values, (column[number] for column in values.values()))
