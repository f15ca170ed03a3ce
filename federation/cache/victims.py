"""Which files a cache lets go: by age, then the least recently used down to the low-water mark; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence

__all__ = ["CachedFile", "Marks", "Room", "candidates", "room"]


@attrs.frozen
class CachedFile:
    """A file of the cache; times are TAI nanoseconds. ``owner`` is the schema that its dataset is of.

    ``pinned_until_ns`` is the last moment at which somebody counts on it, None where nobody does.
    """

    dataset_id: uuid.UUID
    schema: str
    owner: str
    uri: str
    size_bytes: int
    checksum: str
    formatter: str | None
    added_ns: int
    used_ns: int
    pinned_until_ns: int | None = None

    def is_pinned(self, now_ns: int) -> bool:
        """Whether somebody counts on the file now."""
        return self.pinned_until_ns is not None and self.pinned_until_ns > now_ns


@attrs.frozen
class Marks:
    """When files go: older than ``keep_ns``, and between shares of the capacity."""

    keep_ns: int
    high_water: float
    low_water: float


@attrs.frozen
class Room:
    """Bytes that files take, of how many, and how many of them are to be given back."""

    used_bytes: int
    capacity_bytes: int
    excess_bytes: int


def room(used_bytes: int, capacity_bytes: int, marks: Marks, wanted_bytes: int = 0) -> Room:
    """How much is to be given back: nothing up to the high-water mark, else all above the low one.

    ``wanted_bytes`` are about to come; where there is no room for them, as much goes as above the high mark.

    >>> room(95, 100, Marks(0, 0.9, 0.8)).excess_bytes, room(85, 100, Marks(0, 0.9, 0.8)).excess_bytes
    (15, 0)
    """
    filled = used_bytes + wanted_bytes
    is_high = filled > marks.high_water * capacity_bytes
    excess = filled - int(marks.low_water * capacity_bytes) if is_high else 0
    return Room(used_bytes, capacity_bytes, max(0, excess))


def candidates(
    files: Iterable[CachedFile], now_ns: int, marks: Marks, excess_bytes: int
) -> Sequence[CachedFile]:
    """The files to let go, in the order to do it; pinned ones never.

    First those that are too old, oldest first, whatever room there is. Then as many of the least recently used as make
    ``excess_bytes`` with them. Equal times are ordered by identity, so that the choice is the same each time.
    """
    free = [file for file in files if not file.is_pinned(now_ns)]
    old = sorted(
        (file for file in free if now_ns - file.added_ns > marks.keep_ns),
        key=lambda file: (file.added_ns, file.dataset_id),
    )
    chosen, size_bytes = list(old), sum(file.size_bytes for file in old)
    taken = {file.dataset_id for file in old}
    for file in sorted(free, key=lambda file: (file.used_ns, file.dataset_id)):
        if size_bytes >= excess_bytes:
            break
        if file.dataset_id not in taken:
            chosen.append(file)
            size_bytes += file.size_bytes
    return chosen
