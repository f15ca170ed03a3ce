"""Values of a universe file taken out with their types checked; `ConfigError` names place, value and remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from federation.errors import ConfigError
from federation.model.dimension_element import Field
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "NAME_LENGTH_MAX",
    "get_fields",
    "get_names",
    "get_value",
    "is_name",
    "only_keys",
    "parse_field",
    "plain_key",
    "shown",
]

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
#: longest name, so that the databases cut none of those made from it
NAME_LENGTH_MAX = 48
_WORDS: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a table",
}


def get_value(raw: Mapping[str, Any], key: str, kind: type, default: Any, where: str) -> Any:
    """The value of a key, which must be of ``kind``; ``default`` where it is not there."""
    value = raw.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(
            f"{where}: {key} is {shown(value)}, not {_WORDS[kind]}", hint=f"write {_WORDS[kind]}"
        )
    return value


def shown(value: object) -> str:
    """A value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def plain_key(name: str) -> str:
    """A key as it stands in the file, on one line."""
    return name if name.isprintable() else repr(name)


def only_keys(raw: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """`ConfigError` for keys that are not ``allowed``."""
    unknown = sorted(set(raw) - set(allowed))
    if unknown:
        raise ConfigError(
            f"{where}: unknown key{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))}",
            hint="known keys: " + ", ".join(allowed),
        )


def is_name(name: object) -> bool:
    """Whether it is a lower-case identifier of no more than `NAME_LENGTH_MAX` characters."""
    return isinstance(name, str) and bool(_NAME.match(name)) and len(name) <= NAME_LENGTH_MAX


def get_names(raw: Mapping[str, Any], key: str, where: str) -> list[str]:
    """The list of texts under a key."""
    names = get_value(raw, key, list, [], where)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(
                f"{where}: {key} holds {shown(name)}, not a text", hint="list names of dimensions"
            )
    return list(names)


def get_fields(raw: Mapping[str, Any], key: str, where: str) -> list[Field]:
    """The fields under ``keys``, of which the first is the primary key, or under ``metadata``."""
    return [
        _field(entry, f"{where}.{key}", is_key=key == "keys" and number == 0)
        for number, entry in enumerate(get_value(raw, key, list, [], where))
    ]


def parse_field(raw: object, where: str) -> Field:
    """A named, typed value from its table in a file; `ConfigError` names ``where``."""
    return _field(raw, where, is_key=False)


def _field(raw: object, where: str, *, is_key: bool) -> Field:
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{where} holds {shown(raw)}, not a field", hint='write { name = "id", type = "int" }'
        )
    only_keys(raw, ("name", "type", "nullable", "doc", "unit"), where)
    name, type_name = raw.get("name"), raw.get("type")
    if not is_name(name):
        raise ConfigError(
            f"{where}: field name {shown(name)} is not a lower-case identifier",
            hint="use a-z, 0-9 and _, a letter first",
        )
    allowed = _KEY_TYPES if is_key else tuple(_FIELD_TYPES)
    if not isinstance(type_name, str) or type_name not in allowed:
        known = isinstance(type_name, str) and type_name in _FIELD_TYPES
        what = "a primary key's type is not" if known else "unknown type"
        raise ConfigError(
            f"{where}.{name}: {what} {shown(type_name)}",
            hint="one of " + ", ".join(allowed),
        )
    place = f"{where}.{name}"
    return Field(
        str(name),
        _FIELD_TYPES[type_name],
        get_value(raw, "nullable", bool, True, place),
        get_value(raw, "doc", str, "", place),
        get_value(raw, "unit", str, "", place),
    )
