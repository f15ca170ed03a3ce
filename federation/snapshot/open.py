"""Opening a snapshot for reading, wherever its directory has been moved to, also on media that take no writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.errors import ConflictError, CorruptionError
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.registry_copy import open_registry
from federation.snapshot.workspace import has_unfinished_extension

if TYPE_CHECKING:
    from pathlib import Path

    from federation.registry.registry import Registry

__all__ = ["open_snapshot"]


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
