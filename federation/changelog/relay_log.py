"""The log of a replica that is passed on: its owner's entries, kept as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog.floor import floor_of
from federation.changelog.log import log_state, log_tables
from federation.changelog.retention import restart_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import LogEntry
    from federation.storage import Database

__all__ = ["begin_relay", "keep_entries"]


def begin_relay(database: Database, schema: str, *, keeps_log: bool) -> None:
    """Make a replica's log one that continues to its position, or an empty one where it is not kept (any more)."""
    log = log_tables(schema).log
    with database.read((schema,)) as connection:
        last = connection.execute(sa.select(sa.func.max(log.c.lsn))).scalar()
        state, floor = log_state(connection, schema), floor_of(connection, schema)
    end = floor.lsn if last is None else last
    if (keeps_log and end != state.lsn) or (not keeps_log and last is not None):
        with database.write(schema) as connection:
            restart_log(connection, schema)


def keep_entries(connection: sa.Connection, schema: str, entries: Sequence[LogEntry]) -> None:
    """Add entries to a replica's log, in the transaction that applies them."""
    if entries:
        connection.execute(
            log_tables(schema).log.insert(),
            [
                {
                    "lsn": entry.lsn,
                    "committed_tai_ns": entry.committed_tai_ns,
                    "row_count": entry.row_count,
                    "schema_version": entry.schema_version,
                    "body": entry.body,
                    "digest": entry.digest,
                    "chain": entry.chain,
                }
                for entry in entries
            ],
        )
