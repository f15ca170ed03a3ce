"""One fragment's rows that have begun to come, for a reader that takes them as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from federation.execution.gathering import late_as_limit

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from federation.execution.gathering import Call, QueryableSite
    from federation.execution.stopping import Stop
    from federation.model.position import Position
    from federation.planner import Fragment
    from federation.wire.messages import RowStream

__all__ = ["OpenRows"]


@attrs.frozen(eq=False)
class OpenRows:
    """A fragment whose site has said its first word; a context that ends the site's work."""

    rows: RowStream
    batches: Iterable[pa.RecordBatch]

    @classmethod
    def of(cls, client: QueryableSite, fragment: Fragment, call: Call, stop: Stop) -> OpenRows:
        """Ask the site for the fragment, and wait for its first word or for ``stop``."""
        rows = client.execute(
            fragment.sql,
            fragment.columns,
            user=call.user,
            query_id=call.query_id,
            row_count_max=call.row_count_max,
            timeout_s=call.remaining(),
            at=call.at,
        )
        call.begun()
        with stop.ending(rows.cancel), late_as_limit(call):
            return cls(rows, rows.__enter__())

    @property
    def positions(self) -> tuple[Position, ...]:
        return self.rows.positions

    def close(self) -> None:
        """End the site's work."""
        self.rows.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
