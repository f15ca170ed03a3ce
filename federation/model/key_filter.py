"""Bloom filters of keys, as values: what is sent instead of keys where these are many, and what it costs.

A filter of n keys has m bits, of which each key sets k. A row whose key is not among them passes with probability
(1 - exp(-k n / m))**k (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970). Which bits those
are `federation.execution.key_filters` says.
"""

from __future__ import annotations

import math

import attrs

from federation.errors import QueryError
from federation.model.logical import LogicalType

__all__ = [
    "FALSE_POSITIVES",
    "FILTER_BYTES_MAX",
    "FILTER_VERSION",
    "HASH_COUNT",
    "KEY_TYPES",
    "KeyFilter",
    "filter_byte_count",
]

#: of the hash; sites that don't know it give all rows
FILTER_VERSION = 1
#: types whose values are equal in every database if they are equal in one, and that are small
KEY_TYPES = frozenset({LogicalType.INT64, LogicalType.STRING, LogicalType.UUID, LogicalType.TIMESTAMP})
_BITS_PER_KEY = 10
#: bits that a key sets: as near as can be to ln 2 times the bits that it takes, where fewest rows pass in vain
HASH_COUNT = 7
#: share of the rows without a key that pass
FALSE_POSITIVES = (1 - math.exp(-HASH_COUNT / _BITS_PER_KEY)) ** HASH_COUNT
#: of one filter; so many are seven million keys
FILTER_BYTES_MAX = 8 << 20
_BYTES_MIN = 8
_HASH_COUNT_MAX = 16
_COLUMNS_MAX = 16


def filter_byte_count(key_count: float) -> int:
    """Bytes of a filter of so many keys."""
    return max(_BYTES_MIN, math.ceil(key_count * _BITS_PER_KEY / 8))


@attrs.frozen
class KeyFilter:
    """Of a fragment's rows only those are wanted whose ``columns`` may be a key; none with a NULL among them.

    Bit i is bit i % 8 of byte i // 8 of ``bits``. `QueryError` for what is no filter.
    """

    columns: tuple[str, ...]
    hash_count: int
    bits: bytes = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        if not 1 <= len(self.columns) <= _COLUMNS_MAX or len(set(self.columns)) < len(self.columns):
            raise self._wrong(f"{len(self.columns)} columns", f"name 1 to {_COLUMNS_MAX} different columns")
        if not 1 <= self.hash_count <= _HASH_COUNT_MAX:
            raise self._wrong(f"{self.hash_count} bits a key", f"a key sets 1 to {_HASH_COUNT_MAX} bits")
        if not _BYTES_MIN <= len(self.bits) <= FILTER_BYTES_MAX:
            raise self._wrong(
                f"{len(self.bits)} bytes", f"a filter has {_BYTES_MIN} to {FILTER_BYTES_MAX} bytes"
            )

    def _wrong(self, what: str, hint: str) -> QueryError:
        return QueryError(f"filter of ({', '.join(self.columns)[:100]}): has {what}", hint=hint)
