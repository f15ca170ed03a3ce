"""What is known of a table's rows without reading them: counts, and the values of its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ColumnStats", "TableStats", "Value"]

#: a value in statistics: a timestamp is its TAI nanoseconds since 1970, an UUID its text
Value = int | float | str | bool


@attrs.frozen
class ColumnStats:
    """One column, as of when it was last looked at.

    ``distinct_count`` counts different values that are not NULL, and is None where it is not known; ``common`` are the
    most common values, each with its share of all rows, most common first; ``width`` is the mean size of a value in
    bytes. ``low`` and ``high`` are the least and greatest value, None where not known or there is none; with
    ``is_exact`` no row has a value outside them, and with ``is_complete`` none that is not among the common ones.
    """

    distinct_count: float | None = None
    null_fraction: float = 0.0
    low: Value | None = None
    high: Value | None = None
    is_exact: bool = False
    common: tuple[tuple[Value, float], ...] = ()
    width: float | None = None
    is_complete: bool = False


@attrs.frozen
class TableStats:
    """``row_count`` as counted at the catalog's position; ``row_bytes`` is the mean size of a row in Arrow.

    With ``is_exact`` the rows were counted, not estimated: a count of 0 then means that there are none. With
    ``is_current`` what is exact of the columns is so at the catalog's position, else at an older one.
    """

    row_count: int
    row_bytes: float = 64.0
    is_exact: bool = True
    columns: Mapping[str, ColumnStats] = attrs.field(factory=dict)
    is_current: bool = False
