"""The backend that a URL or local path means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.datastore.fsspec_files import FsspecFiles
from federation.datastore.local_files import LocalFiles
from federation.datastore.location import file_system, local_path, without_credentials

if TYPE_CHECKING:
    from federation.config.stores import StoreOptions
    from federation.datastore.backend import Backend

__all__ = ["open_backend"]


def open_backend(url: str, options: StoreOptions | None = None) -> Backend:
    """The storage at a URL or local path; ``options`` are for an object store. `UserError` for what can't be used."""
    if url.startswith("s3://"):
        from federation.datastore.object_files import ObjectFiles

        return ObjectFiles(url, options)
    system, root = file_system(url)
    local = local_path(system, root)
    if local is not None:
        return LocalFiles(local, without_credentials(system.unstrip_protocol(root)).rstrip("/"))
    return FsspecFiles(system, root)
