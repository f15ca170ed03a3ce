"""The verb that brings a site's registry to the format of this software."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from federation.config import find_site
from federation.registry.migrating.migration import MigrationReport, migrate
from federation.services.server_lock import ServerLock
from federation.storage import open_database

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["migrate_registry"]


def migrate_registry(
    site: str,
    *,
    sites: str | Path = "sites",
    backup: str | Path | Literal[False] | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> MigrationReport:
    """Migrate the registry of a site to this software's format, after a backup; the same again goes on or does nothing.

    The backup is a new directory below ``backup`` (None: ``backup`` in the site's root; False: no backup). ``progress``
    gets a line for each step. `ConflictError` while a server runs on the site.
    """
    config = find_site(site, Path(sites))
    lock = ServerLock(config.root, config.name)
    try:
        with closing(open_database(config)) as database:
            parent = config.root / "backup" if backup is None else Path(backup) if backup else None
            return migrate(database, config.name, backup_in=parent, progress=progress)
    finally:
        lock.release()
