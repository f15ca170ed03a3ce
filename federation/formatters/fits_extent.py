"""Where and when a FITS image was taken, from the standard keywords of its headers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from federation.formatters.fits_structure import HeaderUnit

__all__ = ["fits_region", "fits_timespan", "tai_ns"]

#: 1970-01-01T00:00:00 TAI as a Julian date
_EPOCH_JD = 2440587.5


def fits_region(path: Path) -> bytes | None:
    """The convex polygon of the four corners of the first image with a celestial WCS, in lsst-sphgeom encoding.

    None when no image has one, or a corner is not on the sky.
    """
    import numpy as np
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS, WcsError
    from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

    with warnings.catch_warnings(action="ignore", category=AstropyWarning), fits.open(path) as hdus:
        for hdu in hdus:
            if not hdu.is_image or hdu.header.get("NAXIS", 0) < 2:
                continue
            try:
                wcs = WCS(hdu.header, naxis=2)
                corners = wcs.calc_footprint() if wcs.has_celestial else None
            except (WcsError, ValueError, TypeError):
                continue  # the keywords are there, but make no projection
            if corners is not None and np.isfinite(corners).all():
                points = [UnitVector3d(LonLat.fromDegrees(lon % 360.0, lat)) for lon, lat in corners.tolist()]
                encoded: bytes = ConvexPolygon(points).encode()
                return encoded
    return None


def fits_timespan(units: Sequence[HeaderUnit]) -> tuple[int | None, int | None]:
    """DATE-BEG and DATE-END in TAI nanoseconds since 1970-01-01T00:00:00 TAI; None where absent or unreadable.

    TIMESYS says their scale, UTC where it is absent (FITS standard 4.0, section 9.2.1).
    """

    def first(keyword: str) -> str | None:
        values = (unit.value(keyword) for unit in units)
        return next((value for value in values if isinstance(value, str) and value), None)

    scale = (first("TIMESYS") or "UTC").lower()
    begin, end = (first(keyword) for keyword in ("DATE-BEG", "DATE-END"))
    return _tai_ns(begin, scale), _tai_ns(end, scale)


def _tai_ns(text: str | None, scale: str) -> int | None:
    if text is None:
        return None
    from astropy.time import Time

    try:
        return tai_ns(Time(text, scale=scale))
    except (ValueError, KeyError):
        return None


def tai_ns(time: Any) -> int:
    """Nanoseconds since 1970-01-01T00:00:00 TAI of an astropy time of any scale."""
    tai = time.tai
    # whole seconds and the rest apart: a float of nanoseconds since 1970 would be good to 200 ns only
    whole = round((float(tai.jd1) - _EPOCH_JD) * 86_400)
    rest = (float(tai.jd1) - _EPOCH_JD) * 86_400 - whole + float(tai.jd2) * 86_400
    return whole * 1_000_000_000 + round(rest * 1e9)
