"""Writes a registry export file that ``lsst-daf-butler`` imports: a choice of a schema, with all it depends on."""

from __future__ import annotations

import itertools
import tempfile
from typing import IO, TYPE_CHECKING, Any

import attrs

from federation.datastore.durable import partial_file
from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.model.logical import LogicalType
from federation.registry.butler.write_associations import Associations
from federation.registry.butler.write_choice import choose, without_place
from federation.registry.butler.write_files import ExportFiles, TransferMode, butler_formatter
from federation.registry.butler.write_records import RecordSpool
from federation.registry.butler.write_source import ExportSource
from federation.registry.butler.write_text import (
    collection_entry,
    dataset_record,
    dataset_type_entry,
    file_head,
    text,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from federation.datastore import Datastore
    from federation.model.collection import Collection
    from federation.model.dataset import DatasetType
    from federation.model.position import SchemaId
    from federation.registry.butler.write_choice import Choice
    from federation.registry.butler.write_source import FileRow
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["ExportReport", "write_export"]

_COPY_BYTES = 1 << 20


@attrs.frozen
class ExportReport:
    """What an export file holds; ``warnings`` say, a line each, what was left out."""

    records: int
    dataset_types: int
    collections: int
    datasets: int
    members: int
    validity_ranges: int
    files: int
    copied_bytes: int
    warnings: tuple[str, ...]


def write_export(
    registry: Registry,
    target: Path,
    *,
    schema: SchemaId,
    collections: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
    ids: Iterable[uuid.UUID] | None = None,
    transfer: TransferMode = "none",
    directory: Path | None = None,
    datastore: Datastore | None = None,
    leave_out: bool = False,
) -> ExportReport:
    """Write datasets of a schema with dimension records, dataset types, collections and associations to ``target``.

    ``collections`` and ``dataset_types`` are globs, ``ids`` the only datasets to write; without any choice all of the
    schema is written. A chain brings what it leads to. Nothing is at ``target`` before all of it is complete.
    What a Butler can't hold is a `UserError` that names it, or with ``leave_out`` left out and told in the report.
    """
    source = ExportSource(registry, registry.get(schema))
    warnings = list(_check_universe(source, leave_out=leave_out))
    omitted = without_place(registry.universe) if leave_out else ()
    choice = choose(source, collections, dataset_types, ids)
    files = ExportFiles(transfer, datastore, directory)
    with RecordSpool(source, omitted) as records, tempfile.TemporaryFile() as spool:
        writer = _Writer(
            source, choice, files, records, spool, {name for name, column in omitted if not column}
        )
        writer.datasets()
        associations = writer.associations
        associations.collect(writer.written, leave_out=leave_out)
        written = _collections(choice, writer, leave_out=leave_out)
        if choice.is_whole:
            records.take_all()
        records.complete()
        types = writer.types()
        warnings += [*writer.warnings(types), *associations.warnings, *written.warnings]
        copied = files.copy()
        with partial_file(target) as file:
            file.write(file_head(registry.universe.namespace, registry.universe.version).encode())
            for chunk in records.entries():
                file.write(chunk)
            for dataset_type in types:
                file.write(dataset_type_entry(dataset_type).encode())
            for collection in written.collections:
                file.write(collection_entry(collection).encode())
            spool.seek(0)
            while chunk := spool.read(_COPY_BYTES):
                file.write(chunk)
            for entry in associations.entries():
                file.write(entry.encode())
            file.publish()
    return ExportReport(
        records.count, len(types), len(written.collections), len(writer.written), associations.members,
        associations.validity_ranges, files.count, copied, tuple(warnings),
    )  # fmt: skip


def _check_universe(source: ExportSource, *, leave_out: bool) -> Iterator[str]:
    for element, column in without_place(source.registry.universe):
        what = f"dimension {element!r}" if not column else f"column {element}.{column}"
        if not leave_out:
            raise UserError(
                f"{what} of {source.registry.site} has no place in a Butler", hint="leave it out: --leave-out"
            )
        yield f"{what} is left out: a Butler's universe lacks it"


class _Writer:
    """Writes entries of datasets to a spool, and gathers what these need."""

    def __init__(
        self,
        source: ExportSource,
        choice: Choice,
        files: ExportFiles,
        records: RecordSpool,
        spool: IO[bytes],
        omitted: set[str],
    ) -> None:
        self._source, self._choice, self._files, self._spool = source, choice, files, spool
        self._records, self._omitted = records, omitted
        self.associations = Associations(source, choice)
        #: dataset type by dataset
        self.written: dict[uuid.UUID, str] = {}
        #: RUNs of datasets, by the schema that has them
        self.runs: dict[str, HeldSchema] = {}
        self._used: set[str] = set()

    def datasets(self) -> None:
        """Every chosen dataset, once."""
        choice, members = self._choice, self.associations.members_elsewhere()
        if choice.ids is not None:
            self._by_id(choice.ids, set() if choice.only_used else members)
            return
        for held, runs in choice.runs().items():
            for name in choice.dataset_types:
                self._of_type(held, name, runs=runs)
        self._by_id(members - self.written.keys(), None, strict=False)

    def _by_id(
        self, ids: Iterable[uuid.UUID], members: set[uuid.UUID] | None, *, strict: bool = True
    ) -> None:
        """Datasets by identity; with ``members``, only those or such as are in a chosen RUN."""
        wanted = set(ids)
        found = self._source.find("dataset", ("dataset_id",), [(i,) for i in wanted])
        missing = [i for i in wanted if (i,) not in found]
        if missing and strict:
            raise NotFoundError(
                f"dataset {min(missing)} is not known at {self._source.registry.site}",
                hint="check the id, or follow the site that has it",
            )
        runs = {run for names in self._choice.runs().values() for run in names}
        by_type: dict[tuple[HeldSchema, str], list[uuid.UUID]] = {}
        for (identity,), (held, row) in found.items():
            is_chosen = members is None or self._choice.only_used or identity in members or row["run"] in runs
            if row["dataset_type"] in self._choice.dataset_types and is_chosen:
                by_type.setdefault((held, row["dataset_type"]), []).append(identity)
        for (held, name), chosen in by_type.items():
            self._of_type(held, name, ids=chosen)

    def _of_type(
        self,
        held: HeldSchema,
        name: str,
        *,
        runs: set[str] | None = None,
        ids: Iterable[uuid.UUID] | None = None,
    ) -> None:
        dataset_type = self._source.dataset_types[name]
        universe = self._source.registry.universe
        dimensions = universe.group(dataset_type.dimensions).required
        lacking = [dimension for dimension in dimensions if dimension in self._omitted]
        if lacking:
            return
        places = self._records.places(dimensions)
        shows: list[tuple[str, Callable[[Any], str]]] = [
            (dimension, text if universe[dimension].key_type is LogicalType.STRING else str)
            for dimension in dimensions
        ]
        batches = self._source.datasets(held, name, dimensions, runs=runs, ids=ids)
        rows = (row for batch in batches for row in batch if row.dataset_id not in self.written)
        for run, of_run in itertools.groupby(rows, key=lambda row: row.run):
            self.runs.setdefault(run, held)
            self._used.add(name)
            head = f"- type: dataset\n  dataset_type: {name}\n  run: {text(run)}\n  records:\n"
            self._spool.write(head.encode())
            for _, shared in itertools.groupby(of_run, key=lambda row: row.uri or row.dataset_id):
                self._record(dataset_type, list(shared), dimensions, shows, places)

    def _record(
        self,
        dataset_type: DatasetType,
        rows: list[FileRow],
        dimensions: Sequence[str],
        shows: Sequence[tuple[str, Callable[[Any], str]]],
        places: Sequence[tuple[set[tuple[Any, ...]], tuple[int, ...]]],
    ) -> None:
        """The datasets of one file."""
        shown = []
        for row in rows:
            values = row.data_id
            self.written[row.dataset_id] = dataset_type.name
            for keys, at in places:
                keys.add(tuple([values[place] for place in at]))
            parts = [f"{name}: {show(value)}" for (name, show), value in zip(shows, values, strict=True)]
            shown.append(f"{{{', '.join(parts)}}}")
        first = rows[0]
        path = self._files.path(dataset_type.name, first, dict(zip(dimensions, first.data_id, strict=True)))
        formatter = None
        if path is not None:
            formatter = butler_formatter(first.formatter, dataset_type.storage_class, path)
        ids = [row.dataset_id for row in rows]
        self._spool.write(dataset_record(ids, shown, path, formatter).encode())

    def types(self) -> list[DatasetType]:
        """The dataset types to declare: all of the home schema, those that were named, or those of datasets."""
        source, choice = self._source, self._choice
        names = set(self._used)
        if choice.is_whole:
            names |= {row["name"] for row in source.rows(source.home, "dataset_type")}
        known = [source.dataset_types[name] for name in choice.dataset_types if name in names]
        for dataset_type in known:
            self._check_declared_alike(dataset_type)
        return [known_type for known_type in known if not self._omitted & set(known_type.dimensions)]

    def _check_declared_alike(self, dataset_type: DatasetType) -> None:
        for held in self._source.schemas:
            for row in self._source.select(held, "dataset_type", ("name",), [(dataset_type.name,)]):
                named = {
                    "dimensions": ",".join(dataset_type.dimensions),
                    "storage_class": dataset_type.storage_class,
                }
                if held in self.runs.values() and any(row[key] != value for key, value in named.items()):
                    raise ConflictError(
                        f"dataset type {dataset_type.name!r} is declared otherwise in {held.schema}",
                        hint="export the schemas one by one",
                    )

    def warnings(self, types: Sequence[DatasetType]) -> Iterator[str]:
        """What of the dataset types is not written."""
        for dataset_type in types:
            if dataset_type.metadata:
                names = ", ".join(field.name for field in dataset_type.metadata)
                yield f"{dataset_type.name}: metadata columns {names} are left out: a Butler has none"
        for name in self._choice.dataset_types:
            if self._omitted & set(self._source.dataset_types[name].dimensions):
                yield f"dataset type {name!r} is left out: a Butler's universe lacks its dimensions"


@attrs.frozen
class _Collections:
    collections: tuple[Collection, ...]
    warnings: tuple[str, ...]


def _collections(choice: Choice, writer: _Writer, *, leave_out: bool) -> _Collections:
    """The collections to write, children before the chains that search them."""
    known = {name: collection for name, (_, collection) in choice.collections.items()}
    wanted = set(known)
    if choice.only_used:
        wanted = {*writer.runs, *writer.associations.collections}
        while True:  # a chain is written when all that it leads to is
            more = {
                name
                for name, collection in known.items()
                if collection.children and set(collection.children) <= wanted and name not in wanted
            }
            if not more:
                break
            wanted |= more
    unknown = writer.runs.keys() - known.keys()
    for held, names in _by_schema(writer.runs, unknown).items():
        known |= writer.associations.collections_in(held, names)
    wanted |= unknown
    warnings = []
    for chain, child in choice.missing_children:
        if chain not in wanted:
            continue
        if not leave_out:
            raise NotFoundError(
                f"chain {chain!r} searches {child!r}, which no schema here has",
                hint="follow the site that has it, or leave it out: --leave-out",
            )
        known[chain] = attrs.evolve(
            known[chain], children=tuple(name for name in known[chain].children if name != child)
        )
        warnings.append(f"chain {chain!r}: its child {child!r} is left out: no schema here has it")
    order = sorted(known.keys() & wanted, key=lambda name: (known[name].type is CollectionType.CHAINED, name))
    return _Collections(tuple(known[name] for name in order), tuple(warnings))


def _by_schema(runs: dict[str, HeldSchema], names: Iterable[str]) -> dict[HeldSchema, list[str]]:
    found: dict[HeldSchema, list[str]] = {}
    for name in names:
        found.setdefault(runs[name], []).append(name)
    return found
