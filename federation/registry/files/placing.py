"""Bringing one file of an ingest to its place: copied, moved, linked, or left where it is."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from federation.datastore import UrlSource
from federation.datastore.checksum import of_chunks
from federation.datastore.durable import fsync_directory, make_directories
from federation.datastore.io_errors import as_federation_error
from federation.datastore.store import Datastore, Stored
from federation.errors import ConflictError, NotFoundError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mode", "content_of", "local_of", "place", "remove_source", "suffix_of", "url_of"]

Mode = Literal["copy", "move", "link", "direct"]
_PACKED = (".gz", ".fz", ".bz2", ".xz", ".zst")
#: files up to this size are hashed in one piece, which saves half of the time for the smallest
_WHOLE_BYTES = 1 << 20


def local_of(path: str) -> str | None:
    """The absolute path of the local file that a path or ``file://`` URL means; None for a remote one."""
    if "://" in path:
        return path.removeprefix("file://") if path.startswith("file://") else None
    # texts, not Path objects, which would take as long as reading a small file
    return path if path.startswith("/") else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118


def url_of(path: str) -> str:
    """The absolute URL of a path or URL."""
    return path if "://" in path else f"file://{local_of(path)}"


def suffix_of(path: str) -> str:
    """The end of the name that says how it is read.

    >>> suffix_of("a/b.1.fits.gz"), suffix_of("x.YAML"), suffix_of("v1.2-beta")
    ('.fits.gz', '.YAML', '')
    """
    suffixes = Path(path).suffixes
    kept = suffixes[-2:] if suffixes and suffixes[-1].lower() in _PACKED else suffixes[-1:]
    text = "".join(kept)
    fit = all(part.isalnum() and part.isascii() and len(part) <= 10 for part in text.split(".")[1:])
    return text if fit else ""


def content_of(path: str) -> Stored:
    """Size and checksum of the file at a path or URL; `NotFoundError` when it is missing."""
    local = local_of(path)
    if local is None:
        with UrlSource(path).open() as chunks:
            return Stored(*of_chunks(chunks))
    try:
        with open(local, "rb", buffering=0) as file:  # noqa: PTH123 - see local_of
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(file.read()) if size <= _WHOLE_BYTES else None
            if digest is None:
                digest = hashlib.file_digest(file, "sha256")
    except FileNotFoundError:
        raise NotFoundError(f"no file {local}", hint="check the path") from None
    except OSError as error:
        raise as_federation_error(error, "read", local) from error
    return Stored(size, f"sha256:{digest.hexdigest()}")


def _content_at(datastore: Datastore, target: str) -> Stored:
    if datastore.local_root is not None:
        return content_of(datastore.resolve(target))
    with datastore.source(target).open() as chunks:
        return Stored(*of_chunks(chunks))


def place(datastore: Datastore, path: str, target: str, mode: Mode, on_placed: Callable[[], None]) -> Stored:
    """Bring a file to ``target`` in the datastore; what it holds. ``on_placed`` is called when the file is new there.

    `ConflictError` when another content is there already.
    """
    if datastore.exists(target):
        stored = _content_at(datastore, target)
        if stored != content_of(path):
            raise ConflictError(
                f"{datastore.resolve(target)} has other content than {path}",
                hint="a file is never overwritten; remove the one that is wrong",
            )
        return stored
    if mode == "link":
        _link(datastore, path, target)
        on_placed()
        return _content_at(datastore, target)
    stored = datastore.put_file(url_of(path), target)
    on_placed()
    return stored


def _link(datastore: Datastore, path: str, target: str) -> None:
    local = local_of(path)
    if local is None or datastore.local_root is None:
        raise UserError(f"{path} can't be linked: it is not a local file", hint="copy it")
    new = datastore.local_root / target
    try:
        make_directories(new.parent)
        os.link(Path(local).resolve(), new)
        fsync_directory(new.parent)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise UserError(
                f"{local} can't be linked to {new}: {error.strerror}",
                hint="copy it: links end at the file system",
            ) from error
        raise as_federation_error(error, "link", str(new)) from error


def remove_source(datastore: Datastore, path: str) -> None:
    """Remove a file that was moved, unless it is the stored file itself."""
    local = local_of(path)
    if local is not None and datastore.contains(f"file://{local}"):
        return
    directory, _, name = (local or path).rpartition("/")
    Datastore(directory or "/").remove(name)
