"""What a site was asked: the record of fragments that its server keeps, read from its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.config import find_site
from federation.services.query_log import QUERY_FILE
from federation.services.rotating_lines import read_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["QueryRecord", "site_queries"]


@attrs.frozen
class QueryRecord:
    """One fragment that a site was asked for.

    ``user`` is empty for the operator. ``query`` and ``request`` are the same at all sites that one query has asked.
    ``sql`` is its text without the values in quotes; ``outcome`` is ``ok``, ``cancelled`` or the code of an error.
    """

    time_tai: str
    user: str
    query: str
    request: str
    sql: str
    keys: int
    rows: int
    bytes: int
    seconds: float
    outcome: str
    message: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> QueryRecord | None:
        """The record of a line; None for one that another version wrote."""
        names = {field.name for field in attrs.fields(cls)}
        known = {name: value for name, value in values.items() if name in names}
        return cls(**known) if names - {"message"} <= known.keys() else None


def site_queries(
    site: str,
    sites: str | Path = "sites",
    *,
    last: int = 50,
    user: str | None = None,
    slower_s: float = 0.0,
    failed: bool = False,
) -> tuple[QueryRecord, ...]:
    """The ``last`` fragments that a site was asked for, oldest first; run where the site's files are.

    Those of one ``user`` (``""``: the operator), those that took at least ``slower_s``, or those that did not end well.
    """
    config = find_site(site, Path(sites))
    found = (QueryRecord.of(values) for values in read_lines(config.root / QUERY_FILE))
    wanted = [
        one
        for one in found
        if one is not None
        and user in (None, one.user)
        and one.seconds >= slower_s
        and not (failed and one.outcome == "ok")
    ]
    return tuple(wanted[len(wanted) - last :] if last < len(wanted) else wanted)
