"""Skypix systems: hierarchical pixels of the whole sky, named by system and level (``htm7``, ``healpix9``)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lsst.sphgeom import HealpixPixelization, HtmPixelization, LonLat, UnitVector3d

from federation.errors import UserError
from federation.model.region import check_position

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LEVELS", "check_pixel", "pixel_range", "pixel_region", "pixelization", "skypix_id"]

#: lowest and highest level of every system, as lsst-sphgeom allows
LEVELS: dict[str, tuple[int, int]] = {"htm": (0, 24), "healpix": (0, 17)}
_MAKERS: dict[str, Callable[[int], Any]] = {"htm": HtmPixelization, "healpix": HealpixPixelization}
_NAME = re.compile(r"([a-z]+)([0-9]{1,2})\Z")


@lru_cache(maxsize=64)
def pixelization(name: str) -> Any:
    """The lsst-sphgeom pixelization of a system like ``htm7``; `UserError` for one that there is not."""
    match = _NAME.match(name)
    low, high = LEVELS.get(match[1], (1, 0)) if match else (1, 0)
    if match is None or not low <= int(match[2]) <= high or match[2] != str(int(match[2])):
        shown = ", ".join(f"{system}{first} to {system}{last}" for system, (first, last) in LEVELS.items())
        raise UserError(f"{name!r} is not a skypix system", hint=f"there are {shown}")
    return _MAKERS[match[1]](int(match[2]))


@lru_cache(maxsize=64)
def pixel_range(name: str) -> tuple[int, int]:
    """First pixel of a system, and the first number after its last."""
    ((begin, end),) = pixelization(name).universe()
    return begin, end


def check_pixel(name: str, pixel: int) -> None:
    """`UserError` unless the system has the pixel."""
    begin, end = pixel_range(name)
    if not begin <= pixel < end:
        raise UserError(f"{name} has no pixel {pixel}", hint=f"its pixels are {begin} to {end - 1}")


def pixel_region(name: str, pixel: int) -> bytes:
    """The encoded region of a pixel; `UserError` for a pixel that the system does not have."""
    check_pixel(name, pixel)
    encoded: bytes = pixelization(name).pixel(pixel).encode()
    return encoded


def skypix_id(name: str, ra_deg: float, dec_deg: float) -> int:
    """The pixel that a position is in; `UserError` for angles that are none."""
    check_position(ra_deg, dec_deg)
    return int(pixelization(name).index(UnitVector3d(LonLat.fromDegrees(ra_deg, dec_deg))))
