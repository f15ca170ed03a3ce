"""Reading the text of a universe file: every value is checked, and an error names file, key and remedy."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConfigError
from federation.model.dimension_element import DimensionElement, Field
from federation.model.logical import LogicalType
from federation.model.skypix import LEVELS
from federation.model.system_tables import system_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ParsedUniverse", "parse_field", "parse_universe"]

_FIELD_TYPES = {
    "int": LogicalType.INT64,
    "float": LogicalType.FLOAT64,
    "bool": LogicalType.BOOL,
    "string": LogicalType.STRING,
    "bytes": LogicalType.BYTES,
    "uuid": LogicalType.UUID,
    "timestamp": LogicalType.TIMESTAMP,
}
_KEY_TYPES = ("int", "string")
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_VERSION_MAX = 2**31
#: longest name, so that the databases cut none of those made from it
_NAME_LENGTH_MAX = 48
#: columns that every dataset type's table has beside its dimensions
_RESERVED = ("dataset_id", "origin", "run")
#: columns that ``region`` and ``timespan`` add to an element
_REGION_COLUMNS = ("region",)
_TIMESPAN_COLUMNS = ("timespan_begin", "timespan_end")
_WORDS: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}


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
    _only(raw, ("namespace", "version", "skypix", "element"), where)
    namespace = _get(raw, "namespace", str, "custom", where)
    if not _is_name(namespace):
        raise ConfigError(f"{where}: namespace {namespace!r} is not a lower-case identifier")
    version = _get(raw, "version", int, 0, where)
    if not 0 <= version < _VERSION_MAX:
        raise ConfigError(f"{where}: version {version} is not between 0 and {_VERSION_MAX - 1}")
    skypix = _get(raw, "skypix", dict, {}, where)
    elements = {element.name: element for element in _skypix_dimensions(skypix, f"{where}: skypix")}
    common = _get(skypix, "common", str, "", f"{where}: skypix")
    if common and common not in elements:
        raise ConfigError(
            f"{where}: skypix.common names {common!r}, which is not among the systems",
            hint="declared: " + (", ".join(elements) or "none"),
        )
    drafts = _get(raw, "element", dict, {}, where)
    _check_names(drafts, elements, where)
    for name in _in_order(drafts, elements, where):
        elements[name] = _element(name, drafts[name], elements, f"{where}: element.{name}")
    for element in elements.values():
        _check_derived_from(element, elements, where)
    return ParsedUniverse(namespace, version, common, tuple(elements.values()))


def _get(raw: Mapping[str, Any], key: str, kind: type, default: Any, where: str) -> Any:
    value = raw.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(
            f"{where}: {key} is {_shown(value)}, not {_WORDS[kind]}", hint=f"write {_WORDS[kind]}"
        )
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(name: str) -> str:
    """A key as it stands in the file, on one line."""
    return name if name.isprintable() else repr(name)


def _only(raw: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    unknown = sorted(set(raw) - set(allowed))
    if unknown:
        raise ConfigError(
            f"{where}: unknown key{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}",
            hint="known keys: " + ", ".join(allowed),
        )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(_NAME.match(name)) and len(name) <= _NAME_LENGTH_MAX


def _names(raw: Mapping[str, Any], key: str, where: str) -> list[str]:
    names = _get(raw, key, list, [], where)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(
                f"{where}: {key} holds {_shown(name)}, not a text", hint="list names of dimensions"
            )
    return list(names)


def _skypix_dimensions(skypix: Mapping[str, Any], where: str) -> Iterable[DimensionElement]:
    _only(skypix, ("common", "systems"), where)
    for system, levels in _get(skypix, "systems", dict, {}, where).items():
        place = f"{where}.systems.{_plain(system)}"
        if system not in LEVELS:
            raise ConfigError(f"{place}: unknown skypix system", hint="there are " + ", ".join(LEVELS))
        low, high = LEVELS[system]
        if not isinstance(levels, list) or not levels:
            raise ConfigError(
                f"{place} is {_shown(levels)}, not a list of levels", hint="write [7] for level 7"
            )
        for number, level in enumerate(levels):
            if not isinstance(level, int) or isinstance(level, bool) or not low <= level <= high:
                raise ConfigError(
                    f"{place}: {_shown(level)} is not a level", hint=f"levels are {low} to {high}"
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
        place = f"{where}: element.{_plain(name)}"
        if not _is_name(name):
            raise ConfigError(
                f"{place}: the name is not a lower-case identifier of at most {_NAME_LENGTH_MAX} characters",
                hint="use a-z, 0-9 and _, a letter first",
            )
        if name in skypix:
            raise ConfigError(f"{place}: a skypix system has this name", hint="choose another")
        if name in tables or name in _RESERVED:
            what = "a system table" if name in tables else "a column of every dataset type"
            raise ConfigError(f"{place}: {what} has this name", hint="choose another")
        if not isinstance(draft, dict):
            raise ConfigError(f"{place} is {_shown(draft)}, not a table", hint=f"write [element.{name}]")


def _in_order(drafts: Mapping[str, Any], known: Mapping[str, object], where: str) -> Iterable[str]:
    """Element names so that each follows those it depends on, otherwise as in the file."""
    depends: dict[str, list[str]] = {}
    for name, draft in drafts.items():
        place = f"{where}: element.{name}"
        depends[name] = [*_names(draft, "requires", place), *_names(draft, "implies", place)]
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
    _only(raw, _ELEMENT_KEYS, where)
    requires, implies = _names(raw, "requires", where), _names(raw, "implies", where)
    required: set[str] = set()
    for dimension in requires:
        required |= {dimension, *known[dimension].required}
    keys = _fields(raw, "keys", where)
    element = DimensionElement(
        name,
        tuple(d for d in known if d in required),
        tuple(d for d in known if d in set(implies)),
        attrs.evolve(keys[0], nullable=False) if keys else None,
        tuple(keys[1:]),
        tuple(_fields(raw, "metadata", where)),
        governor=_get(raw, "governor", bool, False, where),
        has_region=_get(raw, "region", bool, False, where),
        has_timespan=_get(raw, "timespan", bool, False, where),
        derived_from=_get(raw, "derived_from", str, "", where),
        doc=_get(raw, "doc", str, "", where),
    )
    _check_dependencies(element, [*requires, *implies], known, where)
    _check_columns(element, where)
    return element


def _fields(raw: Mapping[str, Any], key: str, where: str) -> list[Field]:
    return [
        _field(entry, f"{where}.{key}", is_key=key == "keys" and number == 0)
        for number, entry in enumerate(_get(raw, key, list, [], where))
    ]


def parse_field(raw: object, where: str) -> Field:
    """A named, typed value from its table in a file; `ConfigError` names ``where``."""
    return _field(raw, where, is_key=False)


def _field(raw: object, where: str, *, is_key: bool) -> Field:
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{where} holds {_shown(raw)}, not a field", hint='write { name = "id", type = "int" }'
        )
    _only(raw, ("name", "type", "nullable", "doc", "unit"), where)
    name, type_name = raw.get("name"), raw.get("type")
    if not _is_name(name):
        raise ConfigError(
            f"{where}: field name {_shown(name)} is not a lower-case identifier",
            hint="use a-z, 0-9 and _, a letter first",
        )
    allowed = _KEY_TYPES if is_key else tuple(_FIELD_TYPES)
    if not isinstance(type_name, str) or type_name not in allowed:
        known = isinstance(type_name, str) and type_name in _FIELD_TYPES
        what = "a primary key's type is not" if known else "unknown type"
        raise ConfigError(
            f"{where}.{name}: {what} {_shown(type_name)}",
            hint="one of " + ", ".join(allowed),
        )
    place = f"{where}.{name}"
    return Field(
        str(name),
        _FIELD_TYPES[type_name],
        _get(raw, "nullable", bool, True, place),
        _get(raw, "doc", str, "", place),
        _get(raw, "unit", str, "", place),
    )


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
