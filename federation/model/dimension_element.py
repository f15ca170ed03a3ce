"""The parts of a universe: fields, elements and groups of dimensions, as frozen values."""

from __future__ import annotations

import attrs

from federation.errors import NotFoundError
from federation.model.logical import LogicalType

__all__ = ["DimensionElement", "DimensionGroup", "Field"]


@attrs.frozen
class Field:
    """A named, typed value of an element or of a dataset type."""

    name: str
    type: LogicalType
    nullable: bool = True
    doc: str = ""
    unit: str = ""


@attrs.frozen
class DimensionElement:
    """A dimension, or a relation between dimensions that has records of its own.

    ``required`` excludes the element itself and is closed (the dependencies of dependencies are in it), in canonical
    order; ``implied`` are only those that a record of this element names. ``primary_key`` is None for a relation
    that has no key of its own.
    """

    name: str
    required: tuple[str, ...]
    implied: tuple[str, ...]
    primary_key: Field | None
    alternate_keys: tuple[Field, ...]
    metadata: tuple[Field, ...]
    governor: bool = False
    has_region: bool = False
    has_timespan: bool = False
    derived_from: str = ""
    is_skypix: bool = False
    doc: str = ""

    @property
    def is_dimension(self) -> bool:
        """Whether it can be a key of a data ID."""
        return self.primary_key is not None

    @property
    def key_type(self) -> LogicalType:
        """Type of the dimension's value in a data ID."""
        if self.primary_key is None:
            raise NotFoundError(f"{self.name!r} has no key of its own and can't be part of a data ID")
        return self.primary_key.type


@attrs.frozen
class DimensionGroup:
    """A closed set of dimensions in canonical order: ``required`` identify, ``implied`` follow from them."""

    required: tuple[str, ...]
    implied: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.required + self.implied
