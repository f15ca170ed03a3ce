"""Python objects as datasets: written as a file and registered at once, and read back as the type asked for."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from federation.datastore import Datastore, artifact_path
from federation.errors import ConflictError, CorruptionError, NotFoundError, UnavailableError, UserError
from federation.formatters import formats
from federation.model.collection import Collection, CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetRef, DatasetType, deterministic_id
from federation.registry import artifacts, collections, provenance
from federation.registry.datasets import insert_many
from federation.registry.files.placing import local_of, suffix_of
from federation.registry.row_values import row_of
from federation.registry.views import dataset_type_of, views

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from federation.formatters import Formatter
    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = ["Fetch", "FileOf", "OnConflict", "copy_object", "put_object", "read_object"]


@attrs.frozen
class FileOf:
    """A file of a dataset, as recorded for one site."""

    site: str
    uri: str
    size_bytes: int | None
    checksum: str | None
    formatter: str | None
    present: bool


#: the bytes of a dataset's file from another site, of which a row of the registry says that it has one
Fetch = Callable[[FileOf], "AbstractContextManager[Iterable[bytes]]"]
#: what becomes of an object for whose data ID the RUN has a dataset
OnConflict = Literal["refuse", "ignore", "replace"]


def put_object(
    registry: Registry,
    datastore: Datastore,
    content: Any,
    *,
    schema: str,
    dataset_type: str,
    data_id: Mapping[str, Any],
    run: str,
    once: bool = False,
    formatter: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    inputs: Sequence[uuid.UUID] = (),
    task: str | None = None,
    on_conflict: OnConflict = "refuse",
) -> DatasetRef:
    """Write an object as a file of the datastore and register it in one RUN, which is made if it is not there.

    The file has its final name before the rows are committed: a process that is killed leaves a file that nobody knows
    (with ``once`` a later put overwrites it), never a row without a file. Metadata columns that are not given are
    filled by the formatter.

    `UserError` when the object is not of the type's storage class; `ConflictError` when the RUN has a dataset with this
    data ID, unless ``on_conflict`` says to keep that (``ignore``) or to remove it with its file (``replace``).
    """
    declared = dataset_type_of(registry, dataset_type)
    chosen = _formatter(declared, formatter)
    group = registry.universe.group(declared.dimensions)
    wanted = DataId.standardize(registry.universe, group, data_id)
    if once and on_conflict == "replace":
        raise UserError(
            "a dataset whose id follows from its data ID can't be replaced", hint="put it without once"
        )
    identity = deterministic_id(dataset_type, run, wanted) if once else registry.new_id()
    ref = DatasetRef(identity, dataset_type, wanted, run)
    with tempfile.TemporaryDirectory(prefix="federation-put-") as directory:
        path = Path(directory) / f"object{chosen.suffixes[0] if chosen.suffixes else ''}"
        formats().write(content, path, chosen, declared.storage_class)
        row = _metadata(registry, declared, chosen, path, metadata or {})
        edges = tuple((identity, one, task) for one in inputs)
        new = _NewObject(ref, data_id, row, path, chosen.name, edges, once)
        known, replaced = _register(registry, datastore, schema, new, on_conflict)
    for uri in replaced:
        if datastore.exists(uri):
            datastore.remove(uri)
    return known


@attrs.frozen
class _NewObject:
    """An object that is written to a local file, and what its rows will say."""

    ref: DatasetRef
    data_id: Mapping[str, Any]
    metadata: Mapping[str, Any]
    path: Path
    formatter: str
    edges: tuple[tuple[uuid.UUID, uuid.UUID, str | None], ...]
    #: whether the id follows from the data ID
    once: bool


def _register(
    registry: Registry, datastore: Datastore, schema: str, new: _NewObject, on_conflict: OnConflict
) -> tuple[DatasetRef, list[str]]:
    """Store and register in one transaction: (the dataset that is there now, files of the one it replaced)."""
    ref = new.ref
    target = artifact_path(ref.dataset_type, ref.run, ref.data_id, ref.id, new.path.suffix)
    # the file of a new id is nobody else's: it is copied before the schema is locked. Another put of an id that follows
    # from the data ID must not come between file and row
    stored = None if new.once else datastore.put_file(new.path, target)
    placed = stored is not None
    known, replaced = ref, []
    try:
        with registry.transaction(schema) as tx:
            old = _there(tx, ref.dataset_type, ref.run, ref.data_id)
            if old is not None and on_conflict == "refuse":
                raise ConflictError(
                    f"{ref.run} has the {ref.dataset_type} {ref.data_id} already: dataset {old}",
                    hint="put it into another RUN, or ignore or replace the old one",
                )
            if old is not None and on_conflict == "ignore":
                known = DatasetRef(old, ref.dataset_type, ref.data_id, ref.run)
            else:
                replaced = _own_files(tx, old)
                _insert(tx, new, on_conflict)
                placed = True
                stored = stored or datastore.put_file(new.path, target)
                artifact = artifacts.Artifact(
                    ref.id, target, stored.size_bytes, stored.checksum, new.formatter
                )
                artifacts.record(tx, [artifact])
    except UnavailableError:
        raise  # whether the rows were committed is not known: a file too many does no harm
    except BaseException:
        if placed and datastore.exists(target):
            datastore.remove(target)
        raise
    if placed and known.id != ref.id:
        datastore.remove(target)
    return known, replaced


def _insert(tx: Transaction, new: _NewObject, on_conflict: OnConflict) -> None:
    """Register the dataset, in a RUN that is made if it is not there."""
    ref = new.ref
    if not tx.select("collection", ("name",), [(ref.run,)]):
        collections.register(tx, Collection(ref.run, CollectionType.RUN))
    insert_many(
        tx,
        ref.dataset_type,
        ref.run,
        [new.data_id],
        ids=[ref.id],
        metadata=[new.metadata],
        on_conflict="replace" if on_conflict == "replace" else "refuse",
    )
    provenance.add_edges(tx, new.edges)


def _formatter(declared: DatasetType, name: str | None) -> Formatter:
    known = formats()
    if name is not None:
        chosen = known.formatter(name)
        known.check_fits(chosen, declared.storage_class, f"dataset type {declared.name}")
        return chosen
    storage_class = known.storage_class(declared.storage_class)
    if storage_class is None:
        raise UserError(
            f"nothing says how a {declared.name} (storage class {declared.storage_class}) is written",
            hint="name a formatter: " + ", ".join(formatter.name for formatter in known.formatters),
        )
    return known.formatter(storage_class.formatter)


def _metadata(
    registry: Registry, declared: DatasetType, formatter: Formatter, path: Path, given: Mapping[str, Any]
) -> dict[str, Any]:
    table = registry.table_of(declared)
    row = row_of(table, given, f"metadata of the {declared.name}")
    missing = [field.name for field in declared.metadata if field.name not in row]
    return row | row_of(table, formatter.metadata(path, missing) if missing else {}, f"the {declared.name}")


def _there(tx: Transaction, dataset_type: str, run: str, data_id: DataId) -> uuid.UUID | None:
    rows = tx.select(dataset_type, ("run", *data_id.keys_), [(run, *data_id.values_)])
    return rows[0]["dataset_id"] if rows else None


def _own_files(tx: Transaction, dataset_id: uuid.UUID | None) -> list[str]:
    """Files of a dataset in this site's datastore."""
    if dataset_id is None:
        return []
    rows = tx.select("artifact", ("dataset_id",), [(dataset_id,)])
    return [row["uri"] for row in rows if row["site"] == tx.registry.site and "://" not in row["uri"]]


# -- reading ----------------------------------------------------------------------------------------------------


def read_object(
    registry: Registry,
    datastore: Datastore,
    ref: DatasetRef,
    as_type: type | str | None = None,
    fetch: Fetch | None = None,
) -> Any:
    """The dataset as what its storage class says, or as ``as_type``.

    Its file is read where it is; one that only other sites have is brought by ``fetch``, for this once. `NotFoundError`
    names those sites when there is no ``fetch``; `UserError` when the file can't be read as that type.
    """
    storage_class = dataset_type_of(registry, ref.dataset_type).storage_class
    with _local_file(registry, datastore, ref, fetch) as (path, file):
        chosen = formats().choose(file.formatter, file.uri)
        return formats().read(path, chosen, storage_class, as_type)


def copy_object(
    registry: Registry, datastore: Datastore, ref: DatasetRef, target: Path, fetch: Fetch | None = None
) -> Path:
    """Copy the dataset's file, byte by byte, to ``target``, or into it where that is a directory; the new file."""
    with _local_file(registry, datastore, ref, fetch) as (path, file):
        if target.is_dir():
            target /= file.uri.rpartition("/")[2]
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise UserError(f"cannot write {target}: {error.strerror}", hint="check the path") from error
    return target


def _files_of(registry: Registry, dataset_id: uuid.UUID) -> tuple[FileOf, ...]:
    """Files of a dataset as the schemas held here record them, one a site, this site's first."""
    names = ("site", "uri", "size_bytes", "checksum", "formatter", "present")
    found: dict[str, FileOf] = {}
    for view in views(registry):
        for row in view.rows("artifact", ("dataset_id",), [(dataset_id,)], names):
            file = FileOf(*row)
            if file.site not in found or (file.present and not found[file.site].present):
                found[file.site] = file
    return tuple(sorted(found.values(), key=lambda file: (file.site != registry.site, file.site)))


def _place(datastore: Datastore, uri: str) -> Path | None:
    """The local path of one of this site's files; None where it is remote."""
    if "://" in uri:
        path = local_of(uri)
        return None if path is None else Path(path)
    return None if datastore.local_root is None else datastore.local_root / datastore.relative(uri)


@contextlib.contextmanager
def _local_file(
    registry: Registry, datastore: Datastore, ref: DatasetRef, fetch: Fetch | None
) -> Iterator[tuple[Path, FileOf]]:
    """A local path of the dataset's file; what is remote is copied first, and the copy removed at the end."""
    what = f"{ref.dataset_type} {ref.data_id} in {ref.run}"
    files = [file for file in _files_of(registry, ref.id) if file.present]
    if not files:
        raise NotFoundError(
            f"no site has a file of {what} (dataset {ref.id})", hint="it was registered without one"
        )
    file = files[0]
    if file.site == registry.site:
        local = _place(datastore, file.uri)
        if local is not None:
            if not local.is_file():
                raise CorruptionError(
                    f"{local}, the file of {what}, is gone", hint="restore it, or get it from another site"
                )
            yield local, file
            return
    elif fetch is None:
        raise NotFoundError(
            f"{what} is at {', '.join(file.site for file in files)}, not at {registry.site}",
            hint="allow it to be fetched, or ask for its files to be replicated",
        )
    with tempfile.TemporaryDirectory(prefix="federation-get-") as directory:
        store = Datastore(directory)
        name = f"file{suffix_of(file.uri)}"
        if file.site == registry.site:
            source: AbstractContextManager[Iterable[bytes]] = datastore.source_of(file.uri).open()
        else:
            assert fetch is not None
            source = fetch(file)
        with source as chunks:
            store.put_stream(chunks, name, size_bytes=file.size_bytes, checksum=file.checksum)
        yield Path(directory) / name, file
