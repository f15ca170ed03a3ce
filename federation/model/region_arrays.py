"""Many encoded regions at once, as arrays: bounding cones, and the first that is no region.

An encoding is a type byte and then little-endian float64: ``p`` and N unit vectors (a convex polygon), ``c`` and
x, y, z, squared chord length, opening angle in radians (a circle). These two are read with numpy; the others (box,
ellipse, compounds) one by one through lsst-sphgeom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from federation.errors import UserError
from federation.model.region import check_position, decode_region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Cones", "PackedRegions", "bounding_cones", "check_regions", "decode_all", "unit_vectors"]

_POLYGON, _CIRCLE = ord("p"), ord("c")
_VERTEX_BYTES = 24
_CIRCLE_BYTES = 41
#: how far the squared length of a unit vector may be from 1, and an angle of a polygon from convex
_NORM_TOLERANCE = 1e-9
_CONVEX_TOLERANCE = 1e-9
#: regions that are checked at once; their arrays stay in the processor's cache
_CHECKED_ROWS = 4096
#: a polygon whose vertices are further than this from their middle is bounded by the whole sky
_WIDE_RAD = 1.4
#: added to every radius, in radians (0.02 arcsec): lsst-sphgeom calls circles overlapping whose squared chords differ
#: by no more than its bound on their error, 2.5e-15, which is 5e-8 rad where they nearly coincide
_MARGIN_RAD = 1e-7

if TYPE_CHECKING:
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


@attrs.frozen(eq=False)
class PackedRegions:
    """N encoded regions end to end: region i is ``data[offsets[i]:offsets[i + 1]]``; NULL has no bytes.

    ``data`` is uint8, ``offsets`` int64 of N + 1.
    """

    data: NDArray[np.uint8]
    offsets: Ints

    @classmethod
    def pack(cls, values: Sequence[bytes | None]) -> PackedRegions:
        present = [value or b"" for value in values]
        lengths = np.fromiter(map(len, present), np.int64, len(present))
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        return cls(np.frombuffer(b"".join(present), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """The type byte of each; 0 where there is no region."""
        kinds = np.zeros(len(self), np.uint8)
        some = self.lengths > 0
        kinds[some] = self.data[self.offsets[:-1][some]]
        return kinds

    def encoded(self, index: int) -> bytes:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def floats(self, rows: Ints, count: int) -> Floats:
        """The ``count`` numbers after the type byte of each of ``rows``, which hold no more, as (len(rows), count)."""
        length = 8 * count + 1
        begin, end = (int(self.offsets[rows[0]]), int(self.offsets[rows[-1] + 1])) if len(rows) else (0, 0)
        if end - begin == length * len(rows):
            # nothing of another length between them, as is the rule
            raw = self.data[begin:end].reshape(len(rows), length)[:, 1:]
        else:
            raw = self.data[self.offsets[:-1][rows][:, None] + np.arange(1, length)]
        return np.ascontiguousarray(raw).view("<f8").astype(np.float64, copy=False)

    def polygons(self, wanted: Bools | None = None) -> Iterator[tuple[Ints, Floats]]:
        """Rows and vertices (rows, N, 3) of the well-formed polygons, for every number of vertices N.

        ``wanted`` says of each region whether it is asked for (None: all are).
        """
        lengths = self.lengths
        is_polygon = (self.kinds == _POLYGON) & (lengths > 3 * _VERTEX_BYTES) & (lengths % _VERTEX_BYTES == 1)
        if wanted is not None:
            is_polygon &= wanted
        for length in np.unique(lengths[is_polygon]):
            rows = np.flatnonzero(is_polygon & (lengths == length))
            count = int(length) // _VERTEX_BYTES
            yield rows, self.floats(rows, 3 * count).reshape(len(rows), count, 3)

    def circles(self) -> tuple[Ints, Floats]:
        """Rows and numbers (rows, 5) of the well-formed circles."""
        rows = np.flatnonzero((self.kinds == _CIRCLE) & (self.lengths == _CIRCLE_BYTES))
        return rows, self.floats(rows, 5)


@attrs.frozen(eq=False)
class Cones:
    """A cone around each of N regions: unit vectors ``centre`` (3, N), ``radius_rad`` (N).

    The radius is NaN where there is no region or an empty one, and at least pi for the whole sky.
    """

    centre: Floats
    radius_rad: Floats

    def __len__(self) -> int:
        return len(self.radius_rad)

    def take(self, rows: Ints) -> Cones:
        return Cones(self.centre[:, rows], self.radius_rad[rows])


def bounding_cones(regions: PackedRegions) -> Cones:
    """A cone around each region; `UserError` for bytes that are no region."""
    centre = np.zeros((3, len(regions)))
    centre[2] = 1.0
    radius = np.full(len(regions), np.nan)
    rest = regions.lengths > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        for rows, vertices in regions.polygons():
            middle = vertices.sum(axis=1)
            middle /= np.linalg.norm(middle, axis=1)[:, None]
            chord = np.sqrt(((vertices - middle[:, None, :]) ** 2).sum(axis=2).max(axis=1))
            angle = 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))
            # a cap below a hemisphere is convex, so it holds the polygon with its vertices
            bounded = angle < _WIDE_RAD
            centre[:, rows[bounded]] = middle[bounded].T
            radius[rows] = np.where(bounded, angle + _MARGIN_RAD, np.pi)
            rest[rows] = False
    rows, numbers = regions.circles()
    centre[:, rows] = numbers[:, :3].T
    radius[rows] = np.where(numbers[:, 4] >= 0, numbers[:, 4] + _MARGIN_RAD, np.nan)
    rest[rows] = False
    for row in np.flatnonzero(rest).tolist():
        around = decode_region(regions.encoded(row)).getBoundingCircle()
        if not around.isEmpty():
            middle = around.getCenter()
            centre[:, row] = middle.x(), middle.y(), middle.z()
            radius[row] = around.getOpeningAngle().asRadians() + _MARGIN_RAD
    return Cones(centre, radius)


def decode_all(regions: PackedRegions, rows: Ints) -> dict[int, Any]:
    """The lsst-sphgeom regions of the distinct ``rows``."""
    return {row: decode_region(regions.encoded(row)) for row in np.unique(rows).tolist()}


def check_regions(values: Sequence[bytes | None]) -> int | None:
    """Index of the first value that is neither None nor an encoded region; None when all are good.

    A polygon must have three or more finite vertices of length 1, counter-clockwise and convex; a circle a centre of
    length 1. Nothing is asked of where a region lies: those over a pole or right ascension 0 are like any other.
    """
    for begin in range(0, len(values), _CHECKED_ROWS):
        part = values[begin : begin + _CHECKED_ROWS]
        end = len(part)
        if set(map(type, part)) != {bytes} or b"" in part:
            for index, value in enumerate(part):
                if value is not None and (
                    not isinstance(value, (bytes, bytearray, memoryview)) or not len(value)
                ):
                    end = index
                    break
        bad = _first_bad(PackedRegions.pack(part[:end]), end)
        if bad < len(part):
            return begin + bad
    return None


def _are_convex(vertices: Floats) -> Bools:
    """Of polygons (N vertices, 3, rows) those of unit vectors that turn left at every vertex."""
    # comparisons with NaN are false, so NaN and infinity are bad
    good = np.ones(vertices.shape[2], np.bool_)
    count = len(vertices)
    for place, (x, y, z) in enumerate(vertices):
        good &= np.abs(x * x + y * y + z * z - 1.0) <= _NORM_TOLERANCE
        u, v, w = vertices[(place + 1) % count]
        a, b, c = vertices[(place + 2) % count]
        turn = (y * w - z * v) * a + (z * u - x * w) * b + (x * v - y * u) * c
        good &= turn >= -_CONVEX_TOLERANCE
    return good


def _first_bad(regions: PackedRegions, none: int) -> int:
    good = regions.lengths == 0
    with np.errstate(invalid="ignore", over="ignore"):
        for rows, vertices in regions.polygons():
            good[rows] = _are_convex(np.ascontiguousarray(vertices.transpose(1, 2, 0)))
        rows, numbers = regions.circles()
        unit = np.abs((numbers[:, :3] ** 2).sum(axis=1) - 1.0) <= _NORM_TOLERANCE
        good[rows] = unit & np.isfinite(numbers[:, 3:]).all(axis=1)
    known = (regions.kinds == _POLYGON) | (regions.kinds == _CIRCLE)
    for row in np.flatnonzero(~good & ~known).tolist():
        try:
            decode_region(regions.encoded(row))
        except UserError:
            continue
        good[row] = True
    bad = np.flatnonzero(~good)
    return int(bad[0]) if len(bad) else none


def unit_vectors(ra_deg: Floats, dec_deg: Floats) -> Floats:
    """(3, N) unit vectors of N positions, NaN for those that are not finite; `UserError` for no declination."""
    beyond = np.flatnonzero(np.isfinite(dec_deg) & (np.abs(dec_deg) > 90))
    if len(beyond):
        check_position(0.0, float(dec_deg[beyond[0]]))
    with np.errstate(invalid="ignore"):
        ra, dec = np.radians(ra_deg), np.radians(dec_deg)
        return np.stack((np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)))
