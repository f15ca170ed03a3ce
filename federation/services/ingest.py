"""Ingest: files become datasets of a site, the files in its datastore and the rows in one transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import yaml

from federation.datastore import artifact_path
from federation.datastore.io_errors import as_federation_error
from federation.errors import FederationError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetType, deterministic_id
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import parse_tai
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions, provenance
from federation.registry.datasets import NewDataset

if TYPE_CHECKING:
    from federation.datastore import Datastore
    from federation.model.dataset import DatasetRef
    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = ["IngestFile", "IngestReport", "ingest_files", "parse_data_id", "parse_declaration", "read_sidecar"]

_SIDECAR_KEYS = ("data_id", "id", "metadata", "records", "inputs", "task")


@attrs.frozen
class IngestFile:
    """One file and what is said of it.

    ``records`` are dimension records by element, inserted with it; ``inputs`` what ``task`` made it from.
    """

    path: Path
    data_id: Mapping[str, Any]
    id: uuid.UUID | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    records: Mapping[str, Sequence[Mapping[str, Any]]] = attrs.field(factory=dict)
    inputs: tuple[uuid.UUID, ...] = ()
    task: str = ""


@attrs.frozen
class IngestReport:
    """What was ingested: ``new_count`` datasets were not there before; files of ``size_bytes`` were written."""

    refs: tuple[DatasetRef, ...]
    new_count: int
    file_count: int
    size_bytes: int


def ingest_files(
    registry: Registry,
    datastore: Datastore,
    files: Sequence[IngestFile],
    *,
    run: str,
    dataset_type: str,
    schema: str | None = None,
    declaration: DatasetType | None = None,
    once: bool = True,
) -> IngestReport:
    """Copy files into the datastore and register them; all of them, or none.

    With ``once`` a dataset's id follows from its type, run and data ID, so that the same ingest again changes nothing;
    else ids are new. ``declaration`` declares the dataset type where the schema lacks it. `UserError` for a data ID
    that is incomplete or names unknown records, `NotFoundError` for a missing file, schema or dataset type,
    `ConflictError` for other content under one identity.
    """
    name = schema or registry.site
    missing = [file.path for file in files if not file.path.is_file()]
    if missing:
        raise NotFoundError(f"file {missing[0]} does not exist", hint="check the path")
    group = _group(registry, name, dataset_type, declaration)
    new = [_new_dataset(registry, group, file, run, dataset_type, once) for file in files]
    written: list[str] = []
    stored = []
    try:
        for file, dataset in zip(files, new, strict=True):
            assert dataset.id is not None
            path = artifact_path(dataset_type, run, dataset.data_id, dataset.id, _suffix(file.path))
            if not datastore.exists(path):
                written.append(path)
            stored.append((path, datastore.put_file(file.path, path)))
        with registry.transaction(name) as tx:
            inserted = _register(tx, files, new, run, declaration)
            artifacts.record(
                tx,
                [
                    artifacts.Artifact(ref.id, path, file.size_bytes, file.checksum)
                    for ref, (path, file) in zip(inserted.refs, stored, strict=True)
                ],
            )
    except FederationError:
        for path in written:
            if datastore.exists(path):
                datastore.remove(path)
        raise
    sizes = {path: file.size_bytes for path, file in stored}
    return IngestReport(inserted.refs, len(inserted.new), len(written), sum(sizes[path] for path in written))


def _group(
    registry: Registry, schema: str, dataset_type: str, declaration: DatasetType | None
) -> DimensionGroup:
    tables = registry.tables(SchemaId(registry.site, schema))
    if declaration is not None:
        return registry.universe.group(declaration.dimensions)
    table = tables.get(dataset_type)
    if table is None or not table.physical_name.startswith("ds_"):
        raise NotFoundError(
            f"dataset type {dataset_type!r} is not declared in {registry.site}/{schema}",
            hint="declare it with --declare 'DIMENSIONS:STORAGE_CLASS', e.g. --declare exposure,detector:Exposure",
        )
    return registry.universe.group(
        name
        for name in table.column_names
        if name in registry.universe and registry.universe[name].is_dimension
    )


def _new_dataset(
    registry: Registry, group: DimensionGroup, file: IngestFile, run: str, dataset_type: str, once: bool
) -> NewDataset:
    given = typed_data_id(registry.universe, file.data_id, str(file.path))
    data_id = DataId.standardize(registry.universe, group, given)
    identity = file.id or (deterministic_id(dataset_type, run, data_id) if once else registry.new_id())
    return NewDataset(dataset_type, run, given, id=identity, metadata=file.metadata)


def _register(
    tx: Transaction,
    files: Sequence[IngestFile],
    new: Sequence[NewDataset],
    run: str,
    declaration: DatasetType | None,
) -> datasets.Inserted:
    records: dict[str, list[Mapping[str, Any]]] = {}
    for file in files:
        for element, rows in file.records.items():
            tx.registry.universe[element]
            table = tx.table(element)
            records.setdefault(element, []).extend(typed_row(table, row, str(file.path)) for row in rows)
    for element in (known.name for known in tx.registry.universe.elements):
        if element in records:
            dimensions.insert_records(tx, element, records[element])
    if declaration is not None:
        dataset_types.declare(tx, declaration)
    if not tx.select("collection", ("name",), [(run,)]):
        collections.register(tx, Collection(run, CollectionType.RUN))
    if new:
        table = tx.table(new[0].dataset_type)
        new = [attrs.evolve(item, metadata=typed_row(table, item.metadata, run)) for item in new]
    inserted = datasets.insert_datasets(tx, new)
    edges = [
        (ref.id, source, file.task)
        for ref, file in zip(inserted.refs, files, strict=True)
        for source in file.inputs
    ]
    if edges:
        provenance.add_edges(tx, edges)
    return inserted


def _suffix(path: Path) -> str:
    """The last extension, with the one before it where that is a compression's: ``.fits.fz``."""
    parts = path.suffixes
    return "".join(parts[-2:]) if parts and parts[-1] in (".fz", ".gz", ".zst", ".bz2") else path.suffix


def typed_data_id(universe: DimensionUniverse, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A data ID whose texts are made integers where the dimension's key is one."""
    out = dict(values)
    for name, value in values.items():
        if isinstance(value, str) and universe[name].key_type is LogicalType.INT64:
            try:
                out[name] = int(value)
            except ValueError:
                raise UserError(
                    f"{where}: data ID value {name}={value!r} is not an integer", hint="correct the data ID"
                ) from None
    return out


def typed_row(table: TableDef, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row as JSON or YAML can hold it, with UUIDs, timestamps (ISO, TAI) and bytes (hex) made from their texts."""
    types = {column.name: column.type for column in table.columns}
    out = dict(row)
    for name, value in row.items():
        convert = _FROM_TEXT.get(types[name]) if name in types else None
        if convert is not None and isinstance(value, str):
            try:
                out[name] = convert(value)
            except ValueError:
                raise UserError(
                    f"{where}: {table.name} {name}={value!r} is no {types[name]}", hint="correct the value"
                ) from None
    return out


_FROM_TEXT: dict[LogicalType, Callable[[str], Any]] = {
    LogicalType.UUID: uuid.UUID,
    LogicalType.TIMESTAMP: parse_tai,
    LogicalType.BYTES: bytes.fromhex,
}


def parse_data_id(text: str) -> dict[str, str]:
    """A data ID from ``key=value,key=value``.

    >>> parse_data_id("instrument=LSSTCam,detector=94")
    {'instrument': 'LSSTCam', 'detector': '94'}
    """
    out = {}
    for part in filter(None, (item.strip() for item in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise UserError(f"{part!r} is not part of a data ID", hint="write key=value,key=value")
        out[name.strip()] = value.strip()
    return out


def parse_declaration(name: str, text: str) -> DatasetType:
    """A dataset type from ``dimension,dimension:storage_class``.

    >>> parse_declaration("raw", "exposure,detector:Exposure").dimensions
    ('exposure', 'detector')
    """
    dimensions_text, colon, storage_class = text.rpartition(":")
    if not colon or not storage_class.strip():
        raise UserError(
            f"declaration {text!r} has no storage class", hint="write it like exposure,detector:Exposure"
        )
    names = tuple(item.strip() for item in dimensions_text.split(",") if item.strip())
    return DatasetType(name, names, storage_class.strip())


def read_sidecar(path: Path) -> IngestFile:
    """What ``<path>.json`` or ``<path>.yaml`` says of a file.

    It holds a data ID, or ``data_id`` and any of ``id``, ``metadata``, ``records``, ``inputs``, ``task``.
    """
    for suffix in (".json", ".yaml", ".yml"):
        sidecar = path.with_name(path.name + suffix)
        if sidecar.is_file():
            break
    else:
        raise NotFoundError(
            f"{path} has no data ID: there is no {path.name}.json or {path.name}.yaml beside it",
            hint="write one, or give --data-id key=value,...",
        )
    try:
        text = sidecar.read_text(encoding="utf-8")
        content = json.loads(text) if sidecar.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise as_federation_error(error, "read", str(sidecar)) from error
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{sidecar} cannot be read: {reason}", hint="correct the file") from error
    return _from_sidecar(path, sidecar, content)


def _from_sidecar(path: Path, sidecar: Path, content: Any) -> IngestFile:
    if not isinstance(content, dict):
        raise UserError(f"{sidecar} holds no object", hint="write key: value for each dimension")
    if "data_id" not in content:
        return IngestFile(path, content)
    unknown = sorted(set(content) - set(_SIDECAR_KEYS))
    if unknown:
        raise UserError(f"{sidecar}: unknown key {unknown[0]!r}", hint="known: " + ", ".join(_SIDECAR_KEYS))
    try:
        return IngestFile(
            path,
            dict(content["data_id"]),
            uuid.UUID(content["id"]) if content.get("id") else None,
            dict(content.get("metadata") or {}),
            {element: list(rows) for element, rows in (content.get("records") or {}).items()},
            tuple(uuid.UUID(item) for item in content.get("inputs") or ()),
            str(content.get("task") or ""),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{sidecar}: {error}", hint="see docs/reference/cli.md for its form") from error
