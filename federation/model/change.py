"""Changes to tables, as a transaction writes them to its change log."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import attrs
import msgspec

__all__ = ["Change", "LogEntry", "Operation"]


class Operation(enum.StrEnum):
    """PUT inserts a row or replaces the one with its key; DELETE removes the row with the key."""

    PUT = "put"
    DELETE = "del"


@attrs.frozen
class Change:
    """Rows of one logical table that one transaction put or deleted, in order, kept column by column.

    ``columns`` are stored column names (key columns only, for a DELETE); ``values`` has one sequence a column, all of
    one length, of Python values as they are stored: int, float, bool, str, bytes or None. A UUID is its 16 bytes, a
    TIMESTAMP an int of TAI nanoseconds.
    """

    table: str
    operation: Operation
    columns: tuple[str, ...]
    values: tuple[Sequence[Any], ...]

    @classmethod
    def from_rows(
        cls, table: str, operation: Operation, columns: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> Change:
        """A change from its rows, each with one value a column."""
        values = tuple(zip(*rows, strict=True)) or tuple(() for _ in columns)
        return cls(table, operation, tuple(columns), values)

    @property
    def row_count(self) -> int:
        return len(self.values[0]) if self.values else 0

    @cached_property
    def rows(self) -> tuple[tuple[Any, ...], ...]:
        """The same values, row by row."""
        return tuple(zip(*self.values, strict=True))

    def part(self, begin: int, end: int) -> Change:
        """The rows from ``begin`` to before ``end``."""
        values = tuple(column[begin:end] for column in self.values)
        return Change(self.table, self.operation, self.columns, values)


class LogEntry(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """One committed transaction as the log keeps it: written once, shipped and relayed as it is.

    There are very many of them: made, packed and unpacked as an array in a fraction of the time of other values.

    ``body`` is the encoded changes; ``digest`` its 16-byte BLAKE2b; ``chain`` the 16-byte BLAKE2b over the previous
    entry's chain and this digest, so that two histories that differ anywhere differ from there on. ``body_digest`` is
    of the body as it is here, where a filter took rows out of it; else it is empty.
    """

    lsn: int
    committed_tai_ns: int
    row_count: int
    schema_version: int
    body: bytes
    digest: bytes
    chain: bytes
    body_digest: bytes = b""
