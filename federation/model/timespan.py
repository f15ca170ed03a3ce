"""Half-open intervals of TAI time, to the nanosecond."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

import attrs

from federation.errors import UserError

__all__ = ["Clock", "Timespan", "format_tai", "parse_tai"]

_EPOCH = dt.datetime(1970, 1, 1)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?)?\Z")

#: returns now, in TAI nanoseconds since 1970-01-01T00:00:00 TAI
Clock = Callable[[], int]


def parse_tai(text: str) -> int:
    """TAI nanoseconds since 1970-01-01T00:00:00 TAI of an ISO 8601 text without zone.

    >>> parse_tai("1970-01-01 00:00:01.000000002")
    1000000002
    """
    match = _ISO.match(text.strip())
    if match is None:
        raise UserError(
            f"{text!r} is not a TAI timestamp", hint="write YYYY-MM-DD HH:MM:SS.nnnnnnnnn without a zone"
        )
    day, clock, fraction = match.groups()
    try:
        moment = dt.datetime.fromisoformat(f"{day} {clock or '00:00:00'}")
    except ValueError as error:
        raise UserError(
            f"{text!r} is not a TAI timestamp: {error}", hint="check month, day and hour"
        ) from error
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def format_tai(tai_ns: int) -> str:
    """ISO 8601 text, with nanoseconds only where there are any.

    >>> format_tai(1000000002)
    '1970-01-01 00:00:01.000000002'
    """
    seconds, fraction = divmod(tai_ns, 1_000_000_000)
    text = (_EPOCH + dt.timedelta(seconds=seconds)).isoformat(sep=" ")
    return f"{text}.{fraction:09d}" if fraction else text


@attrs.frozen
class Timespan:
    """``begin <= t < end`` in TAI nanoseconds since 1970-01-01T00:00:00 TAI; None is unbounded.

    An interval with ``begin >= end`` is empty; `empty` makes the canonical one.
    """

    begin: int | None = None
    end: int | None = None

    @classmethod
    def empty(cls) -> Timespan:
        return cls(0, 0)

    @classmethod
    def at(cls, moment: int) -> Timespan:
        """The one nanosecond of a moment."""
        return cls(moment, moment + 1)

    @property
    def is_empty(self) -> bool:
        return self.begin is not None and self.end is not None and self.begin >= self.end

    def overlaps(self, other: Timespan) -> bool:
        """Whether some moment is in both."""
        if self.is_empty or other.is_empty:
            return False
        return (self.begin is None or other.end is None or self.begin < other.end) and (
            other.begin is None or self.end is None or other.begin < self.end
        )

    def contains(self, moment: int) -> bool:
        return (self.begin is None or self.begin <= moment) and (self.end is None or moment < self.end)

    def __str__(self) -> str:
        begin = "-inf" if self.begin is None else format_tai(self.begin)
        end = "inf" if self.end is None else format_tai(self.end)
        return f"[{begin}, {end})"
