"""Puts what was read of a Butler export into a schema: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

import attrs

from federation.datastore import Datastore, UrlSource, artifact_path
from federation.datastore.checksum import of_chunks
from federation.datastore.location import check_relative
from federation.errors import ConflictError, NotFoundError, UnavailableError, UserError
from federation.garbage import no_cycle_search
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.timespan import Timespan
from federation.registry import artifacts, collections, dataset_types, dimensions
from federation.registry.butler.content import combine_collections
from federation.registry.datasets import insert_many

if TYPE_CHECKING:
    from federation.registry.butler.content import ButlerExport, ExportedDataset
    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = ["ImportReport", "import_export"]

_TOGETHER = "import the file that declares it first or together: federation site import-butler base.yaml datasets.yaml"


@attrs.frozen
class ImportReport:
    """What an import added: counts of new rows, of files found and not looked for, and whether anything changed."""

    records: int
    dataset_types: int
    collections: int
    datasets: int
    members: int
    validity_ranges: int
    files_present: int
    files_absent: int
    warnings: tuple[str, ...]
    changed: bool


@attrs.frozen
class _File:
    """A file that was found: where it stays or was copied to, and its content."""

    uri: str
    size_bytes: int
    checksum: str


def import_export(
    registry: Registry,
    export: ButlerExport,
    *,
    schema: str,
    datastore_root: str | None = None,
    datastore: Datastore | None = None,
    transfer: Literal["direct", "copy"] = "direct",
) -> ImportReport:
    """Import an export into one of the site's own schemas; importing it again changes nothing.

    With ``datastore_root`` (path or URL) every file of the export must be below it: the files are read for size and
    checksum, and stay where they are (``direct``) or are copied into ``datastore`` (``copy``). Without it, files are
    recorded as not present. `NotFoundError` for a missing file, or a name that is declared neither here nor in the
    export; `ConflictError` for anything that contradicts the registry; then nothing is imported.
    """
    for dataset in export.datasets:
        if dataset.path is not None and "://" not in dataset.path:
            check_relative(dataset.path, datastore_root or "the datastore root")
    found: Mapping[str, _File] = {}
    if datastore_root is not None:
        root = Datastore(datastore_root)
        root.check_readable()
        _check_exist(root, export.datasets)
        if transfer == "direct":
            found = {path: _look_at(root, path) for path in _by_path(export.datasets)}
        elif datastore is None:
            raise UserError(
                "files can't be copied: no datastore given", hint="give one, or transfer directly"
            )
        else:
            with _copied(root, datastore, export.datasets) as found:
                return _write(registry, export, schema, found)
    elif transfer == "copy":
        raise UserError(
            "files can't be copied: no datastore root given",
            hint="name the directory that the paths begin at",
        )
    return _write(registry, export, schema, found)


# -- files ------------------------------------------------------------------------------------------------------


def _by_path(datasets: Sequence[ExportedDataset]) -> dict[str, ExportedDataset]:
    """The first dataset of each file: several may share one."""
    out: dict[str, ExportedDataset] = {}
    for dataset in datasets:
        if dataset.path is not None:
            out.setdefault(dataset.path, dataset)
    return out


def _check_exist(root: Datastore, datasets: Sequence[ExportedDataset]) -> None:
    """All files first: one that is missing must be known before hours of reading."""
    paths = [path for path in _by_path(datasets) if "://" not in path]
    missing = [path for path in paths if not root.exists(path)]
    if missing:
        raise NotFoundError(
            f"file {root.resolve(missing[0])} of the export does not exist"
            + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""),
            hint="give the directory that the export was written to, or leave it out to import without files",
        )


def _look_at(root: Datastore, path: str) -> _File:
    uri = root.resolve(path)
    with UrlSource(uri).open() as chunks:
        return _File(uri, *of_chunks(chunks))


def _same_content(datastore: Datastore, target: str, source: _File) -> _File:
    there = _look_at(datastore, target)
    if there.checksum != source.checksum:
        raise ConflictError(
            f"{there.uri} has other content than {source.uri}",
            hint="a file is never overwritten; remove the one that is wrong",
        )
    return attrs.evolve(there, uri=target)


@contextmanager
def _copied(
    root: Datastore, datastore: Datastore, datasets: Sequence[ExportedDataset]
) -> Iterator[dict[str, _File]]:
    """Files by path, copied into the site's datastore; new copies go again when what follows fails."""
    new: list[str] = []
    found: dict[str, _File] = {}
    try:
        for path, dataset in _by_path(datasets).items():
            suffix = "".join(PurePosixPath(path).suffixes[-1:])
            target = artifact_path(
                dataset.dataset_type, dataset.run, dataset.data_id, dataset.dataset_id, suffix
            )
            if datastore.exists(target):
                found[path] = _same_content(datastore, target, _look_at(root, path))
                continue
            with root.source(path).open() as chunks:
                stored = datastore.put_stream(chunks, target)
            new.append(target)
            found[path] = _File(target, stored.size_bytes, stored.checksum)
        yield found
    except UnavailableError:
        raise  # whether the rows were committed is not known: a file too many does no harm, one too few does
    except BaseException:
        for target in new:
            datastore.remove(target)
        raise


# -- rows -------------------------------------------------------------------------------------------------------


def _write(registry: Registry, export: ButlerExport, schema: str, found: Mapping[str, _File]) -> ImportReport:
    with no_cycle_search(), registry.transaction(schema) as tx:
        records = sum(
            dimensions.insert_records(tx, element, rows) for element, rows in export.dimension_records.items()
        )
        types = _declare(tx, export)
        registered = _register(tx, export)
        inserted = _insert(tx, export.datasets)
        members = sum(collections.tag(tx, name, ids) for name, ids in export.tags.items())
        ranges = sum(
            collections.certify(tx, item.collection, item.timespan, item.dataset_ids)
            for item in export.validity
        )
        with_files = [dataset for dataset in export.datasets if dataset.path is not None]
        artifacts.record(tx, [_artifact(dataset, found) for dataset in with_files])
        changed = bool(tx.changes)
    present = sum(dataset.path in found for dataset in with_files)
    return ImportReport(
        records, types, registered, inserted, members, ranges,
        present, len(with_files) - present, export.warnings, changed,
    )  # fmt: skip


def _insert(tx: Transaction, datasets: Sequence[ExportedDataset]) -> int:
    groups: dict[tuple[str, str], list[ExportedDataset]] = {}
    for dataset in datasets:
        groups.setdefault((dataset.dataset_type, dataset.run), []).append(dataset)
    return sum(
        insert_many(
            tx, name, run, [one.data_id for one in group], ids=[one.dataset_id for one in group]
        ).new_count
        for (name, run), group in groups.items()
    )


def _artifact(dataset: ExportedDataset, found: Mapping[str, _File]) -> artifacts.Artifact:
    assert dataset.path is not None
    file = found.get(dataset.path)
    if file is None:
        return artifacts.Artifact(dataset.dataset_id, dataset.path, formatter=dataset.formatter)
    return artifacts.Artifact(dataset.dataset_id, file.uri, file.size_bytes, file.checksum, dataset.formatter)


def _declare(tx: Transaction, export: ButlerExport) -> int:
    """Declare the export's dataset types, and those it takes for granted that another schema declares."""
    given = {item.name: item for item in export.dataset_types}
    used = dict.fromkeys(dataset.dataset_type for dataset in export.datasets)
    names = dict.fromkeys((*given, *used))
    rows = tx.known("dataset_type", ("name",), [(name,) for name in names])
    here = {row["name"] for row in tx.select("dataset_type", ("name",), [(name,) for name in names])}
    for name in names:
        row = rows.get((name,))
        if row is None and name not in given:
            raise NotFoundError(
                f"dataset type {name!r} is declared neither in the export nor at {tx.registry.site}",
                hint=_TOGETHER,
            )
        # an export knows nothing of metadata columns: those of the registry stay
        known = None if row is None else DatasetType.from_row(row)
        if name not in given:
            assert known is not None
            wanted = known
        else:
            wanted = (
                attrs.evolve(given[name], metadata=known.metadata) if known and name in here else given[name]
            )
        dataset_types.declare(tx, wanted)
    return len(names) - len(here)


def _register(tx: Transaction, export: ButlerExport) -> int:
    """Register collections, each completed by what the registry knows of it; returns how many changed."""
    declared = {collection.name: collection for collection in export.collections}
    names = {*declared, *(dataset.run for dataset in export.datasets)}
    rows = {row["name"]: row for row in tx.select("collection", ("name",), [(name,) for name in names])}
    for run in dict.fromkeys(dataset.run for dataset in export.datasets):
        known = (
            declared[run].type
            if run in declared
            else CollectionType(rows[run]["type"])
            if run in rows
            else None
        )
        if known is None:
            raise NotFoundError(
                f"RUN {run!r} is declared neither in the export nor in {tx.held.schema}", hint=_TOGETHER
            )
        if known is not CollectionType.RUN:
            raise ConflictError(
                f"datasets are in {run!r}, which is {known}, not RUN", hint="mend the export file"
            )
    chained = [(name,) for name, row in rows.items() if row["type"] == CollectionType.CHAINED]
    chains: dict[str, dict[int, str]] = {}
    for link in tx.select("collection_chain", ("parent",), chained):
        chains.setdefault(link["parent"], {})[link["position"]] = link["child"]
    changed = 0
    for name, collection in declared.items():
        if name in rows:
            children = chains.get(name, {})
            old = _collection(rows[name], tuple(children[position] for position in sorted(children)))
            both = combine_collections(old, collection)
            if both is None:
                raise ConflictError(
                    f"collection {name!r} is {_described(old)} in {tx.held.schema}, but {_described(collection)} "
                    "in the export",
                    hint="leave it out with --collections, or make them agree",
                )
            collection = both
        changed += collections.register(tx, collection)
    return changed


def _collection(row: Mapping[str, object], children: tuple[str, ...]) -> Collection:
    values = {name: row[name] for name in ("name", "doc", "host")}
    span = Timespan(row["timespan_begin"], row["timespan_end"])  # type: ignore[arg-type]
    return Collection(**values, type=CollectionType(row["type"]), children=children, timespan=span)  # type: ignore[arg-type]


def _described(collection: Collection) -> str:
    parts: list[str] = [collection.type.value]
    if collection.children:
        parts.append("of " + ", ".join(collection.children))
    if collection.doc:
        parts.append(repr(collection.doc))
    return " ".join(parts)
