"""Data IDs as people give them: with alternate keys, and without what their records determine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.errors import NotFoundError, UserError
from federation.model.data_id import DataId
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.registry.lookup_view import LookupView

__all__ = ["complete_data_id"]

_TYPES: dict[LogicalType, type] = {
    LogicalType.INT64: int,
    LogicalType.TIMESTAMP: int,
    LogicalType.STRING: str,
    LogicalType.FLOAT64: float,
    LogicalType.BOOL: bool,
}


def complete_data_id(
    view: LookupView, group: DimensionGroup, values: Mapping[str, Any]
) -> tuple[DataId, Mapping[str, Any]]:
    """(data ID of a group, all dimension values that were given) from any mapping that determines it.

    A key is a dimension, or a column of a dimension's records (``full_name``, or ``detector.full_name`` where several
    have one); a text for a dimension that has numbers is taken for its alternate key. Raises `UserError` that names
    what is missing, unknown or not unique, `NotFoundError` when no record fits.
    """
    try:
        required = tuple(values[name] for name in group.required)
    except KeyError:
        pass
    else:
        universe = view.registry.universe
        if len(values) == len(required) and all(
            type(value) is _TYPES.get(universe[name].key_type)
            for name, value in zip(group.required, required, strict=True)
        ):
            return DataId(group.required, required), {}
    return _Completion(view, group, values).run()


class _Completion:
    """One data ID on its way."""

    def __init__(self, view: LookupView, group: DimensionGroup, values: Mapping[str, Any]) -> None:
        self._view = view
        self._universe: DimensionUniverse = view.registry.universe
        self._group = group
        self._values = values
        self._given: dict[str, Any] = {}
        #: element -> column of its records -> value
        self._conditions: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            if value is not None:
                self._take(key, value)

    def run(self) -> tuple[DataId, dict[str, Any]]:
        ambiguous: str | None = None
        progress = True
        while progress:
            progress = False
            for name in self._undetermined():
                found = self._records(name)
                if len(found) == 1:
                    progress = True
                    self._conditions.pop(name, None)
                    self._given.update(zip(self._key_dimensions(name), found[0], strict=True))
                else:
                    ambiguous = ambiguous or self._several(name, found)
        missing = [name for name in self._group.required if name not in self._given]
        if missing or self._conditions:
            raise UserError(
                f"data ID {dict(self._values)} "
                + (f"lacks {', '.join(missing)}" if missing else "is not unique")
                + (f": {ambiguous}" if ambiguous else ""),
                hint="it needs " + ", ".join(self._group.required),
            )
        names = self._group.required
        return DataId(names, tuple(self._given[name] for name in names)), self._given

    def _take(self, key: str, value: Any) -> None:
        """Sort one item in: a dimension's value, or a condition on a dimension's records."""
        element, dot, column = key.partition(".")
        if not dot and key in self._universe and self._universe[key].is_dimension:
            if key not in self._group.names:
                return
            dimension = self._universe[key]
            if _is_a(value, dimension.key_type):
                self._given[key] = value
                return
            alternates = [field.name for field in dimension.alternate_keys if _is_a(value, field.type)]
            if len(alternates) != 1:
                raise UserError(
                    f"data ID value {key}={value!r} is not of type {_TYPES[dimension.key_type].__name__}",
                    hint="write the value of another key as "
                    + (f"{key}.{dimension.alternate_keys[0].name}" if dimension.alternate_keys else key),
                )
            self._conditions.setdefault(key, {})[alternates[0]] = value
            return
        owners = [element] if dot else [n for n in self._group.names if key in self._columns(n)]
        column = column if dot else key
        if len(owners) != 1 or owners[0] not in self._group.names or column not in self._columns(owners[0]):
            what = "is a column of several dimensions" if len(owners) > 1 else "is no dimension or key"
            raise UserError(
                f"data ID {dict(self._values)}: {key!r} {what} of {', '.join(self._group.names)}",
                hint=f"write {owners[0]}.{key}"
                if len(owners) > 1
                else "it needs " + ", ".join(self._group.required),
            )
        kind = self._columns(owners[0])[column]
        if not _is_a(value, kind):
            raise UserError(f"data ID value {key}={value!r} is not of type {_TYPES[kind].__name__}")
        self._conditions.setdefault(owners[0], {})[column] = value

    def _columns(self, name: str) -> dict[str, LogicalType]:
        """Columns of a dimension's records that may stand in a data ID."""
        element = self._universe[name]
        fields = (*element.alternate_keys, *element.metadata)
        primary = (element.primary_key,) if element.primary_key is not None else ()
        return {field.name: field.type for field in (*primary, *fields) if field.type in _TYPES}

    def _key_dimensions(self, name: str) -> tuple[str, ...]:
        return (*self._universe[name].required, name)

    def _undetermined(self) -> list[str]:
        """Dimensions whose records may say more, those with conditions first and then the most dependent ones."""
        out = []
        for name in reversed(self._group.names):
            element = self._universe[name]
            if element.is_skypix:
                continue
            lacks = [key for key in self._key_dimensions(name) if key not in self._given]
            if name in self._conditions or (lacks and (name in self._given or not element.required)):
                out.append(name)
        return sorted(out, key=lambda name: name not in self._conditions)

    def _records(self, name: str) -> list[tuple[Any, ...]]:
        """Keys of the records that fit what is known, two at most."""
        element = self._universe[name]
        columns = self._universe.table_key(name)
        known = dict(self._conditions.get(name, {}))
        known.update(
            {
                column: self._given[dimension]
                for column, dimension in zip(columns, self._key_dimensions(name), strict=True)
                if dimension in self._given
            }
        )
        known.update({implied: self._given[implied] for implied in element.implied if implied in self._given})
        shown = ", ".join(f'"{column}"' for column in columns)
        where = " AND ".join(f'"{column}" = ?' for column in known)
        found: dict[tuple[Any, ...], None] = {}
        for group in self._view.groups:
            arms = " UNION ".join(
                f'SELECT {shown} FROM "{schema}"."{name}"' + (f" WHERE {where}" if where else "")
                for schema in group.schemas
            )
            with self._view.connection(group) as raw:
                values = [*known.values()] * len(group.members)
                found.update(dict.fromkeys(self._view.run(raw, f"{arms} LIMIT 2", values)))
        if not found and name in self._conditions:
            text = ", ".join(f"{column}={value!r}" for column, value in known.items())
            raise NotFoundError(
                f"no {name} record has {text} at {self._view.registry.site}",
                hint="correct the value, or follow the site that has the record",
            )
        return list(found)

    def _several(self, name: str, found: list[tuple[Any, ...]]) -> str | None:
        if len(found) < 2:
            return None
        keys = self._key_dimensions(name)
        shown = (
            "{" + ", ".join(f"{k}: {v!r}" for k, v in zip(keys, row, strict=True)) + "}" for row in found[:2]
        )
        return f"{name} may be " + " or ".join(shown)


def _is_a(value: Any, kind: LogicalType) -> bool:
    expected = _TYPES.get(kind)
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return (
        expected is not None
        and isinstance(value, expected)
        and (expected is bool or not isinstance(value, bool))
    )
