"""Alternate keys in data IDs: a detector by its full name, an exposure by the observatory's name for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from federation.errors import NotFoundError, UserError
from federation.model.data_id import dimension_value
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.model.dimension_element import DimensionElement, Field

__all__ = ["PYTHON_TYPES", "RecordLookup", "in_place_types", "resolve_alternate_keys"]

#: Python types of the columns that can stand in a data ID
PYTHON_TYPES: dict[LogicalType, type] = {
    LogicalType.INT64: int,
    LogicalType.TIMESTAMP: int,
    LogicalType.STRING: str,
    LogicalType.FLOAT64: float,
    LogicalType.BOOL: bool,
    LogicalType.BYTES: bytes,
}


class RecordLookup(Protocol):
    """Finds records of ``element`` by the values of some of its columns; each has at least the key columns.

    Two records with different keys are enough to show that the values are ambiguous.
    """

    def __call__(self, element: str, columns: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]: ...


def resolve_alternate_keys(
    universe: DimensionUniverse,
    group: DimensionGroup,
    values: Mapping[str, Any],
    lookup: RecordLookup,
    *,
    complete: bool = False,
) -> dict[str, Any]:
    """``values`` with dimensions only, for `DataId.standardize`: every alternate key replaced by what it stands for.

    An alternate key is written ``detector.full_name``, or ``full_name`` where one dimension of the group has such a
    key, or as the value of the dimension itself where its type is that of the only alternate key
    (``detector="R22_S11"``). A key may be given beside the dimension's own value if they agree. A record found also
    gives the dimensions that it requires. Values that are None are left out.

    With ``complete`` any column of a dimension's records may stand for it (``exposure.seq_num``), and records are asked
    for what they determine, too: the instrument of a detector's number, where only one has it.

    Raises `NotFoundError` for a name that is neither a dimension nor such a column and for a value that no record has,
    and `UserError` for one that several have, of the wrong type, or that contradicts another.
    """
    found: dict[str, Any] = {}
    wanted: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in universe:
            element, field = _column(universe, group, name, complete)
            if value is None:
                continue
            known = wanted.setdefault(element.name, {})
            if known.get(field.name, value) != value:
                raise UserError(
                    f"data ID has two values for {element.name}.{field.name}", hint="give it once"
                )
            known[field.name] = _checked(element, field, value)
        elif value is not None:
            alternate = _in_place(universe[name], value) if name in group.names else None
            if alternate is not None:
                wanted.setdefault(name, {})[alternate.name] = value
            else:
                found[name] = dimension_value(universe, name, value) if name in group.names else value
    if wanted or complete:
        _Resolution(universe, group, lookup, found, wanted, complete).run()
    return found


def in_place_types(element: DimensionElement) -> tuple[type, ...]:
    """Types of the values that stand for an alternate key where the dimension's own value is expected."""
    if not element.is_dimension:
        return ()
    own = PYTHON_TYPES.get(element.key_type)
    types = [PYTHON_TYPES[f.type] for f in element.alternate_keys if f.type in PYTHON_TYPES]
    return tuple(one for one in types if types.count(one) == 1 and one not in (own, bool))


def _in_place(element: DimensionElement, value: Any) -> Field | None:
    """The alternate key that a value of the dimension itself stands for; None when it is the primary key's."""
    if isinstance(value, bool) or not isinstance(value, in_place_types(element)):
        return None
    return next(f for f in element.alternate_keys if isinstance(value, PYTHON_TYPES.get(f.type, ())))


def _column(
    universe: DimensionUniverse, group: DimensionGroup, name: str, complete: bool
) -> tuple[DimensionElement, Field]:
    """The dimension, and the column of its records, that a name stands for; alternate keys come before others."""
    dimension, _, column = name.rpartition(".")
    candidates = [universe[d] for d in ([dimension] if dimension else group.names)]
    matches = [(e, f) for e in candidates for f in e.alternate_keys if f.name == column]
    if not matches and complete:
        matches = [(e, f) for e in candidates for f in _own_columns(e) if f.name == column]
    if len(matches) == 1:
        return matches[0]
    kind = "a column of records" if complete else "an alternate key"
    if matches:
        choices = " or ".join(f"{element.name}.{column}" for element, _ in matches)
        raise UserError(f"{name!r} is {kind} of several dimensions", hint=f"write {choices}")
    known = [f"{e.name}.{f.name}" for e in candidates for f in e.alternate_keys]
    raise NotFoundError(
        f"{name!r} is neither a dimension nor {kind}",
        hint=f"dimensions: {', '.join(group.names)}; alternate keys: {', '.join(known) or 'none'}",
    )


def _own_columns(element: DimensionElement) -> list[Field]:
    primary = [] if element.primary_key is None or element.is_skypix else [element.primary_key]
    return [field for field in (*primary, *element.metadata) if field.type in PYTHON_TYPES]


def _checked(element: DimensionElement, field: Field, value: Any) -> Any:
    expected = PYTHON_TYPES.get(field.type)
    if expected is None:
        return value
    accepted = (int, float) if expected is float else expected
    if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
        raise UserError(
            f"data ID value {element.name}.{field.name}={value!r} is not of type {expected.__name__}",
            hint="write it as the records have it",
        )
    return value


@attrs.define
class _Resolution:
    """One data ID on its way: ``found`` grows by the keys of records, until none says more."""

    universe: DimensionUniverse
    group: DimensionGroup
    lookup: RecordLookup
    found: dict[str, Any]
    #: dimension -> column of its records -> value
    wanted: dict[str, dict[str, Any]]
    complete: bool
    ambiguous: UserError | None = None

    def run(self) -> None:
        """Look records up until nothing is wanted; `UserError` for what stays ambiguous."""
        progress = True
        while progress:
            progress = False
            self.ambiguous = None
            for name in [*self.universe.sort(self.wanted), *self._undetermined()]:
                progress = self._ask(name) or progress
        lacks = self.wanted or any(name not in self.found for name in self.group.required)
        if self.ambiguous is not None and lacks:
            raise self.ambiguous

    def _undetermined(self) -> list[str]:
        """Dimensions whose records may say more, the most dependent ones first."""
        if not self.complete:
            return []
        out = []
        for name in reversed(self.group.names):
            element = self.universe[name]
            lacks = any(key not in self.found for key in (*element.required, name))
            is_known = name in self.found or (name in self.group.required and not element.required)
            if lacks and is_known and name not in self.wanted and not element.is_skypix:
                out.append(name)
        return out

    def _ask(self, name: str) -> bool:
        """Take what the one record that fits says; False where several or none do."""
        element = self.universe[name]
        assert element.primary_key is not None
        keys = dict(zip((*element.required, name), self.universe.table_key(name), strict=True))
        conditions = self.wanted.get(name, {})
        known = {keys[d]: self.found[d] for d in element.required if d in self.found}
        if self.complete:
            known.update({d: self.found[d] for d in element.implied if d in self.found})
        own = {keys[name]: self.found[name]} if name in self.found else {}
        records = self.lookup(name, {**known, **own, **conditions})
        found = list(dict.fromkeys(tuple(record[column] for column in keys.values()) for record in records))
        if len(found) == 1:
            self.wanted.pop(name, None)
            self.found.update(zip(keys, found[0], strict=True))
            return True
        if not found and conditions:
            self._refuse(name, known, own)
        if found and self.ambiguous is None:
            self.ambiguous = self._several(name, tuple(keys), found)
        return False

    def _refuse(self, name: str, known: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Raise what says why no record has the values."""
        conditions = self.wanted[name]
        others = self.lookup(name, {**known, **conditions}) if own else ()
        if others:
            key = others[0][self.universe.table_key(name)[-1]]
            shown = ", ".join(f"{name}.{column}={value!r}" for column, value in conditions.items())
            raise UserError(
                f"data ID contradicts itself: {name}={self.found[name]!r}, but {shown} is of {name} {key!r}",
                hint="leave one of them out",
            )
        has = " and ".join(f"{column} {value!r}" for column, value in conditions.items())
        given = ", ".join(f"{column}={value!r}" for column, value in known.items())
        raise NotFoundError(
            f"no {name} has {has}" + (f" with {given}" if given else ""),
            hint=f"check the value, or give {name} itself, or follow the site that has the record",
        )

    def _several(self, name: str, keys: Sequence[str], found: Sequence[Sequence[Any]]) -> UserError:
        conditions = self.wanted.get(name, {})
        shown = [f"{name}.{column}={value!r}" for column, value in conditions.items()]
        if not shown:
            shown = [f"{key}={self.found[key]!r}" for key in keys if key in self.found] or [name]
        position = next(i for i in range(len(keys)) if any(row[i] != found[0][i] for row in found))
        several = ", ".join(sorted({repr(row[position]) for row in found}))
        return UserError(
            f"{', '.join(shown)} is ambiguous: {keys[position]} may be {several}",
            hint=f"give {keys[position]} too",
        )
