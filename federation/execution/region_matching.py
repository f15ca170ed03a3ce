"""The answer of a plan whose rows are pairs of regions: rows of two fragments beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from federation.execution.direct import direct_schema
from federation.execution.region_functions import matching_rows, pack_arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from federation.planner import Plan

    Ints = NDArray[np.int64]

__all__ = ["matched_rows"]

#: rows of one batch
_BATCH_ROWS = 65_536


def matched_rows(
    made: Plan, tables: Mapping[str, pa.Table], tick: Callable[[], object]
) -> Iterator[pa.RecordBatch]:
    """Batches of the answer of a plan that has a `RegionMatch`; ``tick`` is called meanwhile and may raise.

    Raises `QueryError` for bytes that are no region, `LimitError` for too many pairs.
    """
    match = made.region_match
    assert match is not None
    schema = direct_schema(made)
    left, right = tables[match.left], tables[match.right]
    # a region that is in many rows is looked at once
    regions, left_groups = _distinct(left[match.region])
    if match.kind == "overlap":
        others, right_groups = _distinct(right[match.right_columns[0]])
        first, second = matching_rows("overlap", pack_arrow(regions), {"r": others}, tick)
    else:
        columns = dict(zip(("ra", "dec"), (right[name] for name in match.right_columns), strict=True))
        first, second = matching_rows("contain", pack_arrow(regions), columns, tick)
        right_groups = _Groups.of(np.arange(right.num_rows), right.num_rows)
    for rows, other_rows in _products(left_groups, first, right_groups, second):
        tick()
        sides = {match.left: (left, pa.array(rows)), match.right: (right, pa.array(other_rows))}
        taken = [
            sides[fragment][0][name].take(sides[fragment][1]).combine_chunks().cast(field.type)
            for (fragment, name), field in zip(match.outputs, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(taken, schema=schema)


class _Groups:
    """Rows by group: those of group g are ``rows[begin[g]:begin[g] + count[g]]``."""

    def __init__(self, rows: Ints, begin: Ints, count: Ints) -> None:
        self.rows, self.begin, self.count = rows, begin, count

    @classmethod
    def of(cls, codes: Ints, group_count: int) -> _Groups:
        """From the group of each row; rows of a negative one are left out."""
        rows = np.argsort(codes, kind="stable")
        rows = rows[np.searchsorted(codes[rows], 0) :]
        count = np.bincount(codes[rows], minlength=group_count)
        return cls(rows, np.cumsum(count) - count, count)


def _distinct(column: pa.ChunkedArray) -> tuple[pa.Array, _Groups]:
    """The distinct values that are not NULL, and the rows of each."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int64)
    return encoded.dictionary, _Groups.of(codes, len(encoded.dictionary))


def _products(left: _Groups, first: Ints, right: _Groups, second: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Rows of all pairs of rows whose groups are a pair, some `_BATCH_ROWS` at a time."""
    sizes = left.count[first] * right.count[second]
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    for begin in range(0, total, _BATCH_ROWS):
        place = np.arange(begin, min(begin + _BATCH_ROWS, total))
        pair = np.searchsorted(ends, place, "right")
        inside = place - (ends[pair] - sizes[pair])
        a, b = first[pair], second[pair]
        row, other = np.divmod(inside, right.count[b])
        yield left.rows[left.begin[a] + row], right.rows[right.begin[b] + other]
