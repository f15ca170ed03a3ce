"""Many dataset ids in little memory: 16 bytes each, end to end and in order."""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Set
from typing import Self

import numpy as np

__all__ = ["ID_BYTES", "PackedIds"]

ID_BYTES = 16


class PackedIds(Set[uuid.UUID]):
    """A set of UUIDs that does not change.

    >>> ids = PackedIds([uuid.UUID(int=2), uuid.UUID(int=1), uuid.UUID(int=2)])
    >>> [one.int for one in ids], uuid.UUID(int=1) in ids, ids == {uuid.UUID(int=1), uuid.UUID(int=2)}
    ([1, 2], True, True)
    """

    def __init__(self, ids: Iterable[uuid.UUID] = ()) -> None:
        self.data: bytes = (
            ids.data if isinstance(ids, PackedIds) else _in_order(b"".join([one.bytes for one in ids]))
        )

    @classmethod
    def joined(cls, data: bytes | bytearray) -> Self:
        """Of ids that lie end to end, in any order."""
        made = cls()
        made.data = _in_order(data)
        return made

    def __len__(self) -> int:
        return len(self.data) // ID_BYTES

    def __iter__(self) -> Iterator[uuid.UUID]:
        data = self.data
        return (uuid.UUID(bytes=data[at : at + ID_BYTES]) for at in range(0, len(data), ID_BYTES))

    def __contains__(self, one: object) -> bool:
        if not isinstance(one, uuid.UUID):
            return False
        place = bisect_left(range(len(self)), one.bytes, key=self._bytes_at)
        return place < len(self) and self._bytes_at(place) == one.bytes

    def __repr__(self) -> str:
        return f"PackedIds({len(self)} ids)"

    def _bytes_at(self, place: int) -> bytes:
        return self.data[ID_BYTES * place : ID_BYTES * (place + 1)]

    def parts(self, count: int) -> Iterator[bytes]:
        """The ids, end to end, at most ``count`` at a time."""
        for at in range(0, len(self.data), ID_BYTES * count):
            yield self.data[at : at + ID_BYTES * count]


def _in_order(data: bytes | bytearray) -> bytes:
    # numpy orders S16 as bytes; that it takes off trailing zeros when it shows one does not matter here
    return np.unique(np.frombuffer(data, "S16")).tobytes()
