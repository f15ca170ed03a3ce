"""Ingests files: stored first, then registered in one transaction with the records that came with them."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from federation.datastore import Datastore, UrlSource, artifact_path
from federation.datastore.checksum import of_chunks
from federation.datastore.durable import fsync_directory, make_directories
from federation.datastore.io_errors import as_federation_error
from federation.errors import ConflictError, NotFoundError, UnavailableError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetType, deterministic_id
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables
from federation.registry import artifacts, collections, dimensions, provenance
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.file_data_ids import (
    FileToIngest,
    HeaderMapping,
    check_fits,
    is_fits,
    load_header_mapping,
    read_data_id,
)
from federation.registry.row_values import row_of
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = [
    "FileToIngest",
    "HeaderMapping",
    "IngestReport",
    "Mode",
    "ingest_files",
    "load_header_mapping",
    "read_data_id",
]

Mode = Literal["copy", "move", "link", "direct"]


@attrs.frozen
class IngestReport:
    """Ids of the datasets that are new and of those that were there, files stored or recorded, and their bytes."""

    new: tuple[uuid.UUID, ...]
    known: tuple[uuid.UUID, ...]
    files: int
    bytes: int


@attrs.frozen
class _Item:
    """A file with its identity; ``recorded`` is the artifact row that this site has of it, if any."""

    file: FileToIngest
    dataset_id: uuid.UUID
    data_id: DataId
    recorded: Mapping[str, Any] | None


def ingest_files(
    registry: Registry,
    datastore: Datastore,
    *,
    schema: str,
    run: str,
    dataset_type: str,
    files: Sequence[FileToIngest],
    mode: Mode = "copy",
    once: bool = False,
) -> IngestReport:
    """Ingest files as datasets of one type into one RUN, which is registered if it is not there.

    ``copy``, ``move`` and ``link`` (a hard link) put a file into the datastore, ``direct`` records where it is. With
    ``once`` an id follows from the data ID. A file that is there already changes nothing; `ConflictError` when its
    content is another. Nothing is registered, and no new copy stays, when any file fails; sources of ``move`` are
    removed last.
    """
    if mode == "link" and datastore.local_root is None:
        raise UserError(
            f"files can't be linked into {datastore.url}", hint="copy them, or use a local datastore"
        )
    items = _identify(registry, schema, run, dataset_type, files, once=once)
    for item in items:
        _check_readable(item.file)
    stored: list[artifacts.Artifact] = []
    placed: dict[uuid.UUID, str] = {}
    try:
        for item in items:
            artifact = _store(datastore, item, run, dataset_type, mode, placed)
            if artifact is not None:
                stored.append(artifact)
        new = _register(registry, schema, run, dataset_type, items, stored)
    except UnavailableError:
        raise  # whether the rows were committed is not known: a file too many does no harm, one too few does
    except BaseException:
        _remove_unregistered(registry, schema, datastore, placed)
        raise
    if mode == "move":
        for item in items:
            _remove_source(datastore, item.file.path)
    ids = [item.dataset_id for item in items]
    return IngestReport(
        tuple(i for i in ids if i in new),
        tuple(i for i in ids if i not in new),
        len(stored),
        sum(artifact.size_bytes or 0 for artifact in stored),
    )


# -- identity ---------------------------------------------------------------------------------------------------


def _identify(
    registry: Registry, schema: str, run: str, dataset_type: str, files: Sequence[FileToIngest], *, once: bool
) -> list[_Item]:
    held = registry.get(SchemaId(registry.site, schema))
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        declared = list(select_rows(connection, physical["dataset_type"], ("name",), [(dataset_type,)]))
        if not declared:
            raise NotFoundError(
                f"dataset type {dataset_type!r} is not declared in {held.schema}", hint="declare it first"
            )
        group = registry.universe.group(DatasetType.from_row(declared[0]).dimensions)
        data_ids = [DataId.standardize(registry.universe, group, file.data_id) for file in files]
        _check_distinct(files, data_ids)
        columns = ("run", *group.required)
        keys = [(run, *data_id.values_) for data_id in data_ids]
        there = {
            tuple(row[name] for name in columns): row["dataset_id"]
            for row in select_rows(connection, physical[dataset_type], columns, keys)
        }
        ids = [
            there.get(key) or (deterministic_id(dataset_type, run, data_id) if once else registry.new_id())
            for key, data_id in zip(keys, data_ids, strict=True)
        ]
        recorded = {
            row["dataset_id"]: row
            for row in select_rows(connection, physical["artifact"], ("dataset_id",), [(i,) for i in ids])
            if row["site"] == registry.site
        }
    return [
        _Item(file, i, data_id, recorded.get(i))
        for file, i, data_id in zip(files, ids, data_ids, strict=True)
    ]


def _check_distinct(files: Sequence[FileToIngest], data_ids: Sequence[DataId]) -> None:
    seen: dict[DataId, str] = {}
    for file, data_id in zip(files, data_ids, strict=True):
        other = seen.setdefault(data_id, file.path)
        if other is not file.path:
            raise UserError(
                f"{other} and {file.path} have one data ID {data_id}", hint="ingest only one of them"
            )


# -- files ------------------------------------------------------------------------------------------------------


def _local(path: str) -> Path | None:
    """The local file that a path or ``file://`` URL means; None for a remote one."""
    if "://" not in path:
        return Path(path).absolute()
    return Path(path.removeprefix("file://")) if path.startswith("file://") else None


def _check_readable(file: FileToIngest) -> None:
    local = _local(file.path)
    if local is None:
        return
    if not local.is_file():
        raise NotFoundError(f"no file {local}", hint="check the path")
    if is_fits(local.name):
        check_fits(local)


def _store(
    datastore: Datastore, item: _Item, run: str, dataset_type: str, mode: Mode, placed: dict[uuid.UUID, str]
) -> artifacts.Artifact | None:
    """Bring a file to its place; None where it is there already. New files are added to ``placed``."""
    file, recorded = item.file, item.recorded
    uri = file.path if "://" in file.path else f"file://{_local(file.path)}"
    if recorded is not None and recorded["checksum"] is not None:
        with UrlSource(uri).open() as chunks:
            _, checksum = of_chunks(chunks)
        if checksum != recorded["checksum"]:
            raise ConflictError(
                f"{file.path} has other content than {recorded['uri']}, the {dataset_type} {item.data_id} in {run}",
                hint="one identity has one content; ingest it into another RUN",
            )
        if recorded["present"]:
            return None
    target = artifact_path(dataset_type, run, item.data_id, item.dataset_id, _suffix(file.path))
    if mode == "direct":
        target = uri
    elif not datastore.exists(target):
        if mode != "link":
            stored = datastore.put_file(uri, target)
            placed[item.dataset_id] = target
            return artifacts.Artifact(
                item.dataset_id, target, stored.size_bytes, stored.checksum, file.formatter
            )
        _link(datastore, uri, target)
        placed[item.dataset_id] = target
    elif _content(datastore.resolve(target)) != _content(uri):
        raise ConflictError(
            f"{datastore.resolve(target)} has other content than {file.path}",
            hint="a file is never overwritten; remove the one that is wrong",
        )
    size, checksum = _content(datastore.resolve(target))
    return artifacts.Artifact(item.dataset_id, target, size, checksum, file.formatter)


def _content(uri: str) -> tuple[int, str]:
    with UrlSource(uri).open() as chunks:
        return of_chunks(chunks)


def _suffix(path: str) -> str:
    """The end of the name that says how it is read.

    >>> _suffix("a/b.1.fits.gz"), _suffix("x.YAML"), _suffix("v1.2-beta")
    ('.fits.gz', '.YAML', '')
    """
    suffixes = Path(path).suffixes
    kept = (
        suffixes[-2:]
        if suffixes and suffixes[-1].lower() in (".gz", ".fz", ".bz2", ".xz", ".zst")
        else suffixes[-1:]
    )
    text = "".join(kept)
    return (
        text
        if all(part.isalnum() and part.isascii() and len(part) <= 10 for part in text.split(".")[1:])
        else ""
    )


def _link(datastore: Datastore, uri: str, target: str) -> None:
    local = _local(uri)
    if local is None or datastore.local_root is None:
        raise UserError(f"{uri} can't be linked: it is not a local file", hint="copy it")
    place = datastore.local_root / target
    try:
        make_directories(place.parent)
        os.link(local.resolve(), place)
        fsync_directory(place.parent)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise UserError(
                f"{local} can't be linked to {place}: {error.strerror}",
                hint="copy it: links end at the file system",
            ) from error
        raise as_federation_error(error, "link", str(place)) from error


def _remove_unregistered(
    registry: Registry, schema: str, datastore: Datastore, placed: Mapping[uuid.UUID, str]
) -> None:
    """Remove new files, but not one that another process has registered in the meantime."""
    held = registry.get(SchemaId(registry.site, schema))
    with registry.database.read((held.physical,)) as connection:
        table = registry.physical_tables(held.physical, system_tables())["artifact"]
        kept = {row["uri"] for row in select_rows(connection, table, ("dataset_id",), [(i,) for i in placed])}
    for path in placed.values():
        if path not in kept:
            datastore.remove(path)


def _remove_source(datastore: Datastore, path: str) -> None:
    local = _local(path)
    if local is not None and datastore.contains(f"file://{local}"):
        return  # it is the stored file itself
    source = Datastore(str(local.parent) if local else path.rpartition("/")[0])
    source.remove(local.name if local else path.rpartition("/")[2])


# -- rows -------------------------------------------------------------------------------------------------------


def _register(
    registry: Registry,
    schema: str,
    run: str,
    dataset_type: str,
    items: Sequence[_Item],
    stored: Sequence[artifacts.Artifact],
) -> frozenset[uuid.UUID]:
    with registry.transaction(schema) as tx:
        _insert_records(tx, items)
        if not tx.select("collection", ("name",), [(run,)]):
            collections.register(tx, Collection(run, CollectionType.RUN))
        table = tx.table(dataset_type)
        inserted = insert_datasets(
            tx,
            [
                NewDataset(
                    dataset_type, run, item.file.data_id, item.dataset_id,
                    metadata=row_of(table, item.file.metadata, item.file.path),
                )
                for item in items
            ],
        )  # fmt: skip
        edges = [(item.dataset_id, source, item.file.task) for item in items for source in item.file.inputs]
        provenance.add_edges(tx, edges)
        artifacts.record(tx, stored)
    return inserted.new


def _insert_records(tx: Transaction, items: Sequence[_Item]) -> None:
    by_element: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        for element, rows in item.file.records.items():
            tx.registry.universe[element]
            table = tx.table(element)
            by_element.setdefault(element, []).extend(row_of(table, row, item.file.path) for row in rows)
    for element in tx.registry.universe.element_names:
        if element in by_element:
            dimensions.insert_records(tx, element, by_element[element])
