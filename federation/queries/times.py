"""Time literals: a moment, its format and its scale."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, TypeGuard

from federation.errors import UserError
from federation.model.timespan import parse_tai

if TYPE_CHECKING:
    from astropy.time import Time

__all__ = ["is_astropy_time", "parse_time", "tai_ns"]

_SCALES = ("tai", "utc")
_FORMATS = ("iso", "mjd", "jd")
_HINT = (
    "write T'2025-01-31T12:00:00/tai' (scales tai and utc; formats mjd and jd in front: T'mjd/60706.5/utc')"
)
_EPOCH_JD = 2440587
_DAY_NS = 86_400 * 1_000_000_000


def parse_time(text: str) -> int:
    """TAI nanoseconds since 1970-01-01T00:00:00 TAI of ``[format/]moment[/scale]``; the scale is TAI unless named.

    >>> parse_time("1970-01-01T00:00:01/tai")
    1000000000
    """
    parts = [part.strip() for part in text.split("/")]
    scale = parts.pop().lower() if len(parts) > 1 and parts[-1].lower() in _SCALES else "tai"
    format_ = parts.pop(0).lower() if len(parts) > 1 and parts[0].lower() in _FORMATS else "iso"
    if len(parts) != 1:
        raise UserError(f"{text!r} is not a moment", hint=_HINT)
    if format_ == "iso":
        try:
            tai = parse_tai(parts[0])  # exact, and checks the text for both scales
        except UserError as error:
            raise UserError(f"{text!r} is not a moment", hint=_HINT) from error
        return _in_range(
            tai if scale == "tai" else tai_ns(_time(parts[0].replace("T", " "), "iso", scale)), text
        )
    try:
        days = float(parts[0])
    except ValueError as error:
        raise UserError(f"{text!r} is not a moment: {parts[0]!r} is no number", hint=_HINT) from error
    return _in_range(tai_ns(_time(days, format_, scale)), text)


def _in_range(tai: int, text: str) -> int:
    if not -(2**63) < tai < 2**63:
        raise UserError(f"{text!r} is out of range", hint="timestamps reach from 1678 to 2261")
    return tai


def _time(value: str | float, format_: str, scale: str) -> Time:
    from astropy.time import Time  # takes a while to import, and 12 MB

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of leap seconds that are not announced yet
            return Time(value, format=format_, scale=scale)
    except ValueError as error:
        raise UserError(f"{value!r} is not a moment: {error}".splitlines()[0], hint=_HINT) from error


def is_astropy_time(value: object) -> TypeGuard[Time]:
    """Whether a value is an astropy time: nobody has one who has not imported the module."""
    module = sys.modules.get("astropy.time")
    return module is not None and isinstance(value, module.Time)


def tai_ns(time: Time) -> int:
    """TAI nanoseconds of an astropy time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tai = time.tai
    whole = round(tai.jd1 - 0.5) - _EPOCH_JD
    rest = (tai.jd1 - (whole + _EPOCH_JD + 0.5)) + tai.jd2
    return int(whole * _DAY_NS + round(float(rest) * _DAY_NS))
