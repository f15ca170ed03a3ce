"""Tells the log of each query that has ended: by whom, what without its values, where, how much, and how it ended."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from federation.errors import FederationError
from federation.logs import fields
from federation.model.statement_shape import statement_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.execution.result import Result

__all__ = ["query_told"]

_log = logging.getLogger(__name__)


@contextmanager
def query_told(sql: str, user: str) -> Iterator[Callable[[Result], None]]:
    """Within this context a query runs; the function that it gives is told of the result."""
    start = time.perf_counter()
    told: dict[str, Any] = {"user": user}
    found: list[Result] = []
    try:
        yield found.append
    except BaseException as error:
        told["outcome"] = error.code if isinstance(error, FederationError) else "interrupted"
        if _log.isEnabledFor(logging.INFO):
            told["seconds"] = round(time.perf_counter() - start, 6)
            _log.info("query_ended", extra=fields(**told, sql=statement_shape(sql)))
        raise
    # it is asked for seldom, and takes as long as a short query does
    if _log.isEnabledFor(logging.DEBUG):
        for result in found:
            told |= {
                "sql": statement_shape(sql),
                "sites": sorted({stats.site for stats in result.fragments}),
                "rows": result.row_count,
                "bytes": sum(stats.byte_count for stats in result.fragments),
                "seconds": round(time.perf_counter() - start, 6),
                "outcome": "ok",
            }
            _log.debug("query_ended", extra=fields(**told))
