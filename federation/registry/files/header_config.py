"""The file that says how quantities of FITS headers become data IDs and dimension records of a universe."""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConfigError, NotFoundError
from federation.model.logical import dimension_tables

if TYPE_CHECKING:
    from federation.model.dimension import DimensionUniverse

__all__ = ["HeaderRules", "Rule", "load_header_rules", "shipped_header_rules"]

_DERIVED = {"observing_day_begin", "observing_day_end"}


@attrs.frozen
class Rule:
    """Where one value comes from: a quantity (``name`` or ``name.attribute``), and what is done to its text."""

    quantity: str
    only_if: tuple[tuple[str, Any], ...] = ()
    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()
    lower: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """The quantities that must be found to know the value."""
        return frozenset((self.quantity.partition(".")[0], *(name for name, _ in self.only_if)))


@attrs.frozen
class HeaderRules:
    """Rules for the values of a data ID by dimension, and of records by element and column."""

    data_id: Mapping[str, Rule]
    records: Mapping[str, Mapping[str, Rule]]


def shipped_header_rules(universe: DimensionUniverse) -> HeaderRules | None:
    """The rules that come with the package for the namespace of a universe; None where there are none."""
    directory = importlib.resources.files("federation") / "universes"
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith("-headers.toml"):
            text = entry.read_text(encoding="utf-8")
            if tomllib.loads(text).get("namespace") == universe.namespace:
                return _parse(text, entry.name, universe)
    return None


def load_header_rules(path: Path, universe: DimensionUniverse) -> HeaderRules:
    """Read a file of rules; `ConfigError` names the file, the key and the remedy."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read header rules {path}: {error}", hint="give a TOML file") from error
    return _parse(text, str(path), universe)


def _parse(text: str, where: str, universe: DimensionUniverse) -> HeaderRules:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: {error}", hint="mend the TOML syntax") from error
    unknown = sorted(set(raw) - {"namespace", "data_id", "records"})
    if unknown or not isinstance(raw.get("data_id"), dict) or not isinstance(raw.get("records", {}), dict):
        problem = f"unknown key {unknown[0]!r}" if unknown else "no [data_id], or records is no table"
        raise ConfigError(f"{where}: {problem}", hint="namespace, [data_id], [records.ELEMENT]")
    if raw.get("namespace", universe.namespace) != universe.namespace:
        raise ConfigError(
            f"{where} is for the universe {raw['namespace']!r}, not {universe.namespace!r}",
            hint="write rules for this universe",
        )
    data_id = {name: _rule(rule, f"{where}: data_id.{name}") for name, rule in raw["data_id"].items()}
    records: dict[str, dict[str, Rule]] = {}
    tables = {table.name: table for table in dimension_tables(universe)}
    try:
        for dimension in data_id:
            universe[dimension]
        for element, columns in raw.get("records", {}).items():
            universe[element]
            table = tables[element]
            place = f"{where}: records.{element}"
            if not isinstance(columns, dict):
                raise ConfigError(f"{place} is not a table", hint='like: name = "instrument"')
            for column in columns:
                table.column(column)
            missing = [name for name in table.key if name not in columns]
            if missing:
                raise ConfigError(f"{place} lacks the key {missing[0]}", hint="give a rule for each key")
            records[element] = {name: _rule(rule, f"{place}.{name}") for name, rule in columns.items()}
    except NotFoundError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from error
    return HeaderRules(data_id, records)


def _rule(raw: Any, where: str) -> Rule:
    if isinstance(raw, str):
        raw = {"quantity": raw}
    if not isinstance(raw, dict) or not isinstance(raw.get("quantity"), str):
        raise ConfigError(f"{where} names no quantity", hint='like "exposure_id", or { quantity = "object" }')
    unknown = sorted(set(raw) - {"quantity", "only_if", "patterns", "lower"})
    if unknown:
        raise ConfigError(
            f"{where}: unknown key {unknown[0]!r}", hint="keys: quantity, only_if, patterns, lower"
        )
    try:
        patterns = tuple((re.compile(pattern), new) for pattern, new in raw.get("patterns", ()))
    except (re.error, TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: patterns: {error}", hint="a list of [regular expression, replacement]"
        ) from error
    only_if = raw.get("only_if", {})
    if not isinstance(only_if, dict):
        raise ConfigError(f"{where}: only_if is not a table", hint="like { can_see_sky = true }")
    rule = Rule(raw["quantity"], tuple(only_if.items()), patterns, bool(raw.get("lower", False)))
    for name in sorted(rule.needs - _DERIVED):
        if name not in _known_quantities():
            raise ConfigError(
                f"{where}: there is no quantity {name!r}",
                hint="quantities: those of astro_metadata_translator, " + ", ".join(sorted(_DERIVED)),
            )
    return rule


def _known_quantities() -> frozenset[str]:
    from astro_metadata_translator.properties import PROPERTIES  # slow to import, as astropy is

    return frozenset(PROPERTIES)
