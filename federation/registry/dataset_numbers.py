"""Small integers in place of dataset ids, for arrays that speak of many datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    import numpy.typing as npt

    Ints = npt.NDArray[np.int32]
    #: ids as 16 bytes each
    Ids = npt.NDArray[np.void]

__all__ = ["ID_DTYPE", "DatasetNumbers", "ids_of", "packed_ids"]

ID_DTYPE = np.dtype("V16")
#: odd multipliers that mix the halves of an id; others are tried should two ids agree in the result
_FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
_MASK = (1 << 64) - 1


def packed_ids(ids: Iterable[UUID]) -> Ids:
    """UUIDs as an array of their bytes."""
    return ids_of(b"".join([one.bytes for one in ids]))


def ids_of(data: bytes | bytearray) -> Ids:
    """Ids that lie end to end."""
    return np.frombuffer(data, ID_DTYPE)


@attrs.frozen(eq=False)
class DatasetNumbers:
    """The place of each id in ``ids``, found by binary search in the ids' hashes, which are all different.

    ``hashes`` (uint64, n) are in order, ``places`` (int32, n) says whose each is; ``round`` is which multipliers made
    them.
    """

    ids: Ids
    hashes: npt.NDArray[np.uint64]
    places: Ints
    round: int

    @classmethod
    def of(cls, ids: Ids) -> DatasetNumbers:
        """Numbers for ids, no two of which are the same."""
        turn = 0
        while True:
            hashes = _hashes(ids, turn)
            places = np.argsort(hashes).astype(np.int32)
            hashes = hashes[places]
            if not (hashes[1:] == hashes[:-1]).any():
                return cls(ids, hashes, places, turn)
            turn += 1

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, wanted: Ids) -> Ints:
        """The number of each id, -1 for one that has none."""
        if not len(self.ids):
            return np.full(len(wanted), -1, np.int32)
        hashes = _hashes(wanted, self.round)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        numbers = self.places[at]
        same = (self.hashes[at] == hashes) & (_halves(self.ids[numbers]) == _halves(wanted)).all(axis=1)
        return np.where(same, numbers, np.int32(-1))

    def extended(self, ids: Ids) -> tuple[DatasetNumbers, Ints]:
        """Numbers that know these ids too, and the number of each."""
        numbers = self.find(ids)
        unknown = ids[numbers < 0]
        if not len(unknown):
            return self, numbers
        fresh = np.frombuffer(b"".join(dict.fromkeys(one.tobytes() for one in unknown)), ID_DTYPE)
        known = self._with(fresh)
        return known, known.find(ids)

    def _with(self, fresh: Ids) -> DatasetNumbers:
        every = np.concatenate([self.ids, fresh])
        hashes = _hashes(fresh, self.round)
        order = np.argsort(hashes)
        at = np.searchsorted(self.hashes, hashes[order])
        merged = np.insert(self.hashes, at, hashes[order])
        if (merged[1:] == merged[:-1]).any():
            return DatasetNumbers.of(every)
        places = np.insert(self.places, at, (order + len(self.ids)).astype(np.int32))
        return DatasetNumbers(every, merged, places, self.round)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.ids.nbytes + self.hashes.nbytes + self.places.nbytes


def _halves(ids: Ids) -> npt.NDArray[np.uint64]:
    """(n, 2)"""
    return np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)


def _hashes(ids: Ids, turn: int) -> npt.NDArray[Any]:
    halves = _halves(ids)
    first, second = (np.uint64((factor + 2 * turn * _SECOND) & _MASK | 1) for factor in (_FIRST, _SECOND))
    mixed: npt.NDArray[Any] = halves[:, 0] * first ^ halves[:, 1] * second
    folded: npt.NDArray[Any] = mixed ^ (mixed >> np.uint64(29))
    return folded
