"""Regions on the sphere, kept as the bytes that lsst-sphgeom writes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lsst.sphgeom import Angle, Circle, ConvexPolygon, LonLat, Region, UnitVector3d

from federation.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_position", "circle", "decode_region", "overlaps", "polygon"]


def decode_region(encoded: bytes) -> Region:
    """The lsst-sphgeom region; `UserError` when the bytes are not one."""
    try:
        return Region.decode(encoded)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{len(encoded)} bytes starting {encoded[:4].hex()} are not a region: {error}",
            hint="expected the encoding of an lsst-sphgeom Region",
        ) from error


def overlaps(a: bytes, b: bytes) -> bool:
    """Whether two encoded regions may share a point (exact where lsst-sphgeom is exact)."""
    # None is "cannot tell": only False is certain
    return decode_region(a).overlaps(decode_region(b)) is not False


def check_position(ra_deg: float, dec_deg: float) -> None:
    """`UserError` unless the angles are finite and the declination is one; a right ascension may be any angle."""
    if not math.isfinite(ra_deg):
        raise UserError(f"right ascension {ra_deg} is not an angle", hint="write degrees")
    if not -90 <= dec_deg <= 90:
        raise UserError(f"declination {dec_deg} is not between -90 and 90", hint="write degrees")


def circle(ra_deg: float, dec_deg: float, radius_deg: float) -> bytes:
    """The encoded circle around a position; `UserError` for angles that are none."""
    check_position(ra_deg, dec_deg)
    if not 0 <= radius_deg <= 180:
        raise UserError(f"radius {radius_deg} is not between 0 and 180", hint="write degrees")
    encoded: bytes = Circle(_vector(ra_deg, dec_deg), Angle.fromDegrees(radius_deg)).encode()
    return encoded


def polygon(positions_deg: Sequence[tuple[float, float]]) -> bytes:
    """The encoded convex hull of (right ascension, declination) pairs, which must fit into a hemisphere."""
    for ra_deg, dec_deg in positions_deg:
        check_position(ra_deg, dec_deg)
    try:
        encoded: bytes = ConvexPolygon.convexHull([_vector(*position) for position in positions_deg]).encode()
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{len(positions_deg)} positions span no polygon: {error}",
            hint="give three or more that are not on one great circle and lie in one hemisphere",
        ) from error
    return encoded


def _vector(ra_deg: float, dec_deg: float) -> UnitVector3d:
    return UnitVector3d(LonLat.fromDegrees(ra_deg, dec_deg))
