"""The record of the fragments that a site was asked for: one JSON line each, in a file of bounded size."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from federation.clock import tai_now
from federation.errors import FederationError
from federation.logs import fields, hide_secrets
from federation.model.statement_shape import statement_shape
from federation.model.timespan import format_tai
from federation.request_context import current_request
from federation.services.rotating_lines import RotatingLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from federation.execution.site import Answer
    from federation.wire.messages import ExecuteCall

__all__ = ["QUERY_FILE", "QueryLog"]

QUERY_FILE: Final = "queries.jsonl"
_MESSAGE_MAX: Final = 500
_log = logging.getLogger(__name__)


class QueryLog:
    """Records each fragment when it has ended, however it did; values in its text are left out."""

    def __init__(self, path: Path, clock: Callable[[], int] = tai_now) -> None:
        self._lines = RotatingLines(path, what="queries")
        self._clock = clock

    def close(self) -> None:
        """Give the file back."""
        self._lines.close()

    def recorded(self, call: ExecuteCall, execute: Callable[[ExecuteCall], Answer]) -> Answer:
        """What ``execute`` answers; the record is made when its batches have ended, or it has failed."""
        begun = _Begun(self._clock(), time.perf_counter())
        try:
            positions, schema, batches = execute(call)
        except BaseException as error:
            self._record(call, begun, _outcome(error), _message(error), 0, 0)
            raise
        return positions, schema, self._batches(call, begun, batches)

    def _batches(
        self, call: ExecuteCall, begun: _Begun, batches: Iterator[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        rows = size = 0
        outcome, message = "cancelled", ""
        try:
            for batch in batches:
                rows, size = rows + batch.num_rows, size + batch.nbytes
                yield batch
            outcome = "ok"
        except GeneratorExit:
            raise
        except BaseException as error:
            outcome, message = _outcome(error), _message(error)
            raise
        finally:
            if hasattr(batches, "close"):
                batches.close()
            self._record(call, begun, outcome, message, rows, size)

    def _record(
        self, call: ExecuteCall, begun: _Begun, outcome: str, message: str, rows: int, size: int
    ) -> None:
        told: dict[str, Any] = {
            "time_tai": format_tai(begun.tai_ns),
            "user": call.user,
            "query": call.query_id,
            "request": current_request(),
            "sql": statement_shape(call.sql),
            "keys": sum(table.num_rows for table in call.keys.values()),
            "rows": rows,
            "bytes": size,
            "seconds": round(time.perf_counter() - begun.at, 6),
            "outcome": outcome,
        }
        if message:
            told["message"] = message
        self._lines.append(told)
        _log.debug("fragment_ended", extra=fields(**told))


class _Begun:
    """When a fragment began, by both clocks."""

    def __init__(self, tai_ns: int, at: float) -> None:
        self.tai_ns, self.at = tai_ns, at


def _outcome(error: BaseException) -> str:
    return error.code if isinstance(error, FederationError) else "internal"


def _message(error: BaseException) -> str:
    # a message may quote the statement, whose values are nobody else's business
    text = error.message if isinstance(error, FederationError) else type(error).__name__
    return statement_shape(hide_secrets(text), _MESSAGE_MAX)
