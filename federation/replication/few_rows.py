"""A few new rows into a replica on PostgreSQL: watermark and rows of all tables by one round trip.

A replica that is up to date gets one small transaction after the other, and its age is mostly round trips. What can't
be had by one (rows that take over others' unique values, tables that are declared, removals) is left to `ReplicaRows`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from federation.changelog.log import moving
from federation.model.change import Operation
from federation.registry.bulk import COPY_ROWS_MIN, upsert_statement
from federation.registry.registry import DECLARING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from federation.model.change import Change
    from federation.replication.replica_tables import ReplicaTables
    from federation.replication.state import Apply

__all__ = ["NotSoSimpleError", "are_few", "put_few"]


class NotSoSimpleError(Exception):
    """The rows can't be put in one by one; it rolls the transaction back."""


def are_few(changes: Sequence[Change]) -> bool:
    """Whether these are so few new rows that `put_few` is the quickest way."""
    return sum(change.row_count for change in changes) < COPY_ROWS_MIN and all(
        change.operation is Operation.PUT and change.table not in DECLARING for change in changes
    )


def put_few(
    connection: sa.Connection, physical: str, step: Apply, tables: ReplicaTables, changes: Sequence[Change]
) -> bool:
    """Move the watermark and put the rows, in order; False when the replica is not where the step begins.

    Then, and on `NotSoSimpleError`, the transaction must not be committed. It does not wait for the disk.
    """
    rows = []
    for change in changes:
        table = tables.table_of(change)
        name = tables.physical(change.table).name
        statement = upsert_statement(physical, name, table, change.columns)
        rows += [(statement, row) for row in change.rows]
    raw: Any = connection.connection.dbapi_connection
    try:
        with raw.pipeline():
            raw.execute("SET LOCAL synchronous_commit = off")
            moved = raw.execute(*moving("postgresql", physical, step.previous, step.target), prepare=True)
            for statement, row in rows:
                raw.execute(statement, row, prepare=True)
    except psycopg.IntegrityError as error:
        raise NotSoSimpleError(str(error)) from error
    return bool(moved.rowcount == 1)
