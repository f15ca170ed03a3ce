"""What the names in an expression mean: dimensions, columns of their records, fields of datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.model.logical import LogicalType
from federation.model.suggestion import suggest

if TYPE_CHECKING:
    from federation.model.dataset import DatasetType
    from federation.model.dimension import DimensionElement, DimensionUniverse
    from federation.queries.syntax import Name

__all__ = ["DatasetField", "ElementField", "Key", "Meaning", "Names", "Part"]

_L = LogicalType
#: what a column holds, or ``timespan``: a pair of columns
Part = LogicalType | None

#: fields that every dataset has, with their types; ``timespan`` is the validity in a CALIBRATION collection
DATASET_FIELDS: dict[str, Part] = {
    "dataset_id": _L.UUID,
    "dataset_type": _L.STRING,
    "run": _L.STRING,
    "collection": _L.STRING,
    "ingest_date": _L.TIMESTAMP,
    "origin": _L.STRING,
    "timespan": None,
}
_ALIASES = {"id": "dataset_id"}
_ENDS = ("begin", "end")


@attrs.frozen
class Key:
    """The value of a dimension."""

    dimension: str
    type: LogicalType


@attrs.frozen
class ElementField:
    """A column of an element's records; ``type`` None is the timespan as a whole."""

    element: str
    field: str
    type: Part
    alternate_key: bool = False


@attrs.frozen
class DatasetField:
    """A field of a dataset; ``type`` None is the timespan as a whole."""

    dataset_type: str
    field: str
    type: Part


Meaning = Key | ElementField | DatasetField


@attrs.frozen(eq=False)
class Names:
    """Resolves names for a query over ``dimensions`` and ``dataset_types``; ``sql`` is the text for errors."""

    universe: DimensionUniverse
    dimensions: tuple[str, ...]
    dataset_types: tuple[DatasetType, ...]

    def resolve(self, name: Name, sql: str) -> Meaning:
        """The meaning; `QueryError` says what there is, or which of several to write."""
        first, *rest = name.parts
        types = {dataset_type.name: dataset_type for dataset_type in self.dataset_types}
        if first in self.universe:
            return self._of_element(self.universe[first], rest, name, sql)
        if first in types:
            return self._of_dataset(types[first], rest, name, sql)
        if len(name.parts) == 1 or (first == "timespan" and len(name.parts) == 2):
            return self._bare(name, sql)
        raise QueryError(
            f"unknown name {first!r}",
            hint=suggest(first, [*self.universe.element_names, *types], "dimensions and dataset types"),
            sql=sql,
            position=name.position,
        )

    def _of_element(self, element: DimensionElement, rest: list[str], name: Name, sql: str) -> Meaning:
        if not rest:
            if not element.is_dimension:
                raise QueryError(
                    f"{element.name!r} is a relation and has no value",
                    hint="write one of its fields: " + ", ".join(_shown(element)),
                    sql=sql,
                    position=name.position,
                )
            return Key(element.name, element.key_type)
        field = ".".join(rest)
        found = _element_fields(self.universe, element).get(field)
        if found is None:
            raise QueryError(
                f"{element.name!r} has no field {field!r}",
                hint=suggest(field, _shown(element), f"{element.name} has"),
                sql=sql,
                position=name.position,
            )
        return found

    def _of_dataset(self, dataset_type: DatasetType, rest: list[str], name: Name, sql: str) -> Meaning:
        known = dataset_fields(dataset_type)
        field = ".".join(rest)
        if rest and rest[0] in dataset_type.dimensions and len(rest) == 1:
            return Key(rest[0], self.universe[rest[0]].key_type)
        found = known.get(_ALIASES.get(field, field))
        if found is None:
            what = (
                f"{dataset_type.name!r} has no field {field!r}"
                if rest
                else (f"{dataset_type.name!r} is a dataset type and has no value")
            )
            raise QueryError(
                what,
                hint=suggest(field, known, f"{dataset_type.name} has"),
                sql=sql,
                position=name.position,
            )
        return found

    def _bare(self, name: Name, sql: str) -> Meaning:
        """A field without its owner: of the datasets, else of the query's dimensions, else of any other."""
        field = str(name)
        inside = [element for element in self.universe.elements if self._is_inside(element)]
        others = [element for element in self.universe.elements if element not in inside]
        found: list[tuple[str, Meaning]] = [
            (dataset_type.name, fields[field])
            for dataset_type in self.dataset_types
            if field in (fields := dataset_fields(dataset_type))
        ]
        for group in (inside, others):
            if not found:
                found = [
                    (element.name, fields[field])
                    for element in group
                    if not element.is_skypix
                    and field in (fields := _own_fields(_element_fields(self.universe, element), element))
                ]
        if len(found) == 1:
            return found[0][1]
        if found:
            raise QueryError(
                f"{field!r} is ambiguous",
                hint="write " + " or ".join(f"{owner}.{field}" for owner, _ in found),
                sql=sql,
                position=name.position,
            )
        known = {*self.universe.element_names, *(t.name for t in self.dataset_types)}
        for dataset_type in self.dataset_types:
            known.update(dataset_fields(dataset_type))
        for element in inside:
            known.update(_own_fields(_element_fields(self.universe, element), element))
        raise QueryError(
            f"unknown name {field!r}",
            hint=suggest(field, known, "there are"),
            sql=sql,
            position=name.position,
        )

    def _is_inside(self, element: DimensionElement) -> bool:
        if element.is_dimension:
            return element.name in self.dimensions
        return set(element.required) <= set(self.dimensions)


def _span(make: type[ElementField] | type[DatasetField], owner: str) -> dict[str, Meaning]:
    return {
        "timespan": make(owner, "timespan", None),
        **{f"timespan.{end}": make(owner, f"timespan_{end}", _L.TIMESTAMP) for end in _ENDS},
        **{f"timespan_{end}": make(owner, f"timespan_{end}", _L.TIMESTAMP) for end in _ENDS},
    }


def dataset_fields(dataset_type: DatasetType) -> dict[str, Meaning]:
    """The fields of a dataset type by name."""
    fields: dict[str, Meaning] = {
        name: DatasetField(dataset_type.name, name, kind) for name, kind in DATASET_FIELDS.items()
    }
    fields |= _span(DatasetField, dataset_type.name)
    for field in dataset_type.metadata:
        fields[field.name] = DatasetField(dataset_type.name, field.name, field.type)
    return fields


def _element_fields(universe: DimensionUniverse, element: DimensionElement) -> dict[str, Meaning]:
    """Everything that may follow the element's name and a dot."""
    fields: dict[str, Meaning] = {}
    for dimension in element.required:
        fields[dimension] = Key(dimension, universe[dimension].key_type)
    for dimension in element.implied:
        fields[dimension] = ElementField(element.name, dimension, universe[dimension].key_type)
    if element.primary_key is not None:
        fields[element.primary_key.name] = Key(element.name, element.primary_key.type)
    for field in element.alternate_keys:
        fields[field.name] = ElementField(element.name, field.name, field.type, alternate_key=True)
    for field in element.metadata:
        fields[field.name] = ElementField(element.name, field.name, field.type)
    if element.has_region:
        fields["region"] = ElementField(element.name, "region", _L.BYTES)
    if element.has_timespan:
        fields |= _span(ElementField, element.name)
    return fields


def _own_fields(fields: dict[str, Meaning], element: DimensionElement) -> dict[str, Meaning]:
    """Without the dimensions and the primary key, which have names of their own."""
    return {
        name: field
        for name, field in fields.items()
        if isinstance(field, ElementField) and name not in element.implied
    }


def _shown(element: DimensionElement) -> list[str]:
    keys = [element.primary_key.name] if element.primary_key else []
    names = [*keys, *(field.name for field in (*element.alternate_keys, *element.metadata))]
    names += ["region"] * element.has_region + [
        "timespan",
        "timespan.begin",
        "timespan.end",
    ] * element.has_timespan
    return [*names, *element.required, *element.implied]
