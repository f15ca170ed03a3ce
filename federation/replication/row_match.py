"""Which rows of some buckets of one table differ between two sides, in 33 bytes of memory a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from federation.replication.digests import (
    DIGEST_BYTES,
    bucket_numbers,
    key_columns,
    key_digests,
    row_digests,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from federation.model.logical import TableDef

    Columns = Sequence[Sequence[Any]]

__all__ = ["RowMatch", "chosen_rows", "in_buckets"]

_DIGEST = f"S{DIGEST_BYTES}"


def chosen_rows(columns: Columns, places: Sequence[int]) -> tuple[list[Any], ...]:
    """The rows at some places."""
    return tuple([column[place] for place in places] for column in columns)


def in_buckets(
    table: TableDef, chunks: Iterable[Columns], bucket_count: int, buckets: Sequence[int]
) -> Iterator[Columns]:
    """Of chunks of rows those whose keys fall into ``buckets``."""
    mask = np.zeros(bucket_count, np.bool_)
    mask[list(buckets)] = True
    for columns in chunks:
        found = bucket_numbers(table, key_columns(table, columns), bucket_count)
        places = np.flatnonzero(mask[found]).tolist()
        if places:
            yield chosen_rows(columns, places)


class RowMatch:
    """The rows of one side are given first, those of the other are compared with them; keys are distinct on each."""

    def __init__(self, table: TableDef, replica: Iterable[Columns]) -> None:
        self.table = table
        keys, rows = [], []
        for columns in replica:
            keys.append(key_digests(key_columns(table, columns)))
            rows.append(row_digests(table, columns))
        found: npt.NDArray[Any] = np.frombuffer(b"".join(keys), _DIGEST)
        order = np.argsort(found)
        self._keys, self._rows = found[order], np.frombuffer(b"".join(rows), _DIGEST)[order]
        self._is_met = np.zeros(len(self._keys), np.bool_)
        self._is_changed = np.zeros(len(self._keys), np.bool_)

    def compare(self, columns: Columns) -> tuple[list[int], list[int]]:
        """Of rows of the source the places of those that the replica lacks, and of those that it has otherwise."""
        keys: npt.NDArray[Any] = np.frombuffer(key_digests(key_columns(self.table, columns)), _DIGEST)
        rows: npt.NDArray[Any] = np.frombuffer(row_digests(self.table, columns), _DIGEST)
        if not len(self._keys):
            return list(range(len(keys))), []
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        is_there = self._keys[places] == keys
        is_other = is_there & (self._rows[places] != rows)
        self._is_met[places[is_there]] = True
        self._is_changed[places[is_other]] = True
        return np.flatnonzero(~is_there).tolist(), np.flatnonzero(is_other).tolist()

    @property
    def extra_count(self) -> int:
        """How many rows of the replica the source has not been found to have."""
        return int((~self._is_met).sum())

    @property
    def is_equal(self) -> bool:
        return bool(self._is_met.all() and not self._is_changed.any())

    def extras(self, columns: Columns, *, with_changed: bool = False) -> list[int]:
        """Of rows of the replica the places of those that the source lacks, and on demand of those it has otherwise."""
        wrong = ~self._is_met | self._is_changed if with_changed else ~self._is_met
        if not wrong.any():
            return []
        keys: npt.NDArray[Any] = np.frombuffer(key_digests(key_columns(self.table, columns)), _DIGEST)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.flatnonzero((self._keys[places] == keys) & wrong[places]).tolist()
