"""The clocks that processes pass to everything that needs one."""

from __future__ import annotations

import time

__all__ = ["TAI_MINUS_UTC_S", "tai_now"]

#: TAI - UTC since 2017-01-01 (IERS Bulletin C 52); no leap second has been announced since
TAI_MINUS_UTC_S = 37


def tai_now() -> int:
    """Now, in TAI nanoseconds since 1970-01-01T00:00:00 TAI, from the system's UTC clock."""
    return time.time_ns() + TAI_MINUS_UTC_S * 1_000_000_000
