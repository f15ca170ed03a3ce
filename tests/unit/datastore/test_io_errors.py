"""What becomes of errors of file systems."""

from __future__ import annotations

import errno
import os

import pytest

from federation.datastore.io_errors import as_federation_error
from federation.errors import FederationError, LimitError, NotFoundError, UnavailableError, UserError


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, LimitError),
        (errno.EDQUOT, LimitError),
        (errno.EFBIG, LimitError),
        (errno.EACCES, UserError),
        (errno.EROFS, UserError),
        (errno.ENOENT, NotFoundError),
        (errno.ENOTDIR, UserError),
        (errno.ENAMETOOLONG, UserError),
        (errno.EIO, UnavailableError),
        (errno.ECONNRESET, UnavailableError),
        (errno.ETIMEDOUT, UnavailableError),
    ],
)
def test_by_number(number: int, kind: type[FederationError]) -> None:
    error = as_federation_error(OSError(number, os.strerror(number)), "write", "/data/file.fits")
    assert type(error) is kind
    assert "/data/file.fits" in error.message
    assert error.hint
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError("bucket/key"), NotFoundError),
        (PermissionError("Access Denied"), UserError),
        (TimeoutError(), UnavailableError),
        (OSError("something\nof a client library"), UnavailableError),
    ],
)
def test_by_class_where_there_is_no_number(error: OSError, kind: type[FederationError]) -> None:
    found = as_federation_error(error, "read", "s3://bucket/key")
    assert type(found) is kind
    assert "\n" not in found.message
