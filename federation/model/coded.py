"""Columns whose values repeat: each distinct value once, and for each row which of them it has.

What holds of a value holds of all rows that have it, so that checking, looking up and encoding take time by distinct
values, and arrays do the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.int64]

__all__ = ["Coded"]

#: combinations for each row, up to which they are counted instead of sorted
_COUNTED_PER_ROW = 4
_INT64_MAX = (1 << 63) - 1


@attrs.frozen(eq=False)
class Coded(Sequence[Any]):
    """A column of N rows: row ``i`` has ``values[codes[i]]``; ``codes`` is int64 of N.

    The values are distinct, of one type beside None, and each is of some row.
    """

    values: Sequence[Any]
    codes: Codes

    @classmethod
    def of(cls, column: Sequence[Any]) -> Coded:
        """Any column; its values must be hashable, and of one type beside None."""
        if isinstance(column, Coded):
            return column
        places = {value: place for place, value in enumerate(dict.fromkeys(column))}
        if len(places) == 1:
            return cls(tuple(places), np.zeros(len(column), np.int64))
        return cls(tuple(places), np.fromiter(map(places.__getitem__, column), np.int64, len(column)))

    @classmethod
    def constant(cls, value: Any, count: int) -> Coded:
        """``count`` rows of one value."""
        return cls((value,) if count else (), np.zeros(count, np.int64))

    @classmethod
    def combine(cls, columns: Sequence[Coded], count: int) -> Coded:
        """Tuples of the values of several columns of ``count`` rows."""
        if math.prod(_sizes(columns)) > _INT64_MAX:
            return cls.of(list(zip(*columns, strict=True)))
        found, codes = _joined(columns, count)
        parts = []
        for column, size in zip(reversed(columns), reversed(_sizes(columns)), strict=True):
            found, places = np.divmod(found, size)
            parts.append([column.values[place] for place in places.tolist()])
        values = list(zip(*reversed(parts), strict=True)) if parts else [()] * min(count, 1)
        return cls(values, codes)

    @staticmethod
    def are_distinct(columns: Sequence[Coded], count: int) -> bool:
        """Whether no two of ``count`` rows have the same values in all of the columns."""
        if math.prod(_sizes(columns)) > _INT64_MAX:
            return len(set(zip(*columns, strict=True))) == count
        return len(_joined(columns, count)[0]) == count

    def mapped(self, values: Sequence[Any]) -> Coded:
        """The column that has ``values[k]`` where this one has its value number ``k``."""
        small = Coded.of(values)
        return Coded(small.values, small.codes[self.codes])

    def rows(self, numbers: Sequence[int]) -> Coded:
        """The column's rows at ``numbers``, in that order."""
        chosen = self.codes[np.asarray(numbers, np.int64)]
        places, codes = np.unique(chosen, return_inverse=True)
        return Coded([self.values[place] for place in places.tolist()], codes)

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Any]:
        if len(self.values) == 1:
            return repeat(self.values[0], len(self.codes))
        return iter(self.to_list())

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.to_list()[index]
        return self.values[self.codes[index]]

    def count(self, value: Any) -> int:
        """How many rows have the value."""
        places = [place for place, one in enumerate(self.values) if one == value]
        return int(np.isin(self.codes, places).sum())

    def to_list(self) -> list[Any]:
        """The values row by row."""
        found: list[Any] = np.fromiter(self.values, object, len(self.values))[self.codes].tolist()
        return found


def _sizes(columns: Sequence[Coded]) -> list[int]:
    return [max(len(column.values), 1) for column in columns]


def _joined(columns: Sequence[Coded], count: int) -> tuple[Codes, Codes]:
    """Combinations that occur, each as one number, and for each row which of them it has."""
    sizes = _sizes(columns)
    numbers = np.zeros(count, np.int64)
    for column, size in zip(columns, sizes, strict=True):
        numbers = numbers * size + column.codes
    total = math.prod(sizes)
    if total > max(_COUNTED_PER_ROW * count, 1):
        found, codes = np.unique(numbers, return_inverse=True)
        return found, codes
    is_there = np.bincount(numbers, minlength=total) > 0
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[numbers]
