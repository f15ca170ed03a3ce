"""``put`` and ``get``: datasets as Python objects, for programs and notebooks, and ``federation get``."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation.config import SiteConfig, find_site
from federation.datastore import Datastore
from federation.errors import NotFoundError, UnavailableError, UsageError
from federation.model.data_id import data_id_text
from federation.model.dataset import DatasetRef
from federation.registry.files.objects import Fetch, FileOf, OnConflict, copy_object, put_object, read_object
from federation.registry.lookup import DatasetLookup
from federation.registry.registry import Registry
from federation.registry.row_values import typed_data_id
from federation.registry.schema_admin import schema_to_write
from federation.wire.client import SiteClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from federation.model.timespan import Timespan

__all__ = ["get", "get_file", "put"]


def put(
    content: Any,
    dataset_type: str,
    data_id: Mapping[str, Any],
    *,
    run: str,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    once: bool = False,
    formatter: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    inputs: Sequence[uuid.UUID] = (),
    task: str | None = None,
    on_conflict: OnConflict = "refuse",
    user: str | None = None,
) -> DatasetRef:
    """Write a Python object into a site's datastore and register it: rows and file, or neither.

    The dataset type must be declared, and its storage class says which objects it takes; ``formatter`` overrules the
    format it is written in. With ``once`` the id follows from type, run and data ID. ``inputs`` are the datasets it was
    made from, by ``task``. ``user`` is on whose behalf it is written, into their own schema unless another is named
    that they may write; without it, the operator. See `federation.registry.files.objects.put_object` for conflicts.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        return put_object(
            registry,
            Datastore(config.datastore_url, config.datastore_options),
            content,
            schema=schema_to_write(registry, schema, user),
            dataset_type=dataset_type,
            data_id=data_id,
            run=run,
            once=once,
            formatter=formatter,
            metadata=metadata,
            inputs=inputs,
            task=task,
            on_conflict=on_conflict,
        )


def get(
    dataset: str | uuid.UUID | DatasetRef,
    data_id: Mapping[str, Any] | None = None,
    *,
    collections: str | Sequence[str] = (),
    timespan: Timespan | None = None,
    as_type: type | str | None = None,
    site: str,
    sites: str | Path = "sites",
    fetch: bool = False,
) -> Any:
    """A dataset as a Python object, from the file that a site has.

    ``dataset`` is an id or a `DatasetRef`; or the name of a dataset type, and the dataset is the first with ``data_id``
    in ``collections``, searched in order; CALIBRATION collections are searched for the one valid in ``timespan``. The
    data ID may have alternate keys, and leave out what its records determine. The dataset comes as the type of its
    storage class, or as ``as_type``: a class, or its name like ``astropy.table.Table``; ``bytes`` is always possible.
    With ``fetch`` a file that only another site has is asked of that site's server, and not kept.

    `NotFoundError` when there is no such dataset, or no file of it here, naming the sites that have one;
    `ConflictError` when two are valid in the timespan.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        ref = _ref(registry, dataset, data_id, collections, timespan)
        store = Datastore(config.datastore_url, config.datastore_options)
        return read_object(registry, store, ref, as_type, _fetch(config, ref) if fetch else None)


def get_file(
    dataset: str | uuid.UUID | DatasetRef,
    target: str | Path,
    data_id: Mapping[str, Any] | None = None,
    *,
    collections: str | Sequence[str] = (),
    timespan: Timespan | None = None,
    site: str,
    sites: str | Path = "sites",
    fetch: bool = False,
) -> tuple[DatasetRef, Path]:
    """Copy a dataset's file to ``target`` (a file or a directory), found as by `get`; the dataset and the new file."""
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        ref = _ref(registry, dataset, data_id, collections, timespan)
        store = Datastore(config.datastore_url, config.datastore_options)
        new = copy_object(registry, store, ref, Path(target), _fetch(config, ref) if fetch else None)
        return ref, new


def _ref(
    registry: Registry,
    dataset: str | uuid.UUID | DatasetRef,
    data_id: Mapping[str, Any] | None,
    collections: str | Sequence[str],
    timespan: Timespan | None,
) -> DatasetRef:
    if isinstance(dataset, DatasetRef):
        return dataset
    if isinstance(dataset, str) and data_id is None:
        try:
            dataset = uuid.UUID(dataset)
        except ValueError:
            raise UsageError(
                f"{dataset!r} is not a dataset id, and as a dataset type it needs a data ID",
                hint="give an id, or a type, a data ID and collections",
            ) from None
    lookup = DatasetLookup(registry)
    if isinstance(dataset, uuid.UUID):
        found = lookup.get_dataset(dataset)
        if found is None:
            raise NotFoundError(
                f"dataset {dataset} is not known at {registry.site}", hint="ask the site that has it"
            )
        return found
    chosen = (collections,) if isinstance(collections, str) else tuple(collections)
    if not chosen:
        raise UsageError(f"no collections to search for a {dataset}", hint="name at least one collection")
    typed = typed_data_id(registry.universe, data_id or {}, alternate_keys=True)
    found = lookup.find_dataset(dataset, typed, chosen, timespan=timespan)
    if found is None:
        when = "" if timespan is None else f" valid in {timespan}"
        raise NotFoundError(
            f"no {dataset} {data_id_text(typed, typed.values())}{when} in {', '.join(chosen)} at {registry.site}",
            hint="check data ID and collections"
            + (
                ", or give a timespan for those with validity ranges" if timespan is None else " and timespan"
            ),
        )
    return found


def _fetch(config: SiteConfig, ref: DatasetRef) -> Fetch:
    @contextlib.contextmanager
    def fetch(file: FileOf) -> Iterator[Iterable[bytes]]:
        peer = next((peer for peer in config.peers if peer.name == file.site), None)
        if peer is None:
            raise UnavailableError(
                f"dataset {ref.id} is at site {file.site}, which is no peer of {config.name}",
                hint=f"add a [[peer]] for {file.site}",
            )
        with (
            SiteClient(peer.name, str(peer.address), tls=config.tls) as client,
            client.fetch(ref.id) as stream,
        ):
            yield stream

    return fetch
