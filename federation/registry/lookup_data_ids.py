"""Data IDs as people give them to a lookup: with alternate keys, and without what their records determine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.model.alternate_keys import PYTHON_TYPES, resolve_alternate_keys
from federation.model.data_id import DataId
from federation.model.sql_text import listed, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.model.dimension import DimensionGroup
    from federation.registry.lookup_view import LookupView

__all__ = ["complete_data_id"]


def complete_data_id(
    view: LookupView, group: DimensionGroup, values: Mapping[str, Any]
) -> tuple[DataId, Mapping[str, Any]]:
    """(data ID of a group, all dimension values that are known) from any mapping that determines it.

    What may stand for a dimension, and what is refused, says `resolve_alternate_keys`; in short, anything that its
    records have. A mapping that has just the required values is not looked into further.
    """
    universe = view.registry.universe
    try:
        required = tuple(values[name] for name in group.required)
    except KeyError:
        pass
    else:
        if len(values) == len(required) and all(
            type(value) is PYTHON_TYPES.get(universe[name].key_type)
            for name, value in zip(group.required, required, strict=True)
        ):
            return DataId(group.required, required), {}

    def lookup(element: str, columns: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        return _records(view, element, columns)

    found = resolve_alternate_keys(universe, group, values, lookup, complete=True)
    return DataId.standardize(universe, group, found), found


def _records(view: LookupView, element: str, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keys of the records with these values, two of each group of schemas at most."""
    columns = view.registry.universe.table_key(element)
    where = " AND ".join(f"{quoted(column)} = ?" for column in known)
    found: dict[tuple[Any, ...], None] = {}
    for group in view.groups:
        arms = " UNION ".join(
            f"SELECT {listed(columns)} FROM {quoted(schema)}.{quoted(element)}"
            + (f" WHERE {where}" if where else "")
            for schema in group.schemas
        )
        with view.connection(group) as raw:
            values = [*known.values()] * len(group.members)
            found.update(dict.fromkeys(view.run(raw, f"{arms} LIMIT 2", values)))
    return [dict(zip(columns, key, strict=True)) for key in found]
