"""Decides for many pairs of convex spherical polygons at once whether they overlap, where that is beyond doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from federation.model.region_arrays import PackedRegions

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["APART", "OPEN", "OVERLAPPING", "decided_overlaps"]

OPEN, APART, OVERLAPPING = 0, 1, 2

#: a vertex nearer than this to an edge's plane is on neither side of it, in radians (0.2 microarcsec); a product of
#: unit vectors in double precision is wrong by some 1e-15
_MARGIN = 1e-12
#: pairs that are looked at in one go: their arrays stay in the processor's cache
_PAIRS = 8_192


@attrs.frozen(eq=False)
class _Polygons:
    """Those of some regions that are polygons of one number of vertices N.

    ``vertices`` and ``normals`` are (N, 3, rows); normal k points to the inner side of the edge from vertex k to the
    next. ``place`` is by region: where it is in these, or -1.
    """

    vertices: Floats
    normals: Floats
    place: Ints

    @classmethod
    def of(cls, regions: PackedRegions, wanted: Ints) -> list[_Polygons]:
        """The polygons among the ``wanted`` regions."""
        found = []
        is_wanted = np.zeros(len(regions), np.bool_)
        is_wanted[wanted] = True
        for rows, polygons in regions.polygons(is_wanted):
            vertices = np.ascontiguousarray(polygons.transpose(1, 2, 0))
            normals = _products(vertices, np.roll(vertices, -1, axis=0))
            place = np.full(len(regions), -1, np.int64)
            place[rows] = np.arange(len(rows))
            found.append(cls(vertices, normals, place))
        return found


def decided_overlaps(left: PackedRegions, right: PackedRegions, rows: Ints, others: Ints) -> NDArray[np.int8]:
    """`OPEN`, `APART` or `OVERLAPPING` for each pair, (P), of left region ``rows`` and right region ``others``.

    Two convex polygons are apart where all vertices of the one are outside of one edge of the other, and overlap where
    a vertex of the one is inside of all edges of the other. What is nearer to an edge than rounding errors reach stays
    open, as do crosses, in which neither has a vertex of the other, and all other regions.
    """
    found = np.full(len(rows), OPEN, np.int8)
    for one in _Polygons.of(left, rows):
        for other in _Polygons.of(right, others):
            a, b = one.place[rows], other.place[others]
            of_both = np.flatnonzero((a >= 0) & (b >= 0))
            for pairs in _cut(of_both):
                found[pairs] = _decide(one, a[pairs], other, b[pairs])
    return found


def _products(first: Floats, second: Floats) -> Floats:
    """Vector products of (N, 3, rows) and (N, 3, rows), with length 1."""
    (x, y, z), (u, v, w) = first.transpose(1, 0, 2), second.transpose(1, 0, 2)
    made = np.stack((y * w - z * v, z * u - x * w, x * v - y * u), axis=1)
    made /= np.sqrt((made * made).sum(axis=1, keepdims=True))
    return made


def _cut(pairs: Ints) -> Iterator[Ints]:
    for begin in range(0, len(pairs), _PAIRS):
        yield pairs[begin : begin + _PAIRS]


def _decide(left: _Polygons, a: Ints, right: _Polygons, b: Ints) -> NDArray[np.int8]:
    is_apart, is_overlapping = np.zeros((2, len(a)), np.bool_)
    for edges, of_edges, corners, of_corners in ((left, a, right, b), (right, b, left, a)):
        normals, vertices = edges.normals[:, :, of_edges], corners.vertices[:, :, of_corners]
        is_inside = np.ones((len(vertices), len(a)), np.bool_)
        for nx, ny, nz in normals:
            is_beyond = np.ones(len(a), np.bool_)
            for k, (x, y, z) in enumerate(vertices):
                height = nx * x + ny * y + nz * z
                is_beyond &= height < -_MARGIN
                is_inside[k] &= height > _MARGIN
            is_apart |= is_beyond
        is_overlapping |= is_inside.any(axis=0)
    return np.where(is_apart, APART, np.where(is_overlapping, OVERLAPPING, OPEN)).astype(np.int8)
