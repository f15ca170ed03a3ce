"""One fragment's rows that have begun to come, for a reader that takes them as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

from federation.execution.gathering import ask_fragment, late_as_limit, take_catalog

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
        rows = ask_fragment(client, fragment.id, fragment.sql, fragment.columns, None, call)
        with stop.ending(rows.cancel), late_as_limit(call):
            begun = cls(rows, rows.__enter__())
            take_catalog(rows, fragment.id, call)
            return begun

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
