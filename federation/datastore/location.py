"""Where a store's URL points: the file system behind it, and the checks that keep paths below its root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import fsspec
import fsspec.core

from federation.datastore.io_errors import as_federation_error, store_errors
from federation.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

# instead of fsspec's own, which accepts any server; loaded when such a URL is used
for _protocol in ("sftp", "ssh"):
    fsspec.register_implementation(_protocol, "federation.datastore.sftp_system.SftpSystem", clobber=True)

__all__ = ["check_relative", "file_system", "local_path", "without_credentials"]


def file_system(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """(fsspec file system, path on it) of a URL or local path; `UserError` for one that cannot be used."""
    if "\0" in url:
        raise UserError(f"URL {url!r} has a NUL character", hint="correct the URL")
    try:
        system, path = fsspec.core.url_to_fs(url, **(options or {}))
    except (ImportError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"no file store for URL {without_credentials(url)}: {reason}",
            hint="use a path, file://, memory://, or install the fsspec package for this protocol",
        ) from error
    except store_errors() as error:
        raise as_federation_error(error, "reach", without_credentials(url)) from error
    return system, str(path)


def local_path(system: Any, path: str) -> Path | None:
    """``path`` when the file system is this computer's, else None."""
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    return Path(path) if "file" in protocols else None


def without_credentials(url: str) -> str:
    """``url`` fit for messages: user, password and query, which may hold secrets, are left out."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def check_relative(path: str, root: str) -> str:
    """``path`` if it stays below a root; `UserError` for ``..``, ``.``, absolute paths, URLs, NUL and empty parts."""
    parts = path.split("/")
    if not path or path.startswith("/") or "\0" in path or "\\" in path or "://" in path:
        problem = "is not a relative path"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "has an empty, '.' or '..' part"
    else:
        return path
    raise UserError(f"path {path!r} {problem}", hint=f"name a file below {root}, like run/type/file.fits")


def check_contained(root: Path, path: Path, *, follow: bool) -> Path:
    """``path`` if it lies below ``root`` after symbolic links; the last part is followed only with ``follow``."""
    real_root = os.path.realpath(root)
    real = os.path.realpath(path) if follow else os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
    if os.path.commonpath([real_root, real]) != real_root or real == real_root:
        raise UserError(
            f"path {path} leads to {real}, outside of {real_root}",
            hint="remove the symbolic link or move the file",
        )
    return path
