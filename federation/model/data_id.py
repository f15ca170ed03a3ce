"""Data IDs: which observation, detector, patch ... a dataset is about.

Two types, never one with states: `DataId` holds the required values only; `ExpandedDataId` holds the implied values
too. Both are immutable and hashable, keep the universe's canonical order, and share the tuple of keys between
instances of one group.

::

    mapping, keywords  --DataId.standardize-->  DataId  --expanded-->  ExpandedDataId
    text               --DataId.from_text---->    |    <---minimal--        |
                                                subset                    subset
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import UserError
from federation.model.logical import LogicalType
from federation.model.skypix import check_pixel

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup, DimensionUniverse

__all__ = ["DataId", "ExpandedDataId", "data_id_text", "dimension_value"]

_INT64 = range(-(2**63), 2**63)
_PART = re.compile(r"\s*([a-z][a-z0-9_]*)\s*=\s*(?:(-?[0-9]+)|'((?:[^']|'')*)')\s*(,|\Z)")


@attrs.frozen
class DataId(Mapping[str, Any]):
    """Values of the required dimensions of a group, in canonical order."""

    keys_: tuple[str, ...]
    values_: tuple[Any, ...]

    @classmethod
    def standardize(
        cls,
        universe: DimensionUniverse,
        group: DimensionGroup,
        values: Mapping[str, Any] | None = None,
        /,
        **named: Any,
    ) -> DataId:
        """A data ID of ``group`` from a mapping, keywords or both that have at least its required dimensions.

        Values of dimensions that are implied or not of the group are accepted and left out. Raises `UserError` that
        names a missing dimension, a value of the wrong type, a pixel that a skypix system does not have, or two
        values for one dimension, and `NotFoundError` for a name that is no dimension.
        """
        given = {**(values or {}), **named}
        for name in named:
            if values is not None and name in values and values[name] != named[name]:
                raise UserError(
                    f"data ID has {name}={values[name]!r} and {name}={named[name]!r}", hint="give it once"
                )
        missing = [name for name in group.required if given.get(name) is None]
        if missing:
            raise UserError(
                f"data ID {given} lacks {', '.join(missing)}", hint="it needs " + ", ".join(group.required)
            )
        for name in given:
            if name not in group.names:
                universe[name]  # raises for a name that is no dimension at all
        return cls(
            group.required, tuple(dimension_value(universe, name, given[name]) for name in group.required)
        )

    @classmethod
    def from_text(cls, universe: DimensionUniverse, group: DimensionGroup, text: str) -> DataId:
        """The data ID that `to_text` wrote; `UserError` shows where the text is not as it writes it."""
        values: dict[str, Any] = {}
        position = 0
        while position < len(text):
            match = _PART.match(text, position)
            if match is None:
                raise UserError(
                    f"data ID {text!r} can't be read from {text[position : position + 20]!r} on",
                    hint="write name=7, other='text'",
                )
            name, number, quoted, _ = match.groups()
            if name in values:
                raise UserError(f"data ID {text!r} has {name} twice", hint="give it once")
            values[name] = int(number) if quoted is None else quoted.replace("''", "'")
            position = match.end()
        return cls.standardize(universe, group, values)

    def to_text(self) -> str:
        """``instrument='LSSTCam', detector=94``: for people, and for `from_text`."""
        return ", ".join(
            f"{key}={value}" if isinstance(value, int) else f"{key}='{value.replace(chr(39), chr(39) * 2)}'"
            for key, value in zip(self.keys_, self.values_, strict=True)
        )

    def subset(self, group: DimensionGroup) -> DataId:
        """The data ID of a group whose required dimensions are among these; `UserError` names those that are not."""
        return DataId(group.required, _picked(self, group.required))

    def expanded(self, group: DimensionGroup, implied: Mapping[str, Any]) -> ExpandedDataId:
        """This data ID, of ``group``, with a value (or None: unknown) for each dimension that the group implies.

        Raises `UserError` for a dimension that ``implied`` lacks.
        """
        missing = [name for name in group.implied if name not in implied]
        if missing:
            raise UserError(
                f"data ID {self} has no value for {', '.join(missing)}",
                hint="it takes " + ", ".join(group.implied),
            )
        return ExpandedDataId(
            self.subset(group), group.implied, tuple(implied[name] for name in group.implied)
        )

    def __getitem__(self, name: str) -> Any:
        try:
            return self.values_[self.keys_.index(name)]
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_)

    def __len__(self) -> int:
        return len(self.keys_)

    def __hash__(self) -> int:
        return hash((self.keys_, self.values_))

    def __str__(self) -> str:
        return data_id_text(self.keys_, self.values_)


@attrs.frozen
class ExpandedDataId(Mapping[str, Any]):
    """A data ID with the values that its dimension records imply; ``implied_values`` may hold None."""

    minimal: DataId
    implied_keys: tuple[str, ...]
    implied_values: tuple[Any, ...]

    def subset(self, group: DimensionGroup) -> ExpandedDataId:
        """The expanded data ID of a group whose dimensions are all among these; `UserError` names those that are not.

        A dimension that is implied here may be required there.
        """
        return ExpandedDataId(
            DataId(group.required, _picked(self, group.required)),
            group.implied,
            _picked(self, group.implied, nullable=True),
        )

    def __getitem__(self, name: str) -> Any:
        if name in self.implied_keys:
            return self.implied_values[self.implied_keys.index(name)]
        return self.minimal[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.minimal
        yield from self.implied_keys

    def __len__(self) -> int:
        return len(self.minimal) + len(self.implied_keys)

    def __hash__(self) -> int:
        return hash((self.minimal, self.implied_values))

    def __str__(self) -> str:
        return data_id_text(self, self.values())


def data_id_text(names: Iterable[str], values: Iterable[Any]) -> str:
    """A data ID for messages.

    >>> data_id_text(("instrument", "detector"), ("C", 1))
    "{instrument='C', detector=1}"
    """
    return "{" + ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True)) + "}"


def dimension_value(universe: DimensionUniverse, name: str, value: Any) -> Any:
    """A dimension's value as a plain int or str; `UserError` for one of another type."""
    element = universe[name]
    if element.key_type is LogicalType.STRING:
        if isinstance(value, str):
            return str(value)
        raise UserError(f"data ID value {name}={value!r} is not of type str")
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise UserError(f"data ID value {name}={value!r} is not of type int")
    if number not in _INT64:
        raise UserError(f"data ID value {name}={value!r} does not fit into 64 bits")
    if element.is_skypix:
        check_pixel(name, number)
    return number


def _picked(values: Mapping[str, Any], names: tuple[str, ...], *, nullable: bool = False) -> tuple[Any, ...]:
    missing = [name for name in names if name not in values or (values[name] is None and not nullable)]
    if missing:
        raise UserError(
            f"data ID {values} has no value for {', '.join(missing)}", hint="it has " + ", ".join(values)
        )
    return tuple(values[name] for name in names)
