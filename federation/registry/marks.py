"""Marks of schemas: cheap values that change with every change, by which caches know that they are stale."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from federation.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

__all__ = ["Mark", "mark_columns", "read_marks"]


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


def mark_columns(schema: str) -> str:
    """The columns of a mark, as SQL over the schema's ``log_state``."""
    return f'epoch, lsn, chain, (SELECT max(entry_id) FROM "{schema}".change_log)'


@lru_cache(maxsize=256)
def _statement(schemas: tuple[str, ...]) -> str:
    return " UNION ALL ".join(
        f'SELECT {number}, {mark_columns(schema)} FROM "{schema}".log_state'
        for number, schema in enumerate(schemas)
    )


def read_marks(connection: sa.Connection, schemas: Sequence[str]) -> tuple[Mark, ...]:
    """Marks of physical schemas, as an open connection sees them; `NotFoundError` where one is no longer there."""
    if not schemas:
        return ()
    rows = connection.exec_driver_sql(_statement(tuple(schemas))).all()
    marks = {row[0]: Mark(row[1], row[2], bytes(row[3]), row[4] or 0) for row in rows}
    for number, schema in enumerate(schemas):
        if number not in marks:
            raise NotFoundError(f"schema {schema} has no log state", hint="run: federation site init")
    return tuple(marks[number] for number in range(len(schemas)))
