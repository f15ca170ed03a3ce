"""What a file to ingest is about: from a sidecar beside it, or from its FITS header through a mapping."""

from __future__ import annotations

import json
import tomllib
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import yaml

from federation.errors import ConfigError, NotFoundError, UserError
from federation.formatters.fits_structure import FITS_SUFFIXES

if TYPE_CHECKING:
    from federation.registry.files.header_translation import HeaderTranslator

__all__ = ["FileToIngest", "HeaderMapping", "load_header_mapping", "read_data_id"]

_SIDECAR_KEYS = {"data_id", "metadata", "records", "formatter", "inputs", "task"}


class _PlainLoader(yaml.SafeLoader):
    """YAML whose timestamps stay texts: they are TAI, not UTC."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@attrs.frozen
class FileToIngest:
    """A file (local path, or URL), its data ID, metadata columns, and dimension records that come with it.

    ``records_if_absent`` are inserted only where no record has their keys. ``inputs`` are the datasets it was made
    from, by ``task``.

    Values are as the columns' types have them, or as text: TAI times in ISO form, UUIDs, bytes as hexadecimal.
    """

    path: str
    data_id: Mapping[str, Any]
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    records: Mapping[str, tuple[Mapping[str, Any], ...]] = attrs.field(factory=dict)
    formatter: str | None = None
    inputs: tuple[uuid.UUID, ...] = ()
    task: str | None = None
    records_if_absent: Mapping[str, tuple[Mapping[str, Any], ...]] = attrs.field(factory=dict)


@attrs.frozen
class HeaderMapping:
    """FITS keywords of dimensions and of metadata columns, and dimensions with one value for all files."""

    header: Mapping[str, str]
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    constant: Mapping[str, Any] = attrs.field(factory=dict)


def load_header_mapping(path: Path) -> HeaderMapping:
    """Read a TOML file with ``[header]``, and perhaps ``[metadata]`` and ``[constant]``; `ConfigError` for others."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read header mapping {path}: {error}", hint="give a TOML file") from error
    known = ("header", "metadata", "constant")
    wrong = [name for name, value in raw.items() if name not in known or not isinstance(value, dict)]
    if wrong or "header" not in raw:
        problem = f"{wrong[0]!r} is not a table of a header mapping" if wrong else "no [header]"
        raise ConfigError(f"{path}: {problem}", hint="tables: [header], [metadata], [constant]")
    for table in ("header", "metadata"):
        for name, keyword in raw.get(table, {}).items():
            if not isinstance(keyword, str):
                raise ConfigError(
                    f"{path}: {table}.{name} = {keyword!r} is not a keyword", hint='like "EXPNUM"'
                )
    return HeaderMapping(raw["header"], raw.get("metadata", {}), raw.get("constant", {}))


def read_data_id(
    path: str | Path, mapping: HeaderMapping | None = None, translator: HeaderTranslator | None = None
) -> FileToIngest:
    """What ``path`` is, from ``<path>.json`` or ``<path>.yaml``, else from its FITS header.

    The header is read with ``mapping``, or by ``translator``. `NotFoundError` when there is nothing to go by;
    `UserError` naming the file for a sidecar or header that does not tell.
    """
    file = Path(path)
    for suffix, parse in ((".json", json.loads), (".yaml", _parse_yaml)):
        sidecar = file.with_name(file.name + suffix)
        if sidecar.exists():
            return _from_sidecar(file, sidecar, parse)
    if mapping is None and translator is not None and file.name.lower().endswith(FITS_SUFFIXES):
        data_id, records = translator.describe(file)
        return FileToIngest(str(file), data_id, records_if_absent=records)
    if mapping is None:
        raise NotFoundError(
            f"nothing says what {file} is: no {file.name}.json or {file.name}.yaml beside it",
            hint="write a sidecar with data_id, or give a mapping of FITS keywords",
        )
    return _from_header(file, mapping)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a safe loader with fewer types


def _from_sidecar(file: Path, sidecar: Path, parse: Any) -> FileToIngest:
    try:
        raw = parse(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read sidecar {sidecar}: {reason}", hint="mend or remove it") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("data_id"), dict):
        raise UserError(f"{sidecar}: no mapping data_id", hint="like: data_id: {instrument: C, exposure: 7}")
    unknown = sorted(str(key) for key in set(raw) - _SIDECAR_KEYS)
    if unknown:
        raise UserError(
            f"{sidecar}: unknown key {unknown[0]!r}", hint="keys: " + ", ".join(sorted(_SIDECAR_KEYS))
        )
    metadata, records = raw.get("metadata") or {}, raw.get("records") or {}
    well_formed = (
        isinstance(metadata, dict)
        and isinstance(records, dict)
        and all(
            isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in records.values()
        )
    )
    if not well_formed:
        raise UserError(
            f"{sidecar}: metadata is not a mapping, or records not lists of mappings by element",
            hint="like: records: {exposure: [{instrument: C, id: 7}]}",
        )
    tuples = {str(element): tuple(rows) for element, rows in records.items()}
    try:
        inputs = tuple(uuid.UUID(str(value)) for value in raw.get("inputs") or ())
    except (ValueError, TypeError) as error:
        raise UserError(f"{sidecar}: inputs: {error}", hint="a list of dataset ids") from error
    return FileToIngest(
        str(file), raw["data_id"], metadata, tuples, raw.get("formatter"), inputs, raw.get("task")
    )


def _from_header(file: Path, mapping: HeaderMapping) -> FileToIngest:
    header = _header(file, [*mapping.header.values(), *mapping.metadata.values()])
    data_id = dict(mapping.constant)
    for name, keyword in mapping.header.items():
        if header[keyword] is None:
            raise UserError(
                f"{file}: no keyword {keyword} for {name} in its headers", hint="correct the mapping"
            )
        data_id[name] = header[keyword]
    metadata = {name: header[keyword] for name, keyword in mapping.metadata.items()}
    return FileToIngest(
        str(file), data_id, {name: value for name, value in metadata.items() if value is not None}
    )


def _header(file: Path, keywords: list[str]) -> dict[str, Any]:
    """Value of each keyword in the first two headers, where the primary one comes first; None where it is not."""
    from astropy.io import fits  # slow to import, and not needed with sidecars

    try:
        with fits.open(file, memmap=True) as hdus:
            headers = [hdus[0].header]
            if len(hdus) > 1:
                headers.append(hdus[1].header)
            return {
                keyword: next((_plain(h[keyword]) for h in headers if keyword in h), None)
                for keyword in keywords
            }
    except (OSError, EOFError, TypeError, ValueError, zlib.error) as error:
        raise _not_fits(file, str(error)) from error


def _plain(value: Any) -> Any:
    """A header value as a column may hold it; astropy's mark for an empty one is None."""
    if isinstance(value, str):
        return value.strip()
    return value if isinstance(value, bool | int | float) else None


def _not_fits(path: Path, reason: str) -> UserError:
    reason = " ".join(reason.split()) or "it cannot be read"
    return UserError(
        f"{path} is not a whole FITS file: {reason}", hint="copy it again from where it was made"
    )
