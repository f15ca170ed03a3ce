"""The dimension universe: which dimensions there are, how they depend on one another, and their canonical order.

A universe is read from a TOML file (`DimensionUniverse.load`). Nothing outside that file knows a dimension by name.
The rules are those of the Rubin Data Butler: a *required* dimension is part of an element's identity, an *implied*
one is determined by it; canonical order puts every dimension after those it depends on.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConfigError, NotFoundError
from federation.model.dimension_element import DimensionElement, DimensionGroup, Field
from federation.model.universe_file import parse_universe

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DimensionElement", "DimensionGroup", "DimensionUniverse", "Field"]


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
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cannot read universe file {path}: {error.strerror}", hint="check the path"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"universe file {path} is not UTF-8 text: byte {error.start}", hint="save it as UTF-8"
            ) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str = "universe") -> DimensionUniverse:
        """Build a universe from the text of a universe file; `ConfigError` names ``where``, the key and the remedy."""
        parsed = parse_universe(text, where)
        return cls(parsed.namespace, parsed.version, parsed.elements, parsed.common_skypix, text)

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

    @property
    def governors(self) -> tuple[str, ...]:
        """Names of the dimensions that give the others their meaning and are known to every session."""
        return tuple(element.name for element in self.elements if element.governor)

    @property
    def skypix_systems(self) -> tuple[str, ...]:
        """Names of the skypix dimensions (``htm7``), which have no records, in the order of the file."""
        return tuple(element.name for element in self.elements if element.is_skypix)

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
        named = frozenset(names)
        known = self._groups.get(named)
        if known is None:
            made = self._make_group(named)
            # one object for all spellings of a group, so that data IDs share their keys
            known = self._groups[named] = self._groups.setdefault(frozenset(made.names), made)
        return known

    @cached_property
    def _groups(self) -> dict[frozenset[str], DimensionGroup]:
        return {}

    def _make_group(self, names: frozenset[str]) -> DimensionGroup:
        members: set[str] = set()
        todo = sorted(names)
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
