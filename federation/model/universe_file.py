"""Reading the text of a universe file: every value is checked, and an error names file, key and remedy."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConfigError
from federation.model.dimension_element import DimensionElement, Field
from federation.model.logical import LogicalType
from federation.model.skypix import LEVELS
from federation.model.system_tables import system_tables
from federation.model.universe_values import (
    NAME_LENGTH_MAX,
    get_fields,
    get_names,
    get_value,
    is_name,
    only_keys,
    parse_field,
    plain_key,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ParsedUniverse", "parse_field", "parse_universe"]

_VERSION_MAX = 2**31
#: columns that every dataset type's table has beside its dimensions
_RESERVED = ("dataset_id", "origin", "run")
#: columns that ``region`` and ``timespan`` add to an element
_REGION_COLUMNS = ("region",)
_TIMESPAN_COLUMNS = ("timespan_begin", "timespan_end")


@attrs.frozen
class ParsedUniverse:
    """What a universe file says; ``elements`` in canonical order."""

    namespace: str
    version: int
    common_skypix: str
    elements: tuple[DimensionElement, ...]


def parse_universe(text: str, where: str) -> ParsedUniverse:
    """The universe of a file's text; `ConfigError` for anything that is not as documented."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        message = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "nested too deeply"
        raise ConfigError(f"{where}: {message}", hint="mend the TOML syntax") from error
    only_keys(raw, ("namespace", "version", "skypix", "element"), where)
    namespace = get_value(raw, "namespace", str, "custom", where)
    if not is_name(namespace):
        raise ConfigError(f"{where}: namespace {namespace!r} is not a lower-case identifier")
    version = get_value(raw, "version", int, 0, where)
    if not 0 <= version < _VERSION_MAX:
        raise ConfigError(f"{where}: version {version} is not between 0 and {_VERSION_MAX - 1}")
    skypix = get_value(raw, "skypix", dict, {}, where)
    elements = {element.name: element for element in _skypix_dimensions(skypix, f"{where}: skypix")}
    common = get_value(skypix, "common", str, "", f"{where}: skypix")
    if common and common not in elements:
        raise ConfigError(
            f"{where}: skypix.common names {common!r}, which is not among the systems",
            hint="declared: " + (", ".join(elements) or "none"),
        )
    drafts = get_value(raw, "element", dict, {}, where)
    _check_names(drafts, elements, where)
    for name in _in_order(drafts, elements, where):
        elements[name] = _element(name, drafts[name], elements, f"{where}: element.{name}")
    for element in elements.values():
        _check_derived_from(element, elements, where)
    return ParsedUniverse(namespace, version, common, tuple(elements.values()))


def _skypix_dimensions(skypix: Mapping[str, Any], where: str) -> Iterable[DimensionElement]:
    only_keys(skypix, ("common", "systems"), where)
    for system, levels in get_value(skypix, "systems", dict, {}, where).items():
        place = f"{where}.systems.{plain_key(system)}"
        if system not in LEVELS:
            raise ConfigError(f"{place}: unknown skypix system", hint="there are " + ", ".join(LEVELS))
        low, high = LEVELS[system]
        if not isinstance(levels, list) or not levels:
            raise ConfigError(
                f"{place} is {shown(levels)}, not a list of levels", hint="write [7] for level 7"
            )
        for number, level in enumerate(levels):
            if not isinstance(level, int) or isinstance(level, bool) or not low <= level <= high:
                raise ConfigError(
                    f"{place}: {shown(level)} is not a level", hint=f"levels are {low} to {high}"
                )
            if level in levels[:number]:
                raise ConfigError(f"{place}: level {level} is there twice", hint="name it once")
            yield DimensionElement(
                f"{system}{level}",
                (),
                (),
                Field("id", LogicalType.INT64, nullable=False),
                (),
                (),
                is_skypix=True,
                doc=f"pixel of {system} at level {level}",
            )


def _check_names(drafts: Mapping[str, Any], skypix: Mapping[str, object], where: str) -> None:
    tables = {table.name for table in system_tables()}
    for name, draft in drafts.items():
        place = f"{where}: element.{plain_key(name)}"
        if not is_name(name):
            raise ConfigError(
                f"{place}: the name is not a lower-case identifier of at most {NAME_LENGTH_MAX} characters",
                hint="use a-z, 0-9 and _, a letter first",
            )
        if name in skypix:
            raise ConfigError(f"{place}: a skypix system has this name", hint="choose another")
        if name in tables or name in _RESERVED:
            what = "a system table" if name in tables else "a column of every dataset type"
            raise ConfigError(f"{place}: {what} has this name", hint="choose another")
        if not isinstance(draft, dict):
            raise ConfigError(f"{place} is {shown(draft)}, not a table", hint=f"write [element.{name}]")


def _in_order(drafts: Mapping[str, Any], known: Mapping[str, object], where: str) -> Iterable[str]:
    """Element names so that each follows those it depends on, otherwise as in the file."""
    depends: dict[str, list[str]] = {}
    for name, draft in drafts.items():
        place = f"{where}: element.{name}"
        depends[name] = [*get_names(draft, "requires", place), *get_names(draft, "implies", place)]
        for dependency in depends[name]:
            if dependency not in drafts and dependency not in known:
                raise ConfigError(
                    f"{place}: depends on unknown dimension {dependency!r}",
                    hint="declare it as an element",
                )
    done: dict[str, None] = {}
    while len(done) < len(drafts):
        ready = [n for n in drafts if n not in done and all(d in done or d in known for d in depends[n])]
        if not ready:
            raise ConfigError(
                f"{where}: elements depend on one another: {' -> '.join(_cycle(depends, done))}",
                hint="take one of them out of requires or implies",
            )
        # one at a time, so that the file's order decides between independent elements
        done[ready[0]] = None
    return done


def _cycle(depends: Mapping[str, list[str]], done: Mapping[str, None]) -> list[str]:
    """A chain of dependencies that ends where it began."""
    path = [next(name for name in depends if name not in done)]
    while path.count(path[-1]) == 1:
        path.append(next(name for name in depends[path[-1]] if name in depends and name not in done))
    return path[path.index(path[-1]) :]


_ELEMENT_KEYS = (
    "doc",
    "keys",
    "requires",
    "implies",
    "metadata",
    "governor",
    "region",
    "timespan",
    "derived_from",
)


def _element(
    name: str, raw: Mapping[str, Any], known: Mapping[str, DimensionElement], where: str
) -> DimensionElement:
    only_keys(raw, _ELEMENT_KEYS, where)
    requires, implies = get_names(raw, "requires", where), get_names(raw, "implies", where)
    required: set[str] = set()
    for dimension in requires:
        required |= {dimension, *known[dimension].required}
    keys = get_fields(raw, "keys", where)
    element = DimensionElement(
        name,
        tuple(d for d in known if d in required),
        tuple(d for d in known if d in set(implies)),
        attrs.evolve(keys[0], nullable=False) if keys else None,
        tuple(keys[1:]),
        tuple(get_fields(raw, "metadata", where)),
        governor=get_value(raw, "governor", bool, False, where),
        has_region=get_value(raw, "region", bool, False, where),
        has_timespan=get_value(raw, "timespan", bool, False, where),
        derived_from=get_value(raw, "derived_from", str, "", where),
        doc=get_value(raw, "doc", str, "", where),
    )
    _check_dependencies(element, [*requires, *implies], known, where)
    _check_columns(element, where)
    return element


def _check_dependencies(
    element: DimensionElement, named: list[str], known: Mapping[str, DimensionElement], where: str
) -> None:
    for number, name in enumerate(named):
        if name in named[:number]:
            raise ConfigError(
                f"{where}: {name} is in requires and implies more than once", hint="name it once"
            )
        if not known[name].is_dimension:
            raise ConfigError(
                f"{where}: {name!r} is a relation without a key of its own",
                hint="name its dimensions instead",
            )
    for implied in element.implied:
        if implied in element.required:
            raise ConfigError(f"{where}: {implied} is required and implied", hint="leave it out of implies")
        lacking = set(known[implied].required) - {*element.required, *element.implied}
        if lacking:
            raise ConfigError(
                f"{where}: implies {implied} but not {', '.join(sorted(lacking))}, which that requires",
                hint=f"add {', '.join(sorted(lacking))} to requires",
            )
    if not element.is_dimension and not element.required:
        raise ConfigError(
            f"{where}: has neither keys nor requires", hint="give it a key, or name what it relates"
        )
    if element.governor and (element.required or not element.is_dimension):
        raise ConfigError(f"{where}: a governor has a key and requires nothing", hint="leave out governor")


def _check_columns(element: DimensionElement, where: str) -> None:
    """The columns of the element's table must differ."""
    fields = [element.primary_key, *element.alternate_keys, *element.metadata]
    columns = [*element.required, *element.implied, *(field.name for field in fields if field is not None)]
    columns += _REGION_COLUMNS if element.has_region else ()
    columns += _TIMESPAN_COLUMNS if element.has_timespan else ()
    for number, column in enumerate(columns):
        if column in columns[:number]:
            raise ConfigError(f"{where}: two columns are called {column!r}", hint="rename one of them")
        if column == "origin":
            raise ConfigError(f"{where}: column 'origin' is the owner's", hint="rename it")


def _check_derived_from(
    element: DimensionElement, elements: Mapping[str, DimensionElement], where: str
) -> None:
    seen = [element.name]
    while elements[seen[-1]].derived_from:
        source = elements[seen[-1]].derived_from
        if source not in elements:
            raise ConfigError(
                f"{where}: element.{seen[-1]}.derived_from names unknown element {source!r}",
                hint="name an element of this file",
            )
        if source in seen:
            raise ConfigError(f"{where}: element.{element.name} is derived from itself", hint="leave it out")
        seen.append(source)
    if not element.derived_from:
        return
    place, source = f"{where}: element.{element.name}", element.derived_from
    if element.required or not element.is_dimension:
        raise ConfigError(
            f"{place}: is derived from {source}, but is more than a key",
            hint="only a dimension that requires nothing can be derived",
        )
    if element.name not in (*elements[source].required, *elements[source].implied):
        raise ConfigError(
            f"{place}: is derived from {source}, which does not name it",
            hint=f"add {element.name} to what {source} implies",
        )
