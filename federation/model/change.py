"""Changes to tables, as a transaction writes them to its change log."""

from __future__ import annotations

import enum
from typing import Any

import attrs

__all__ = ["Change", "LogEntry", "Operation"]


class Operation(enum.StrEnum):
    """PUT inserts a row or replaces the one with its key; DELETE removes the row with the key."""

    PUT = "put"
    DELETE = "del"


@attrs.frozen
class Change:
    """Rows of one logical table that one transaction put or deleted, in order.

    ``columns`` are stored column names (key columns only, for a DELETE); ``rows`` are tuples of Python values: int,
    float, bool, str, bytes, uuid.UUID or None; a TIMESTAMP is an int of TAI nanoseconds.
    """

    table: str
    operation: Operation
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@attrs.frozen
class LogEntry:
    """One committed transaction as the log keeps it: written once, shipped and relayed as it is.

    ``body`` is the encoded changes; ``digest`` its 16-byte BLAKE2b; ``chain`` the 16-byte BLAKE2b over the previous
    entry's chain and this digest, so that two histories that differ anywhere differ from there on.
    """

    lsn: int
    committed_tai_ns: int
    row_count: int
    schema_version: int
    body: bytes
    digest: bytes
    chain: bytes
