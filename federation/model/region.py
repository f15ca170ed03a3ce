"""Regions on the sphere, kept as the bytes that lsst-sphgeom writes."""

from __future__ import annotations

from lsst.sphgeom import DISJOINT, Region

from federation.errors import UserError

__all__ = ["decode_region", "overlaps"]


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
    # relate() is conservative: DISJOINT is the only certain statement
    return not decode_region(a).relate(decode_region(b)) & DISJOINT
