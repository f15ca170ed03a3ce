"""Which of two sets of regions overlap, without testing every pair.

Every region is bounded by a cone. Cones of like size are binned by their centre in a grid of cubes over the unit
sphere, whose edge is the largest distance at which two of them can touch, so that a cone's partners lie in its own
cube and the 26 around it. In three dimensions neither a pole nor right ascension 0 is special. Of what the cones leave,
polygons whose edges clearly separate them, or do not, are decided together; the rest is tested with lsst-sphgeom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from federation.errors import LimitError
from federation.model.polygon_overlaps import OPEN, OVERLAPPING, decided_overlaps
from federation.model.region_arrays import Cones, bounding_cones, decode_all, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from federation.model.region_arrays import PackedRegions

    Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["PAIR_COUNT_MAX", "candidate_pairs", "containing_pairs", "meeting", "overlapping_pairs"]

#: more pairs than this are refused rather than collected in memory
PAIR_COUNT_MAX = 50_000_000
#: candidates that are looked at in one go
_BLOCK = 1 << 20
#: candidates that are tested in one go, where there are as many
_MERGED = 1 << 16
#: cones are classed by powers of two of their radius, from 2**-14 rad (12 arcsec) up
_SMALLEST_CLASS = -14
#: the smallest edge of cubes keeps their numbers within 64 bits; beyond the widest a grid excludes too little
_SMALLEST_EDGE = 1e-4
_WIDEST_EDGE = 0.5
_NEIGHBOURS = tuple((dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1))


def overlapping_pairs(
    left: PackedRegions, right: PackedRegions, tick: Callable[[], object] = lambda: None
) -> Pairs:
    """Rows of all pairs that overlap, (P) and (P); ``tick`` is called between blocks and may raise.

    Raises `UserError` for bytes that are no region, `LimitError` for more than `PAIR_COUNT_MAX` pairs.
    """
    known_left: dict[int, object] = {}
    known_right: dict[int, object] = {}

    def test(rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        decided = decided_overlaps(left, right, rows, others)
        found: NDArray[np.bool_] = decided == OVERLAPPING
        open_ = np.flatnonzero(decided == OPEN)
        rows, others = rows[open_], others[open_]
        _decode_missing(left, rows, known_left)
        _decode_missing(right, others, known_right)
        found[open_] = [
            known_left[a].overlaps(known_right[b]) is not False  # type: ignore[attr-defined]
            for a, b in zip(rows.tolist(), others.tolist(), strict=True)
        ]
        return found

    return _collect(candidate_pairs(bounding_cones(left), bounding_cones(right)), test, tick)


def containing_pairs(
    regions: PackedRegions,
    ra_deg: NDArray[np.float64],
    dec_deg: NDArray[np.float64],
    tick: Callable[[], object] = lambda: None,
) -> Pairs:
    """Rows of all (region, position) pairs where the region contains the position; errors as for overlaps."""
    vectors = unit_vectors(ra_deg, dec_deg)
    points = Cones(vectors, np.where(np.isfinite(vectors).all(axis=0), 1e-9, np.nan))
    known: dict[int, object] = {}

    def test(rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        _decode_missing(regions, rows, known)
        found = np.zeros(len(rows), np.bool_)
        order = np.argsort(rows, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1):
            region = known[int(rows[part[0]])]
            x, y, z = (np.ascontiguousarray(axis) for axis in vectors[:, others[part]])
            found[part] = region.contains(x, y, z)  # type: ignore[attr-defined]
        return found

    return _collect(candidate_pairs(bounding_cones(regions), points), test, tick)


def _decode_missing(regions: PackedRegions, rows: NDArray[np.int64], known: dict[int, object]) -> None:
    missing = [row for row in np.unique(rows).tolist() if row not in known]
    known.update(decode_all(regions, np.array(missing, np.int64)))


def _collect(
    blocks: Iterator[Pairs],
    test: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]],
    tick: Callable[[], object],
) -> Pairs:
    found: list[Pairs] = []
    count = 0
    for rows, others in _merged(blocks):
        tick()
        if len(rows):
            keep = test(rows, others)
            found.append((rows[keep], others[keep]))
            count += len(found[-1][0])
        if count > PAIR_COUNT_MAX:
            raise LimitError(
                f"more than {PAIR_COUNT_MAX} pairs of regions overlap", hint="select fewer of them"
            )
    return _joined(found)


def _merged(blocks: Iterator[Pairs]) -> Iterator[Pairs]:
    """The same pairs in fewer blocks."""
    waiting: list[Pairs] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(rows) for rows, _ in waiting) >= _MERGED:
            yield _joined(waiting)
            waiting = []
    yield _joined(waiting)


def _joined(parts: list[Pairs]) -> Pairs:
    empty = np.zeros(0, np.int64)
    return (
        np.concatenate([empty, *(rows for rows, _ in parts)]),
        np.concatenate([empty, *(others for _, others in parts)]),
    )


def candidate_pairs(left: Cones, right: Cones) -> Iterator[Pairs]:
    """Blocks of pairs whose cones meet, each pair once."""
    for rows in _classes(left.radius_rad):
        for others in _classes(right.radius_rad):
            reach = _chord(left.radius_rad[rows].max() + right.radius_rad[others].max())
            reach = max(reach, _SMALLEST_EDGE)
            gridded = reach < _WIDEST_EDGE and len(rows) * len(others) > 4096
            # the larger side is sorted into the grid, the smaller one asks it
            swap = gridded and len(rows) < len(others)
            a, b = (right, left) if swap else (left, right)
            of_a, of_b = (others, rows) if swap else (rows, others)
            blocks = (
                _in_grid(a.take(of_a), b.take(of_b), reach) if gridded else _all_pairs(len(of_a), len(of_b))
            )
            for first, second in blocks:
                first, second = of_a[first], of_b[second]
                meet = _meet(a, b, first, second)
                first, second = first[meet], second[meet]
                yield (second, first) if swap else (first, second)


def meeting(a: Cones, b: Cones) -> NDArray[np.bool_]:
    """Whether cone i of ``a`` meets cone i of ``b``, (N); false where either has no region."""
    rows = np.arange(len(a))
    return _meet(a, b, rows, rows)


def _classes(radius_rad: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Rows of cones of like radius; those without a region are in none."""
    some = np.flatnonzero(~np.isnan(radius_rad))
    classes = np.maximum(np.ceil(np.log2(np.maximum(radius_rad[some], 1e-12))), _SMALLEST_CLASS)
    return [some[classes == value] for value in np.unique(classes)]


def _chord(angle_rad: float) -> float:
    return 2.0 * float(np.sin(min(angle_rad, np.pi) / 2.0))


def _meet(a: Cones, b: Cones, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    distance2 = sum((a.centre[axis][first] - b.centre[axis][second]) ** 2 for axis in range(3))
    angle = np.minimum(a.radius_rad[first] + b.radius_rad[second], np.pi)
    return np.asarray((distance2 <= 4.0 * np.sin(angle / 2.0) ** 2) | (angle >= np.pi))


def _all_pairs(count: int, other_count: int) -> Iterator[Pairs]:
    step = max(1, _BLOCK // max(other_count, 1))
    for begin in range(0, count, step):
        rows = np.arange(begin, min(begin + step, count))
        yield np.repeat(rows, other_count), np.tile(np.arange(other_count), len(rows))


def _in_grid(sorted_side: Cones, asking: Cones, edge: float) -> Iterator[Pairs]:
    """Pairs in one cube or neighbouring ones. Cubes that follow each other in z have numbers that do so too."""
    side = int(2.0 / edge) + 4

    def numbers(cones: Cones) -> NDArray[np.int64]:
        x, y, z = ((cones.centre + 1.0) / edge).astype(np.int64) + 1
        return np.asarray((x * side + y) * side + z)

    number = numbers(sorted_side)
    order = np.argsort(number, kind="stable")
    number = number[order]
    own = numbers(asking)
    for dx, dy in _NEIGHBOURS:
        near = own + (dx * side + dy) * side
        begin = np.searchsorted(number, near - 1, "left")
        counts = np.searchsorted(number, near + 1, "right") - begin
        ends = np.cumsum(counts)
        done = 0
        while done < len(counts):
            before = int(ends[done - 1]) if done else 0
            # one asking cone at least, however many partners it has
            upto = max(int(np.searchsorted(ends, before + _BLOCK, "right")), done + 1)
            here = counts[done:upto]
            if here.any():
                asker = np.repeat(np.arange(done, upto), here)
                first = np.repeat(begin[done:upto] - (ends[done:upto] - here), here)
                yield order[first + np.arange(before, before + len(asker))], asker
            done = upto
