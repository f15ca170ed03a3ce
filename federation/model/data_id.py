"""Data IDs: which observation, detector, patch ... a dataset is about.

Two types, never one with states: `DataId` holds the required values only; `ExpandedDataId` holds the implied values
too. Both are immutable and hashable, keep the universe's canonical order, and share the tuple of keys between
instances of one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import UserError
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from federation.model.dimension import DimensionGroup, DimensionUniverse

__all__ = ["DataId", "ExpandedDataId"]

_PYTHON_TYPES: dict[LogicalType, type] = {LogicalType.INT64: int, LogicalType.STRING: str}


@attrs.frozen
class DataId(Mapping[str, Any]):
    """Values of the required dimensions of a group, in canonical order."""

    keys_: tuple[str, ...]
    values_: tuple[Any, ...]

    @classmethod
    def standardize(
        cls, universe: DimensionUniverse, group: DimensionGroup, values: Mapping[str, Any]
    ) -> DataId:
        """A data ID of ``group`` from any mapping that has at least its required dimensions.

        Raises `UserError` that names a missing dimension, an unknown one, or a value of the wrong type. Values of
        implied dimensions are accepted and left out.
        """
        missing = [name for name in group.required if values.get(name) is None]
        if missing:
            raise UserError(
                f"data ID {dict(values)} lacks {', '.join(missing)}",
                hint="it needs " + ", ".join(group.required),
            )
        for name in values:
            if name not in group.names:
                universe[name]  # raises for a name that is no dimension at all
        out = []
        for name in group.required:
            value, expected = values[name], _PYTHON_TYPES[universe[name].key_type]
            if not isinstance(value, expected) or isinstance(value, bool):
                raise UserError(f"data ID value {name}={value!r} is not of type {expected.__name__}")
            out.append(value)
        return cls(group.required, tuple(out))

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
        return "{" + ", ".join(f"{k}: {v!r}" for k, v in zip(self.keys_, self.values_, strict=True)) + "}"


@attrs.frozen
class ExpandedDataId(Mapping[str, Any]):
    """A data ID with the values that its dimension records imply; ``implied_values`` may hold None."""

    minimal: DataId
    implied_keys: tuple[str, ...]
    implied_values: tuple[Any, ...]

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
