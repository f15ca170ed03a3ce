"""Marks of schemas: cheap values that change with every change, by which caches know that they are stale."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import sqlalchemy as sa

    from federation.storage import Database

__all__ = ["Mark", "glance_at_marks", "read_marks"]


@attrs.frozen
class Mark:
    """Where a schema's log (owned) or copy (replica) stands.

    ``entry_id`` is of the last entry of its log, 0 without: on PostgreSQL rows are visible before their entry has
    an LSN.
    """

    epoch: str
    lsn: int
    chain: bytes
    entry_id: int


@lru_cache(maxsize=256)
def _statement(schemas: tuple[str, ...]) -> str:
    return " UNION ALL ".join(
        f'SELECT {number}, epoch, lsn, chain, (SELECT max(entry_id) FROM "{schema}".change_log) '
        f'FROM "{schema}".log_state'
        for number, schema in enumerate(schemas)
    )


def read_marks(connection: sa.Connection, schemas: Sequence[str]) -> tuple[Mark, ...]:
    """Marks of physical schemas, as an open connection sees them; `NotFoundError` where one is no longer there."""
    if not schemas:
        return ()
    # every fragment begins with it; the driver's own connection takes a third of the time
    raw = connection.connection.driver_connection
    assert raw is not None
    return _marks(raw.execute(_statement(tuple(schemas))).fetchall(), schemas)


def glance_at_marks(database: Database, schemas: Sequence[str]) -> tuple[Mark, ...]:
    """As `read_marks`, in a snapshot of their own: one round trip."""
    with database.statements(schemas) as raw:
        return _marks(raw.execute(_statement(tuple(schemas))).fetchall(), schemas)


def _marks(rows: Iterable[Sequence[Any]], schemas: Sequence[str]) -> tuple[Mark, ...]:
    marks = {row[0]: Mark(row[1], row[2], bytes(row[3]), row[4] or 0) for row in rows}
    for number, schema in enumerate(schemas):
        if number not in marks:
            raise NotFoundError(f"schema {schema} has no log state", hint="run: federation site init")
    return tuple(marks[number] for number in range(len(schemas)))
