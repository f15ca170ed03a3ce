"""What a site says at the end of a fragment's rows, with the status of the call: so many rows, and the time it took.

It travels as trailing metadata, which costs no message. An answer without it has not ended as it should.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

__all__ = ["FragmentEnd", "TimedBatches", "end_metadata", "end_of"]

_KEY = "federation-end-bin"


@attrs.frozen
class FragmentEnd:
    """``site_seconds`` is what checking, lowering and the database took, without waiting for the reader."""

    row_count: int
    site_seconds: float


class TimedBatches:
    """Batches as they come; `end` counts their rows and the time that they took to make, after ``spent_s`` before."""

    def __init__(self, batches: Iterable[pa.RecordBatch], spent_s: float = 0.0) -> None:
        self._batches = iter(batches)
        self._row_count, self._seconds = 0, spent_s

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            start = time.perf_counter()
            batch = next(self._batches, None)
            self._seconds += time.perf_counter() - start
            if batch is None:
                return
            self._row_count += batch.num_rows
            yield batch

    @property
    def end(self) -> FragmentEnd:
        """The account up to now."""
        return FragmentEnd(self._row_count, self._seconds)


def end_metadata(end: FragmentEnd) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of a call that ends well."""
    return ((_KEY, msgspec.msgpack.encode((end.row_count, end.site_seconds))),)


def end_of(metadata: Iterable[tuple[str, str | bytes]]) -> FragmentEnd | None:
    """What a site said; None where it said nothing that can be read."""
    for key, value in metadata:
        if key == _KEY and isinstance(value, bytes):
            try:
                return FragmentEnd(*msgspec.msgpack.decode(value, type=tuple[int, float]))
            except msgspec.DecodeError:
                return None
    return None
