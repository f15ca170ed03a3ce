"""Which federation error an error of a file system or object store is, and which kinds pass if one waits.

Remote file systems of fsspec raise exceptions of their client libraries, which need not be installed: the classes are
looked up among the modules that are loaded, so that callers can catch them narrowly without importing them.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

from federation.errors import FederationError, LimitError, NotFoundError, UnavailableError, UserError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["as_federation_error", "free_bytes", "store_errors"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_PATH = {
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.EEXIST,
    errno.ENOTEMPTY,
}
_CLIENT_LIBRARIES = (
    ("aiohttp", ("ClientError",)),
    ("obstore.exceptions", ("BaseError",)),
    ("botocore.exceptions", ("BotoCoreError", "ClientError", "HTTPClientError")),
    ("google.auth.exceptions", ("GoogleAuthError",)),
    ("azure.core.exceptions", ("AzureError",)),
    ("paramiko.ssh_exception", ("SSHException",)),
    ("requests.exceptions", ("RequestException",)),
    ("http.client", ("HTTPException",)),
)
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z -]+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_FULL_CODES = ("QuotaExceeded", "InsufficientStorage", "EntityTooLarge", "XMinioStorageFull")


def store_errors() -> tuple[type[Exception], ...]:
    """The exception classes by which local and remote stores say that something went wrong.

    For use in ``except store_errors() as error``. The classes are those of the client libraries loaded so far.
    """
    found: list[type[Exception]] = [OSError]
    for module_name, class_names in _CLIENT_LIBRARIES:
        module = sys.modules.get(module_name)
        if module is not None:
            found.extend(getattr(module, name) for name in class_names if hasattr(module, name))
    return tuple(found)


def free_bytes(path: str | Path) -> int | None:
    """Bytes that the user may still write to the file system of ``path`` or its nearest existing parent."""
    place = os.path.abspath(path)  # noqa: PTH100 - a pure text operation, path may not exist
    while True:
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            if place == os.path.dirname(place):  # noqa: PTH120
                return None
            place = os.path.dirname(place)  # noqa: PTH120
        except OSError:
            return None


def as_federation_error(error: Exception, doing: str, place: str) -> FederationError:
    """The federation error for ``error``, met while ``doing`` (``"write"``, ``"read"``) at ``place`` (path or URL).

    `LimitError`: no space; `NotFoundError`: nothing there; `UserError`: denied, or a path that cannot be;
    `UnavailableError`: everything that may pass if one tries again.
    """
    if isinstance(error, FederationError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return _no_space(number, doing, place)
    if isinstance(error, FileNotFoundError) or number == errno.ENOENT:
        return NotFoundError(
            f"cannot {doing} {place}: no such file", hint="check the path; was the file moved or removed?"
        )
    if isinstance(error, PermissionError) or number in _DENIED:
        reason = os.strerror(number) if number else "permission denied"
        return UserError(
            f"cannot {doing} {place}: {reason}", hint="check owner and mode, or the credentials of the store"
        )
    if type(error).__module__.startswith("obstore"):
        return _of_object_store(error, doing, place)
    reason = os.strerror(number) if number else f"{type(error).__name__}: {error}".splitlines()[0]
    if number in _WRONG_PATH or isinstance(error, (IsADirectoryError, NotADirectoryError, FileExistsError)):
        return UserError(f"cannot {doing} {place}: {reason}", hint="choose another path")
    return UnavailableError(
        f"cannot {doing} {place}: {reason}", hint="check that the store is reachable, then try again"
    )


def _of_object_store(error: Exception, doing: str, place: str) -> FederationError:
    """The same for the errors of obstore, which tell most in their text."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    # the answer's status and code; without an answer what the connection came to, not the request's URL
    reason = " ".join(found[1] for found in (status, code) if found) or _first_reason(text)
    denied = status is not None and status[1][:3] in ("401", "403")
    if denied or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return UserError(
            f"cannot {doing} {place}: permission denied ({reason})",
            hint="check the credentials of the store ([datastore] in the site file, or AWS_... variables)",
        )
    if (status and status[1].startswith("507")) or (code and code[1] in _FULL_CODES):
        return LimitError(
            f"cannot {doing} {place}: no space left ({reason})",
            hint="free some space or choose another target",
        )
    if code and code[1] == "NoSuchBucket":
        return NotFoundError(f"cannot {doing} {place}: no such bucket", hint="create it or correct the URL")
    passes = status is None or status[1][0] == "5" or status[1][:3] in ("408", "429")
    if not passes or type(error).__name__ in ("InvalidPathError", "NotSupportedError"):
        return UserError(f"cannot {doing} {place}: {reason}", hint="correct the URL or the store's options")
    return UnavailableError(
        f"cannot {doing} {place}: {reason}", hint="check that the store is reachable, then try again"
    )


def _first_reason(text: str) -> str:
    line = text.splitlines()[0]
    found = re.search(r"(?:HTTP error: |Error performing \w+ \S+ in \S+ - )(.*)", line)
    return (found[1] if found else line)[:200]


def _no_space(number: int | None, doing: str, place: str) -> LimitError:
    if number == errno.EFBIG:
        return LimitError(
            f"cannot {doing} {place}: the file is larger than this process or file system allows",
            hint="raise the limit (ulimit -f) or choose another target",
        )
    path = place.removeprefix("file://")
    free = free_bytes(path) if path.startswith("/") else None
    known = f", {free} bytes free" if free is not None else ""
    reason = "quota exceeded" if number == errno.EDQUOT else "no space left"
    return LimitError(
        f"cannot {doing} {place}: {reason}{known}", hint="free some space or choose another target"
    )
