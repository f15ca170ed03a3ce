"""Ingests files: stored first, then registered in one transaction with the records that came with them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from federation.datastore import Datastore, artifact_path
from federation.errors import ConflictError, NotFoundError, UnavailableError, UserError
from federation.formatters import formats
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables
from federation.registry import artifacts, collections, dimensions, provenance
from federation.registry.conflicts import note_conflict
from federation.registry.datasets import insert_many
from federation.registry.files.file_data_ids import (
    FileToIngest,
    HeaderMapping,
    load_header_mapping,
    read_data_id,
)
from federation.registry.files.identity import Item, identify
from federation.registry.files.placing import (
    Mode,
    content_of,
    place,
    remove_source,
    suffix_of,
    url_of,
)
from federation.registry.row_values import row_of
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    from federation.datastore.store import Stored
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = [
    "FileToIngest",
    "HeaderMapping",
    "IngestReport",
    "Mode",
    "OnConflict",
    "ingest_files",
    "load_header_mapping",
    "read_data_id",
]

#: what becomes of a file whose identity is recorded with another content
OnConflict = Literal["refuse", "record", "ignore", "replace"]


@attrs.frozen
class IngestReport:
    """Ids of the datasets that are new and of those that were there, files stored or recorded, and their bytes.

    ``conflicts`` are paths of files that were left out, because their datasets are recorded with another content.
    """

    new: tuple[uuid.UUID, ...]
    known: tuple[uuid.UUID, ...]
    files: int
    bytes: int
    conflicts: tuple[str, ...] = ()


@attrs.frozen
class _Conflict:
    """A file of another content than the recorded one."""

    item: Item
    offered: str


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
    on_conflict: OnConflict = "refuse",
    keywords: Mapping[str, str] | None = None,
) -> IngestReport:
    """Ingest files as datasets of one type into one RUN, which is registered if it is not there.

    ``copy``, ``move`` and ``link`` (a hard link) put a file into the datastore, ``direct`` records where it is. With
    ``once`` an id follows from the data ID. A file that is there already changes nothing. One whose dataset is recorded
    with another content is a `ConflictError`, or by ``on_conflict`` is left out (``ignore``), left out and noted
    (``record``), or takes the place of the old dataset under a new id (``replace``). Metadata columns that a file comes
    without are filled by its formatter, ``keywords`` giving the names there of those that have another.

    Nothing is registered, and no new copy stays, when any file fails; sources of ``move`` are removed last.
    """
    if mode == "link" and datastore.local_root is None:
        raise UserError(
            f"files can't be linked into {datastore.url}", hint="copy them, or use a local datastore"
        )
    if once and on_conflict == "replace":
        raise UserError(
            "datasets whose ids follow from their data IDs can't be replaced", hint="ask for new ids"
        )
    declared, items = identify(registry, schema, run, dataset_type, files, once=once)
    _check_files(items, declared)
    placed: dict[str, uuid.UUID] = {}
    try:
        kept, stored, conflicts = _store(registry, datastore, items, run, declared, mode, on_conflict, placed)
        rows = _metadata(registry, declared, kept, keywords or {})
        new = _register(registry, schema, run, declared, kept, rows, stored, conflicts, on_conflict)
    except UnavailableError:
        raise  # whether the rows were committed is not known: a file too many does no harm, one too few does
    except BaseException:
        _remove_unregistered(registry, schema, datastore, placed)
        raise
    _remove_replaced(datastore, conflicts if on_conflict == "replace" else ())
    if mode == "move":
        for item in kept:
            remove_source(datastore, item.file.path)
    ids = [item.dataset_id for item in kept]
    return IngestReport(
        tuple(i for i in ids if i in new),
        tuple(i for i in ids if i not in new),
        len(stored),
        sum(artifact.size_bytes or 0 for artifact in stored),
        () if on_conflict == "replace" else tuple(conflict.item.file.path for conflict in conflicts),
    )


# -- files ------------------------------------------------------------------------------------------------------


def _check_files(items: Sequence[Item], declared: DatasetType) -> None:
    """Raise unless every file may become a dataset of the type, as far as its name and its structure tell."""
    fitting: set[str] = set()
    for item in items:
        if item.local is not None and not os.path.isfile(item.local):  # noqa: PTH113 - a text, see local_of
            raise NotFoundError(f"no file {item.local}", hint="check the path")
        if item.formatter is None:
            continue
        if item.formatter.name not in fitting:
            formats().check_fits(item.formatter, declared.storage_class, item.file.path)
            fitting.add(item.formatter.name)
        if item.local is not None:
            item.formatter.check(Path(item.local))


def _store(
    registry: Registry,
    datastore: Datastore,
    items: Sequence[Item],
    run: str,
    declared: DatasetType,
    mode: Mode,
    on_conflict: OnConflict,
    placed: dict[str, uuid.UUID],
) -> tuple[list[Item], list[artifacts.Artifact], list[_Conflict]]:
    """Bring every file to its place: (files to register, files now stored, files of another content)."""
    kept: list[Item] = []
    stored: list[artifacts.Artifact] = []
    conflicts: list[_Conflict] = []
    for item in items:
        path, recorded = item.file.path, item.recorded
        if recorded is not None and recorded["checksum"] is not None:
            offered = content_of(path)
            if _differs(recorded, offered):
                if on_conflict == "refuse":
                    raise ConflictError(
                        f"{path} has other content than {recorded['uri']}, "
                        f"the {declared.name} {item.data_id} in {run}",
                        hint="one identity has one content; ingest it into another RUN",
                    )
                conflicts.append(_Conflict(item, offered.checksum))
                if on_conflict != "replace":
                    continue
                item = attrs.evolve(item, dataset_id=registry.new_id(), recorded=None)
            elif recorded["present"] and recorded["site"] == registry.site:
                kept.append(item)
                continue
        identity = item.dataset_id
        if mode == "direct":
            uri, content = url_of(path), content_of(path)
        else:
            uri = artifact_path(declared.name, run, item.data_id, identity, suffix_of(path))
            content = place(datastore, path, uri, mode, partial(placed.__setitem__, uri, identity))
        name = item.formatter.name if item.formatter is not None else None
        kept.append(item)
        stored.append(artifacts.Artifact(identity, uri, content.size_bytes, content.checksum, name))
    return kept, stored, conflicts


def _differs(recorded: Mapping[str, Any], offered: Stored) -> bool:
    return artifacts.differ(
        recorded["checksum"], offered.checksum, recorded["size_bytes"], offered.size_bytes
    )


def _metadata(
    registry: Registry, declared: DatasetType, items: Sequence[Item], keywords: Mapping[str, str]
) -> list[dict[str, Any]] | None:
    """A row of metadata columns for each file: what came with it, and what its formatter finds of the others.

    None for a type without such columns, if no file comes with values.
    """
    if not declared.metadata and not any(item.file.metadata for item in items):
        return None
    table = registry.table_of(declared)
    rows = []
    for item in items:
        row = row_of(table, item.file.metadata, item.file.path)
        missing = {keywords.get(f.name, f.name): f.name for f in declared.metadata if f.name not in row}
        if missing and item.formatter is not None and item.local is not None:
            found = item.formatter.metadata(Path(item.local), tuple(missing))
            row |= row_of(table, {missing[name]: value for name, value in found.items()}, item.file.path)
        rows.append(row)
    return rows


def _remove_unregistered(
    registry: Registry, schema: str, datastore: Datastore, placed: Mapping[str, uuid.UUID]
) -> None:
    """Remove new files, but not one that another process has registered in the meantime."""
    held = registry.get(SchemaId(registry.site, schema))
    with registry.database.read((held.physical,)) as connection:
        table = registry.physical_tables(held.physical, system_tables())["artifact"]
        wanted = [(i,) for i in placed.values()]
        kept = {row["uri"] for row in select_rows(connection, table, ("dataset_id",), wanted)}
    for path in placed:
        if path not in kept:
            datastore.remove(path)


def _remove_replaced(datastore: Datastore, conflicts: Sequence[_Conflict]) -> None:
    """Remove the files of datasets that are registered no longer; those outside of the datastore stay."""
    for conflict in conflicts:
        recorded = conflict.item.recorded
        if recorded is not None and "://" not in recorded["uri"] and datastore.exists(recorded["uri"]):
            datastore.remove(recorded["uri"])


# -- rows -------------------------------------------------------------------------------------------------------


def _register(
    registry: Registry,
    schema: str,
    run: str,
    declared: DatasetType,
    items: Sequence[Item],
    rows: list[dict[str, Any]] | None,
    stored: Sequence[artifacts.Artifact],
    conflicts: Sequence[_Conflict],
    on_conflict: OnConflict,
) -> frozenset[uuid.UUID]:
    """One transaction for all of it; the ids that are new."""
    with registry.transaction(schema) as tx:
        _insert_records(tx, items)
        if not tx.select("collection", ("name",), [(run,)]):
            collections.register(tx, Collection(run, CollectionType.RUN))
        ids = [item.dataset_id for item in items]
        data_ids = [item.file.data_id for item in items]
        replace: Literal["refuse", "replace"] = "replace" if on_conflict == "replace" else "refuse"
        done = insert_many(tx, declared.name, run, data_ids, ids=ids, metadata=rows, on_conflict=replace)
        edges = [(item.dataset_id, source, item.file.task) for item in items for source in item.file.inputs]
        provenance.add_edges(tx, edges)
        artifacts.record(tx, stored)
        for conflict in conflicts if on_conflict == "record" else ():
            recorded = conflict.item.recorded
            note_conflict(
                tx, conflict.item.dataset_id, declared.name, run, "checksum",
                "" if recorded is None else recorded["checksum"], conflict.offered, url_of(conflict.item.file.path),
            )  # fmt: skip
    return frozenset(i for i, is_new in zip(ids, done.new, strict=True) if is_new)


def _insert_records(tx: Transaction, items: Sequence[Item]) -> None:
    """Insert the records that files came with; of those that are only to be there, the ones that are not."""
    universe = tx.registry.universe
    given: dict[str, list[dict[str, Any]]] = {}
    absent: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for item in items:
        for element, rows in item.file.records.items():
            universe[element]
            table = tx.table(element)
            given.setdefault(element, []).extend(row_of(table, row, item.file.path) for row in rows)
        for element, rows in item.file.records_if_absent.items():
            universe[element]
            table = tx.table(element)
            for row in rows:
                typed = row_of(table, row, item.file.path)
                absent.setdefault(element, {}).setdefault(_key(table, typed), typed)
    for element in universe.element_names:
        if element in given:
            dimensions.insert_records(tx, element, given[element])
        if element in absent:
            known = tx.known(element, tx.table(element).key, absent[element])
            fresh = [row for key, row in absent[element].items() if key not in known]
            dimensions.insert_records(tx, element, fresh)


def _key(table: TableDef, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in table.key)
