"""Reads registry export files of ``lsst-daf-butler`` (YAML), of every universe version, without that package.

`read_export` gives a whole file as a `ButlerExport` or raises `UserError` with file, line and value: what is
not understood is refused, never skipped. `merge_exports` and `select` work on what was read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from federation.errors import UserError
from federation.garbage import no_cycle_search
from federation.registry.butler.content import (
    ButlerExport,
    ExportedDataset,
    ValidityRange,
    merge_exports,
    select,
)
from federation.registry.butler.entries import EntryReader
from federation.registry.butler.universes import NAMESPACE, Migration
from federation.registry.butler.yaml_text import Located, load_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from federation.model.dimension import DimensionUniverse

__all__ = [
    "ButlerExport",
    "ExportedDataset",
    "ValidityRange",
    "merge_exports",
    "parse_export",
    "read_export",
    "select",
]

#: newest major and minor version that is understood
FORMAT = (1, 0)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)\Z")
_TOP = {"description", "version", "universe_version", "universe_namespace", "data"}


def read_export(path: Path, universe: DimensionUniverse) -> ButlerExport:
    """All of an export file, in the terms of ``universe``; `UserError` if any of it is not understood."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read export file {path}: {error.strerror}", hint="check the path") from error
    return parse_export(data, universe, where=str(path))


def parse_export(data: str | bytes, universe: DimensionUniverse, *, where: str = "export") -> ButlerExport:
    """As `read_export`, from the text itself; ``where`` names it in errors."""
    with no_cycle_search():
        return _parse(data, universe, where)


def _parse(data: str | bytes, universe: DimensionUniverse, where: str) -> ButlerExport:
    top = load_yaml(data, where)
    if not isinstance(top, Located) or "version" not in top or "data" not in top:
        raise UserError(
            f"{where}: not a Butler export file: no top-level version and data",
            hint="give the YAML file that Butler.export wrote",
        )
    unknown = sorted(set(top) - _TOP)
    if unknown:
        raise UserError(
            f"{where}:{top.line}: unknown top-level key {unknown[0]!r}",
            hint="known: " + ", ".join(sorted(_TOP)),
        )
    format_version = _format_version(top["version"], where)
    version = _universe_version(top, universe, where)
    if not isinstance(top["data"], list):
        raise UserError(f"{where}: data is not a list of entries", hint="is the file whole?")
    reader = EntryReader(
        universe, Migration(top.get("universe_namespace", NAMESPACE), version, universe), where
    )
    for entry in top["data"]:
        reader.entry(entry)
    return reader.finish(version, format_version)


def _format_version(raw: Any, where: str) -> str:
    if type(raw) is int and raw == 0:
        return "1.0.0"  # what was written before there were versions
    match = _VERSION.match(raw) if isinstance(raw, str) else None
    if match is None:
        raise UserError(
            f"{where}: version {raw!r} is not an export format version", hint="expected N.N.N, or 0"
        )
    major, minor = int(match[1]), int(match[2])
    if major != FORMAT[0] or minor > FORMAT[1]:
        raise UserError(
            f"{where}: export format version {raw} is not supported",
            hint=f"{FORMAT[0]}.0 to {FORMAT[0]}.{FORMAT[1]} can be read; export again with an older Butler",
        )
    return str(raw)


def _universe_version(top: Located, universe: DimensionUniverse, where: str) -> int:
    namespace = top.get("universe_namespace", NAMESPACE)
    if namespace != universe.namespace:
        raise UserError(
            f"{where}: universe namespace {namespace!r} is not the registry's {universe.namespace!r}",
            hint="import into a registry made with that universe",
        )
    version = top.get("universe_version", 0)
    if type(version) is not int or version < 0:
        raise UserError(f"{where}: universe_version {version!r} is not a version", hint="expected an integer")
    if version > universe.version:
        raise UserError(
            f"{where}: universe version {version} is newer than the registry's {universe.version}",
            hint="use a universe file of that version",
        )
    return version
