"""The verbs that exchange registries with the Rubin Data Butler: import of its export files, and export as such."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from federation.config import find_site
from federation.datastore import Datastore
from federation.errors import UsageError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.position import SchemaId
from federation.registry.butler.importing import ImportReport, import_export
from federation.registry.butler.reading import merge_exports, read_export, select
from federation.registry.butler.write_choice import matching_types
from federation.registry.butler.write_source import ExportSource
from federation.registry.butler.writing import ExportReport, write_export
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.snapshot_choice import read_ids

if TYPE_CHECKING:
    from federation.config.settings import QueryConfig
    from federation.model.catalog import SiteCatalog
    from federation.registry.butler.content import ButlerExport
    from federation.registry.butler.write_files import TransferMode

__all__ = ["export_butler", "import_butler", "read_butler"]


def import_butler(
    files: Sequence[str | Path],
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    datastore_root: str | Path | None = None,
    copy: bool = False,
    collections: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
) -> ImportReport:
    """Import registry export files of the Rubin Data Butler into a schema of a site, all of them or nothing.

    ``collections`` and ``dataset_types`` are globs that choose a part. With ``datastore_root`` the files of the
    datasets are registered where they are, or with ``copy`` copied into the site's datastore; without it, as absent.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        registry.check_writable()
        export = _chosen(registry, files, collections, dataset_types)
        if schema is not None:
            registry.create_schema(schema)
        return import_export(
            registry,
            export,
            schema=schema or registry.site,
            datastore_root=None if datastore_root is None else str(datastore_root),
            datastore=Datastore(config.datastore_url, config.datastore_options) if copy else None,
            transfer="copy" if copy else "direct",
        )


def read_butler(
    files: Sequence[str | Path],
    *,
    site: str,
    sites: str | Path = "sites",
    collections: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
) -> ButlerExport:
    """What `import_butler` would import; nothing is written."""
    with Registry.open(find_site(site, Path(sites))) as registry:
        return _chosen(registry, files, collections, dataset_types)


def _chosen(
    registry: Registry, files: Sequence[str | Path], collections: Sequence[str], dataset_types: Sequence[str]
) -> ButlerExport:
    universe = registry.universe
    export = merge_exports([read_export(Path(file), universe) for file in files], universe)
    return select(export, collections=collections or None, dataset_types=dataset_types or None)


def export_butler(
    target: str | Path,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    collections: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
    where: str | None = None,
    ids: Iterable[uuid.UUID] | Path | None = None,
    transfer: TransferMode = "none",
    directory: str | Path | None = None,
    leave_out: bool = False,
) -> ExportReport:
    """Write datasets of a schema of a site, with all they depend on, as an export file that a Butler imports.

    ``schema`` is one of the site's own or a replica (``site/name``). ``collections`` and ``dataset_types`` are globs,
    ``where`` is an SQL condition on the tables of ``dataset_types``, ``ids`` are dataset ids or a file with one a line;
    without any of them all of the schema is written. ``transfer`` says how files are named: ``none`` as recorded,
    ``direct`` by absolute URL, ``copy`` below ``directory``, where they are copied to. What a Butler can't hold is
    refused, or with ``leave_out`` left out. Works on the site's registry; no server is asked.
    """
    if where and not dataset_types:
        raise UsageError(
            "a condition without a dataset type", hint="say which datasets it is about: --dataset-types NAME"
        )
    if where and ids is not None:
        raise UsageError("a condition and ids", hint="give one of the two")
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        owner, slash, name = (schema or registry.site).partition("/")
        wanted = SchemaId(owner, name) if slash else SchemaId(registry.site, owner)
        registry.get(wanted)
        chosen = read_ids(ids) if isinstance(ids, Path) else ids
        if where:
            names = matching_types(ExportSource(registry, registry.get(wanted)), dataset_types)
            chosen = _meeting(registry, config.query, wanted, names, where)
        return write_export(
            registry,
            Path(target),
            schema=wanted,
            collections=collections,
            dataset_types=dataset_types,
            ids=chosen,
            transfer=transfer,
            directory=None if directory is None else Path(directory),
            datastore=Datastore(config.datastore_url, config.datastore_options),
            leave_out=leave_out,
        )


def _meeting(
    registry: Registry, query: QueryConfig, schema: SchemaId, dataset_types: Sequence[str], where: str
) -> list[uuid.UUID]:
    """Datasets of these types in one schema that meet an SQL condition."""
    source = CatalogSource(registry)

    def catalog() -> SiteCatalog:
        return source.catalog({held.schema: 0.0 for held in registry.held()})

    clients = {registry.site: LocalSite(registry, catalog)}
    with Coordinator(registry.site, clients, query) as coordinator:
        return [
            row["dataset_id"]
            for name in dataset_types
            for row in coordinator.query(
                f'SELECT dataset_id FROM "{schema.name}@{schema.site}"."{name}" WHERE ({where})'
            )
        ]
