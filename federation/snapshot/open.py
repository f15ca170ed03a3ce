"""Opening a snapshot for reading, wherever its directory has been moved to, also on media that take no writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.errors import ConflictError, CorruptionError
from federation.registry.catalog import CatalogSource
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.registry_copy import open_registry
from federation.snapshot.workspace import has_unfinished_extension

if TYPE_CHECKING:
    from pathlib import Path

    from federation.model.catalog import SiteCatalog
    from federation.registry.registry import Registry

__all__ = ["open_snapshot", "snapshot_catalog"]


def snapshot_catalog(registry: Registry) -> SiteCatalog:
    """What an opened snapshot holds, for a coordinator that has it as a site.

    Its replicas count as up to date: a snapshot is a state of the past, which does not age.
    """
    return CatalogSource(registry).catalog({held.schema: 0.0 for held in registry.held() if not held.owned})


def open_snapshot(directory: Path) -> Registry:
    """The registry of the snapshot in ``directory``, which is read and never written.

    Paths of files in its own schema are relative to ``directory``. `NotFoundError` for a directory that is no
    snapshot, `UserError` for a format that this version does not know, `ConflictError` while an extension is half
    carried out.
    """
    manifest = SnapshotManifest.load(directory)
    if has_unfinished_extension(directory):
        raise ConflictError(
            f"an extension of {directory} was cut short",
            hint="complete it: federation snapshot extend, with the same selection",
        )
    registry = open_registry(directory.absolute(), manifest.site, read_only=True)
    if registry.universe.fingerprint != manifest.universe:
        registry.close()
        raise CorruptionError(
            f"{directory}: registry and manifest have different dimension universes",
            hint="run: federation snapshot verify",
        )
    return registry
