"""Data IDs and dataset ids as they are written on a command line."""

from __future__ import annotations

import uuid

from federation.errors import UsageError

__all__ = ["parse_data_id", "parse_dataset_id"]


def parse_data_id(text: str) -> dict[str, str]:
    """A data ID from ``key=value,key=value``.

    >>> parse_data_id("instrument=LSSTCam,detector=94")
    {'instrument': 'LSSTCam', 'detector': '94'}
    """
    out = {}
    for part in filter(None, (item.strip() for item in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise UsageError(f"{part!r} is not part of a data ID", hint="write key=value,key=value")
        out[name.strip()] = value.strip()
    return out


def parse_dataset_id(text: str) -> uuid.UUID:
    """A dataset id from its text.

    >>> parse_dataset_id("00000000-0000-0000-0000-000000000001").int
    1
    """
    try:
        return uuid.UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a dataset id", hint="write a UUID") from None
