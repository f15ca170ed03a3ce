"""The dimension universe: which dimensions there are, how they depend on one another, and their canonical order.

A universe is read from a TOML file (`DimensionUniverse.load`). Nothing outside that file knows a dimension by name.
The rules are those of the Rubin Data Butler: a *required* dimension is part of an element's identity, an *implied*
one is determined by it; canonical order puts every dimension after those it depends on.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConfigError, NotFoundError
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DimensionElement", "DimensionGroup", "DimensionUniverse", "Field"]

_FIELD_TYPES = {
    "int": LogicalType.INT64,
    "float": LogicalType.FLOAT64,
    "bool": LogicalType.BOOL,
    "string": LogicalType.STRING,
    "bytes": LogicalType.BYTES,
    "uuid": LogicalType.UUID,
    "timestamp": LogicalType.TIMESTAMP,
}
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@attrs.frozen
class Field:
    """A named, typed value of an element or of a dataset type."""

    name: str
    type: LogicalType
    nullable: bool = True
    doc: str = ""
    unit: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str) -> Field:
        """A field from its entry in a universe file; `ConfigError` names ``where``."""
        unknown = set(raw) - {"name", "type", "nullable", "doc", "unit"}
        if unknown:
            raise ConfigError(
                f"{where}: unknown keys {sorted(unknown)}", hint="a field has name, type, nullable, doc, unit"
            )
        name, type_name = raw.get("name"), raw.get("type")
        if not isinstance(name, str) or not _NAME.match(name):
            raise ConfigError(f"{where}: field name {name!r} is not a lower-case identifier")
        if type_name not in _FIELD_TYPES:
            raise ConfigError(
                f"{where}.{name}: unknown type {type_name!r}", hint="one of " + ", ".join(_FIELD_TYPES)
            )
        return cls(
            name,
            _FIELD_TYPES[type_name],
            bool(raw.get("nullable", True)),
            raw.get("doc", ""),
            raw.get("unit", ""),
        )


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


@attrs.frozen(eq=False)
class DimensionUniverse:
    """All elements of a namespace and version, in canonical order."""

    namespace: str
    version: int
    elements: tuple[DimensionElement, ...]
    common_skypix: str
    source: str = attrs.field(repr=False)

    @classmethod
    def default(cls) -> DimensionUniverse:
        """The universe for optical surveys that the package ships."""
        text = (importlib.resources.files("federation") / "universes" / "survey.toml").read_text()
        return cls.parse(text, "survey.toml")

    @classmethod
    def load(cls, path: Path) -> DimensionUniverse:
        """Read a universe file; `ConfigError` names the file, the key and the remedy."""
        try:
            text = path.read_text()
        except OSError as error:
            raise ConfigError(
                f"cannot read universe file {path}: {error.strerror}", hint="check the path"
            ) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str = "universe") -> DimensionUniverse:
        """Build a universe from the text of a universe file."""
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{where}: {error}", hint="mend the TOML syntax") from error
        unknown = set(raw) - {"namespace", "version", "skypix", "element"}
        if unknown:
            raise ConfigError(
                f"{where}: unknown keys {sorted(unknown)}", hint="namespace, version, skypix, element"
            )
        skypix = raw.get("skypix", {})
        drafts = dict(raw.get("element", {}))
        elements: dict[str, DimensionElement] = {}
        for system, levels in skypix.get("systems", {}).items():
            for level in levels:
                name = f"{system}{level}"
                elements[name] = DimensionElement(
                    name,
                    (),
                    (),
                    Field("id", LogicalType.INT64, nullable=False),
                    (),
                    (),
                    has_region=False,
                    is_skypix=True,
                    doc=f"pixel of {system} at level {level}",
                )
        pending = list(drafts)
        while pending:
            ready = [
                name
                for name in pending
                if all(
                    d in elements
                    for d in (*drafts[name].get("requires", ()), *drafts[name].get("implies", ()))
                )
            ]
            if not ready:
                raise ConfigError(
                    f"{where}: elements {sorted(pending)} depend on one another or on unknown dimensions",
                    hint="each name in requires and implies must be an element declared without a cycle",
                )
            # one at a time in file order, so that the file's order decides between independent elements
            name = ready[0]
            elements[name] = cls._element(name, drafts[name], elements, where)
            pending.remove(name)
        for element in elements.values():
            if element.derived_from and element.derived_from not in elements:
                raise ConfigError(
                    f"{where}: {element.name}.derived_from names unknown element {element.derived_from!r}"
                )
        return cls(
            str(raw.get("namespace", "custom")),
            int(raw.get("version", 0)),
            tuple(elements.values()),
            str(skypix.get("common", "")),
            text,
        )

    @staticmethod
    def _element(
        name: str, raw: Mapping[str, Any], known: Mapping[str, DimensionElement], where: str
    ) -> DimensionElement:
        place = f"{where}: element.{name}"
        if not _NAME.match(name):
            raise ConfigError(f"{place}: not a lower-case identifier")
        allowed = {
            "doc",
            "keys",
            "requires",
            "implies",
            "metadata",
            "governor",
            "region",
            "timespan",
            "derived_from",
        }
        unknown = set(raw) - allowed
        if unknown:
            raise ConfigError(
                f"{place}: unknown keys {sorted(unknown)}", hint="known keys: " + ", ".join(sorted(allowed))
            )
        required: set[str] = set()
        for dimension in raw.get("requires", ()):
            required |= {dimension, *known[dimension].required}
        keys = [Field.parse(key, f"{place}.keys") for key in raw.get("keys", ())]
        return DimensionElement(
            name,
            tuple(d for d in known if d in required),
            tuple(d for d in known if d in set(raw.get("implies", ()))),
            attrs.evolve(keys[0], nullable=False) if keys else None,
            tuple(keys[1:]),
            tuple(Field.parse(field, f"{place}.metadata") for field in raw.get("metadata", ())),
            governor=bool(raw.get("governor", False)),
            has_region=bool(raw.get("region", False)),
            has_timespan=bool(raw.get("timespan", False)),
            derived_from=str(raw.get("derived_from", "")),
            doc=str(raw.get("doc", "")),
        )

    @cached_property
    def _by_name(self) -> dict[str, DimensionElement]:
        return {element.name: element for element in self.elements}

    @cached_property
    def _order(self) -> dict[str, int]:
        return {element.name: position for position, element in enumerate(self.elements)}

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of what the universe means: equal for two files that differ only in prose."""

        def strip(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: strip(item) for key, item in value.items() if key != "doc"}
            return [strip(item) for item in value] if isinstance(value, list) else value

        canonical = json.dumps(strip(tomllib.loads(self.source)), sort_keys=True)
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()

    @property
    def element_names(self) -> tuple[str, ...]:
        """Names of the elements that keep records (all but skypix pixels), in canonical order."""
        return tuple(element.name for element in self.elements if not element.is_skypix)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> DimensionElement:
        try:
            return self._by_name[name]
        except KeyError:
            raise NotFoundError(
                f"unknown dimension {name!r}",
                hint=f"universe {self.namespace} version {self.version} has: "
                + ", ".join(self.element_names),
            ) from None

    def table_key(self, name: str) -> tuple[str, ...]:
        """Key columns of the element's logical table."""
        element = self[name]
        return (*element.required, element.primary_key.name) if element.primary_key else element.required

    def group(self, names: Iterable[str]) -> DimensionGroup:
        """The closed, ordered group that ``names`` span.

        Every dimension that a named one requires or implies is added; a dimension that another member implies, and
        that no member requires, is implied; the rest are required.
        """
        members: set[str] = set()
        todo = list(names)
        while todo:
            element = self[todo.pop()]
            if not element.is_dimension:
                raise NotFoundError(
                    f"{element.name!r} is a relation, not a dimension", hint="name its dimensions instead"
                )
            if element.name not in members:
                members.add(element.name)
                todo.extend((*element.required, *element.implied))
        ordered = sorted(members, key=self._order.__getitem__)
        implied_by = {implied for name in ordered for implied in self[name].implied}
        required_by = {
            dimension for name in ordered for dimension in self[name].required if name not in implied_by
        }
        implied = tuple(name for name in ordered if name in implied_by and name not in required_by)
        return DimensionGroup(tuple(name for name in ordered if name not in implied), implied)

    def sort(self, names: Iterable[str]) -> tuple[str, ...]:
        """``names`` in canonical order."""
        return tuple(sorted(names, key=lambda name: self._order[self[name].name]))
