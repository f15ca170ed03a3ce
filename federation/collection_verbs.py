"""The verbs of ``federation collection``, for programs.

Each works on the registry of one site, with or without its server: what a condition or statement chooses is chosen from
the schemas and replicas that this registry holds.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from federation.config import find_site
from federation.datastore import Datastore
from federation.errors import NotFoundError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.timespan import Timespan
from federation.registry import collections, grants
from federation.registry.catalog import CatalogSource
from federation.registry.collection_info import list_collections as list_all
from federation.registry.collection_info import show_collection as show_one
from federation.registry.registry import Registry
from federation.registry.row_values import typed_data_id
from federation.snapshot.source import FederatedSource
from federation.snapshot_choice import selection_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from federation.config import SiteConfig
    from federation.model.catalog import SiteCatalog
    from federation.registry.collection_info import CollectionDetails, CollectionInfo
    from federation.registry.collections import Validity
    from federation.registry.transaction import Transaction

__all__ = [
    "certify_datasets",
    "chain_collections",
    "create_collection",
    "decertify_datasets",
    "find_calibrations",
    "list_collections",
    "remove_collection",
    "show_collection",
    "tag_datasets",
    "untag_datasets",
]

#: how children are put into a chain
ChainMode = Literal["redefine", "prepend", "extend", "remove"]
_CHAIN_MODES = {
    "redefine": collections.redefine_chain,
    "prepend": collections.prepend_to_chain,
    "extend": collections.extend_chain,
    "remove": collections.remove_from_chain,
}


@contextmanager
def _open(site: str, sites: str | Path) -> Iterator[tuple[SiteConfig, Registry]]:
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        yield config, registry


@contextmanager
def _writing(registry: Registry, schema: str | None, user: str | None) -> Iterator[Transaction]:
    """A transaction on a schema of the site (None: its own) that the user may write."""
    name = schema or registry.site
    grants.check(registry, user, grants.Privilege.WRITE, name)
    with registry.transaction(name) as tx:
        yield tx


def list_collections(
    globs: Sequence[str] = (),
    *,
    site: str,
    sites: str | Path = "sites",
    types: Sequence[CollectionType | str] = (),
) -> list[CollectionInfo]:
    """Collections in a site's registry, replicas included, whose names match one of ``globs``, by name."""
    with _open(site, sites) as (_, registry):
        return list_all(registry, globs, [_type(type_) for type_ in types])


def show_collection(name: str, *, site: str, sites: str | Path = "sites") -> CollectionDetails:
    """A collection in a site's registry in detail: chains, dataset types, governor values, counts."""
    with _open(site, sites) as (_, registry):
        return show_one(registry, name)


def create_collection(
    name: str,
    type: CollectionType | str,  # noqa: A002 - the field's word
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    doc: str | None = None,
    children: Sequence[str] = (),
    user: str | None = None,
) -> bool:
    """Register a collection in a schema of a site (None: its own); True when anything changed.

    In this and the other verbs ``user`` is on whose behalf it is done; without it, the operator, who runs the process.
    """
    wanted = Collection(name, _type(type), doc, tuple(children))
    if children and wanted.type is not CollectionType.CHAINED:
        raise UserError(f"a {wanted.type} collection has no children", hint="make it CHAINED")
    if not name.strip() or name != name.strip():
        raise UserError(f"collection name {name!r} is empty or begins or ends with a blank", hint="mend it")
    with _open(site, sites) as (_, registry), _writing(registry, schema, user) as tx:
        return collections.register(tx, wanted)


def _type(text: CollectionType | str) -> CollectionType:
    try:
        return CollectionType(str(text).upper())
    except ValueError:
        raise UserError(
            f"{text!r} is no type of collection", hint="one of " + ", ".join(CollectionType)
        ) from None


def chain_collections(
    name: str,
    children: Sequence[str],
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    mode: ChainMode = "redefine",
    user: str | None = None,
) -> tuple[str, ...]:
    """Change the children of a CHAINED collection; returns them as they are now.

    ``redefine`` makes ``children`` all there are, ``prepend`` and ``extend`` put them before or after the others,
    ``remove`` takes them out.
    """
    if mode not in _CHAIN_MODES:
        raise UserError(f"{mode!r} is no way to change a chain", hint="one of " + ", ".join(_CHAIN_MODES))
    with _open(site, sites) as (_, registry), _writing(registry, schema, user) as tx:
        _CHAIN_MODES[mode](tx, name, children)
        rows = tx.select("collection_chain", ("parent",), [(name,)])
        return tuple(row["child"] for row in sorted(rows, key=lambda row: int(row["position"])))


def tag_datasets(
    name: str,
    ids: Iterable[uuid.UUID] | Path | None = None,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    dataset_types: Sequence[str] = (),
    where: str | None = None,
    sql: str | None = None,
    replace: bool = False,
    user: str | None = None,
) -> int:
    """Put datasets into a TAGGED collection; returns how many were not in it.

    Chosen are ``ids`` (or a file with one a line), what of ``dataset_types`` meets ``where``, and what ``sql`` gives as
    ``dataset_id``. With ``replace`` a dataset takes the place of another of its type and data ID.
    """
    with _open(site, sites) as (config, registry):
        chosen = _chosen(config, registry, ids, dataset_types, where, sql)
        with _writing(registry, schema, user) as tx:
            return collections.tag(tx, name, chosen, replace=replace)


def untag_datasets(
    name: str,
    ids: Iterable[uuid.UUID] | Path | None = None,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    dataset_types: Sequence[str] = (),
    where: str | None = None,
    sql: str | None = None,
    user: str | None = None,
) -> int:
    """Take datasets, chosen as for `tag_datasets`, out of a TAGGED collection; returns how many were in it."""
    with _open(site, sites) as (config, registry):
        chosen = _chosen(config, registry, ids, dataset_types, where, sql)
        with _writing(registry, schema, user) as tx:
            return collections.untag(tx, name, chosen)


def certify_datasets(
    name: str,
    timespan: Timespan,
    ids: Iterable[uuid.UUID] | Path | None = None,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    dataset_types: Sequence[str] = (),
    where: str | None = None,
    sql: str | None = None,
    user: str | None = None,
) -> int:
    """Declare calibrations, chosen as for `tag_datasets`, valid for a timespan in a CALIBRATION collection.

    Returns how many validity ranges are new.
    """
    with _open(site, sites) as (config, registry):
        chosen = _chosen(config, registry, ids, dataset_types, where, sql)
        with _writing(registry, schema, user) as tx:
            return collections.certify(tx, name, timespan, chosen)


def decertify_datasets(
    name: str,
    dataset_type: str,
    timespan: Timespan,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    data_ids: Iterable[Mapping[str, Any]] | None = None,
    user: str | None = None,
) -> int:
    """Make nothing of a type valid in a timespan, for some data IDs or all; returns how many ranges were cut."""
    with _open(site, sites) as (_, registry):
        typed = (
            None if data_ids is None else [typed_data_id(registry.universe, data_id) for data_id in data_ids]
        )
        with _writing(registry, schema, user) as tx:
            return collections.decertify(tx, name, dataset_type, timespan, typed)


def find_calibrations(
    name: str,
    dataset_type: str,
    timespan: Timespan,
    *,
    site: str,
    sites: str | Path = "sites",
    data_ids: Iterable[Mapping[str, Any]] | None = None,
) -> list[Validity]:
    """The calibrations of a type valid in some part of a timespan, by a CALIBRATION collection or a chain of them."""
    with _open(site, sites) as (_, registry):
        typed = (
            None if data_ids is None else [typed_data_id(registry.universe, data_id) for data_id in data_ids]
        )
        return collections.valid_at(registry, name, dataset_type, timespan, typed)


def remove_collection(
    name: str,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    unchain: bool = False,
    purge: bool = False,
    user: str | None = None,
) -> tuple[int, int]:
    """Remove a collection; returns how many datasets, and how many files of the site's datastore, went with it.

    Refused while a chain leads to it unless ``unchain``, and while a RUN holds datasets unless ``purge``. Rows go
    first: a run that is cut short leaves files that no registry knows, never a dataset without its file.
    """
    with _open(site, sites) as (config, registry):
        store = Datastore(config.datastore_url, config.datastore_options)
        with _writing(registry, schema, user) as tx:
            uris = _files_of(tx, name) if purge else []
            count = collections.remove_collection(tx, name, unchain=unchain, purge=purge)
        own = [uri for uri in uris if "://" not in uri and store.exists(uri)]
        for uri in own:
            store.remove(uri)
        return count, len(own)


def _files_of(tx: Transaction, run: str) -> list[str]:
    keys = [(row["dataset_id"], tx.registry.site) for row in tx.select("dataset", ("run",), [(run,)])]
    rows = tx.select("artifact", ("dataset_id", "site"), keys)
    return [row["uri"] for row in rows if row["present"]]


def _chosen(
    config: SiteConfig,
    registry: Registry,
    ids: Iterable[uuid.UUID] | Path | None,
    dataset_types: Sequence[str],
    where: str | None,
    sql: str | None,
) -> list[uuid.UUID]:
    """Datasets that a caller chooses, from what this registry holds; `NotFoundError` for none."""
    selection = selection_of(where, dataset_types, sql, ids, (), ())
    chosen = dict.fromkeys(selection.ids)
    if selection.sql:
        source = CatalogSource(registry)

        def catalog() -> SiteCatalog:
            return source.catalog({held.schema: 0.0 for held in registry.held()})

        clients = {registry.site: LocalSite(registry, catalog)}
        with Coordinator(registry.site, clients, config.query) as coordinator:
            chosen.update(dict.fromkeys(FederatedSource(coordinator).seeds(selection.sql)))
    if not chosen:
        raise NotFoundError(f"no dataset matches: {selection}", hint="check the selection with a query")
    return list(chosen)
