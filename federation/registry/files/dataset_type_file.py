"""Dataset types declared in a TOML file, with where their metadata columns come from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from federation.errors import ConfigError, FederationError
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.universe_file import parse_field

__all__ = ["DeclaredType", "load_dataset_types"]

_KEYS = ("dimensions", "storage_class", "is_calibration", "metadata")


@attrs.frozen
class DeclaredType:
    """A dataset type; ``keywords`` are the FITS keywords of metadata columns that have another name."""

    dataset_type: DatasetType
    keywords: Mapping[str, str]


def load_dataset_types(path: Path, universe: DimensionUniverse) -> tuple[DeclaredType, ...]:
    """Read a file of tables ``[dataset_type.NAME]``; `ConfigError` names file, type, key and remedy."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read dataset types {path}: {error}", hint="give a TOML file") from error
    unknown = sorted(set(raw) - {"dataset_type"})
    types = raw.get("dataset_type")
    if unknown or not isinstance(types, dict) or not types:
        problem = f"unknown key {unknown[0]!r}" if unknown else "no table [dataset_type.NAME]"
        raise ConfigError(f"{path}: {problem}", hint="write a table [dataset_type.NAME] for each type")
    return tuple(
        _declared(name, entry, f"{path}: dataset_type.{name}", universe) for name, entry in types.items()
    )


def _declared(name: str, raw: Any, where: str, universe: DimensionUniverse) -> DeclaredType:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} is not a table", hint=f"write [dataset_type.{name}]")
    unknown = sorted(set(raw) - set(_KEYS))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}", hint="keys: " + ", ".join(_KEYS))
    dimensions = raw.get("dimensions")
    if not isinstance(dimensions, list) or not all(isinstance(item, str) for item in dimensions):
        raise ConfigError(
            f"{where}.dimensions = {dimensions!r} is not a list of names", hint='like ["visit"]'
        )
    storage_class = raw.get("storage_class")
    if not isinstance(storage_class, str) or not storage_class.isidentifier():
        raise ConfigError(f"{where}.storage_class = {storage_class!r} is not a name", hint='like "Exposure"')
    is_calibration = raw.get("is_calibration", False)
    if not isinstance(is_calibration, bool):
        raise ConfigError(f"{where}.is_calibration = {is_calibration!r} is not a bool", hint="true or false")
    fields, keywords = _fields(raw.get("metadata", []), where)
    try:
        universe.group(dimensions)
        declared = DatasetType(name, tuple(dimensions), storage_class, is_calibration, fields)
    except FederationError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from error
    _check_columns(declared, universe, where)
    return DeclaredType(declared, keywords)


def _fields(raw: Any, where: str) -> tuple[tuple[Field, ...], dict[str, str]]:
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise ConfigError(
            f"{where}.metadata is not a list of tables", hint='like {name = "nx", type = "int"}'
        )
    fields, keywords = [], {}
    for entry in raw:
        rest = dict(entry)
        keyword = rest.pop("header", None)
        field = parse_field(rest, f"{where}.metadata")
        if keyword is not None:
            if not isinstance(keyword, str) or not keyword:
                raise ConfigError(
                    f"{where}.metadata.{field.name}.header = {keyword!r} is not a keyword",
                    hint='like "EXPTIME"',
                )
            keywords[field.name] = keyword
        fields.append(field)
    return tuple(fields), keywords


def _check_columns(declared: DatasetType, universe: DimensionUniverse, where: str) -> None:
    taken = {"dataset_id", "run", "origin", *universe.group(declared.dimensions).names}
    for field in declared.metadata:
        if field.name in taken:
            raise ConfigError(
                f"{where}.metadata: the column {field.name} is there already", hint="choose another name"
            )
        taken.add(field.name)
