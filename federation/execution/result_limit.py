"""How much of an answer its reader takes, and whether what is beyond that is an error or is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
import pyarrow as pa

from federation.errors import LimitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["OnLimit", "ResultLimit"]

OnLimit = Literal["error", "truncate"]


@attrs.define
class ResultLimit:
    """At most so many rows and bytes (of Arrow, in memory) of one answer; `reason` says what was left out.

    With ``on_limit`` ``"error"`` an answer with more is refused, with ``"truncate"`` its first rows are the result.
    """

    row_count_max: int | None
    byte_count_max: int | None
    on_limit: OnLimit = "error"
    reason: str = ""

    @classmethod
    def asked(
        cls,
        row_count_max: int | None,
        byte_count_max: int | None,
        on_limit: str,
        rows: int,
        size_bytes: int | None,
    ) -> ResultLimit:
        """What a caller asks for, or ``rows`` and ``size_bytes`` where they say nothing; `UsageError` for nonsense."""
        for name, value in (("row_count_max", row_count_max), ("byte_count_max", byte_count_max)):
            if value is not None and (isinstance(value, bool) or value < 0):
                raise UsageError(f"{name} is {value!r}", hint="give a number of at least 0, or None")
        if on_limit not in ("error", "truncate"):
            raise UsageError(f"on_limit is {on_limit!r}", hint='write "error" or "truncate"')
        return cls(
            rows if row_count_max is None else row_count_max,
            size_bytes if byte_count_max is None else byte_count_max,
            "truncate" if on_limit == "truncate" else "error",
        )

    @property
    def rows_wanted(self) -> int | None:
        """Rows after which no more need come; None where all are wanted, be it to count them."""
        return self.row_count_max if self.on_limit == "truncate" else None

    def kept(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches within the limit; one that crosses it is cut after its last whole row that fits."""
        rows, size = 0, 0
        for batch in batches:
            fits = batch.num_rows
            if self.row_count_max is not None:
                fits = min(fits, self.row_count_max - rows)
            if self.byte_count_max is not None and size + batch.nbytes > self.byte_count_max:
                fits = min(fits, _rows_within(batch, self.byte_count_max - size))
            if fits < batch.num_rows:
                is_rows = self.row_count_max is not None and rows + fits == self.row_count_max
                self._reached(is_rows)
                if fits:
                    yield batch.slice(0, fits)
                return
            rows, size = rows + batch.num_rows, size + batch.nbytes
            yield batch

    def table(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
        """All batches that `kept` gives."""
        return pa.Table.from_batches(list(self.kept(batches)), schema=schema)

    def _reached(self, is_rows: bool) -> None:
        what = f"{self.row_count_max} rows" if is_rows else f"{self.byte_count_max} bytes"
        if self.on_limit == "error":
            name = "row_count_max" if is_rows else "byte_count_max"
            raise LimitError(
                f"the answer has more than {what}",
                hint=f"narrow the WHERE clause, add a LIMIT, stream it, or raise {name} in [query]",
            )
        self.reason = f"the answer has more than {what}; the first ones are here"


def _rows_within(batch: pa.RecordBatch, byte_count: int) -> int:
    """The number of first rows of a batch that take at most so many bytes."""
    low, high = 0, batch.num_rows
    while low < high:
        middle = (low + high + 1) // 2
        if batch.slice(0, middle).nbytes <= byte_count:
            low = middle
        else:
            high = middle - 1
    return low
