"""Reads the numbered entries of a log, as many at once as fit a message."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from federation.garbage import no_cycle_search
from federation.model.change import LogEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

__all__ = ["read_entries"]

#: entries whose sizes are looked at first, and at most: large ones soon fill a message, small ones are many
_FIRST_LOOK, _LOOK_MAX = 64, 4096
_NAMES = "lsn, committed_tai_ns, row_count, schema_version, body, digest, chain"


def read_entries(
    connection: sa.Connection, schema: str, after_lsn: int, byte_limit: int, row_limit: int | None = None
) -> list[LogEntry]:
    """Numbered entries after ``after_lsn`` in order: at least one, then as many as fit the limits on bytes and rows."""
    if connection.dialect.name == "sqlite":
        return _stepped(connection, schema, after_lsn, byte_limit, row_limit)
    entries: list[LogEntry] = []
    byte_count = row_count = 0
    look = _FIRST_LOOK
    while look:
        begin = entries[-1].lsn if entries else after_lsn
        sizes = _sizes(connection, schema, begin, look)
        last_lsn = None
        for lsn, body_size, rows in sizes:
            byte_count, row_count = byte_count + body_size, row_count + rows
            is_over = byte_count > byte_limit or (row_limit is not None and row_count > row_limit)
            if is_over and (entries or last_lsn is not None):
                break
            last_lsn = lsn
        if last_lsn is not None:
            entries += _read(connection, schema, begin, last_lsn)
        if len(sizes) < look or last_lsn != sizes[-1][0]:
            break
        filled = byte_count / byte_limit
        if row_limit is not None:
            filled = max(filled, row_count / row_limit)
        # as many as probably fit beside these
        look = min(_LOOK_MAX, int(len(entries) * (1 / filled - 1)) + 2) if 0 < filled < 1 else 0
    return entries


def _stepped(
    connection: sa.Connection, schema: str, after_lsn: int, byte_limit: int, row_limit: int | None
) -> list[LogEntry]:
    """SQLite reads an entry when it is asked for: one too many, and no more."""
    raw: Any = connection.connection.dbapi_connection
    query = f'SELECT {_NAMES} FROM "{schema}".change_log WHERE lsn > ? ORDER BY lsn'
    found: list[LogEntry] = []
    byte_count = rows = 0
    with no_cycle_search(), closing(raw.execute(query, (after_lsn,))) as cursor:
        for row in cursor:
            byte_count, rows = byte_count + len(row[4]), rows + row[2]
            if found and (byte_count > byte_limit or (row_limit is not None and rows > row_limit)):
                break
            found.append(LogEntry(*row))
    return found


def _sizes(connection: sa.Connection, schema: str, after_lsn: int, limit: int) -> Sequence[Any]:
    """(lsn, bytes, rows) of the next entries on PostgreSQL; bodies are not read for it."""
    raw: Any = connection.connection.dbapi_connection
    query = (
        f'SELECT lsn, length(body), row_count FROM "{schema}".change_log WHERE lsn > %s ORDER BY lsn LIMIT %s'
    )
    found: list[Any] = raw.execute(query, (after_lsn, limit)).fetchall()
    return found


def _read(connection: sa.Connection, schema: str, after_lsn: int, last_lsn: int) -> list[LogEntry]:
    """The driver's own rows, in binary form: an entry has no column that need be converted."""
    raw: Any = connection.connection.dbapi_connection
    query = f'SELECT {_NAMES} FROM "{schema}".change_log WHERE lsn > %s AND lsn <= %s ORDER BY lsn'
    with raw.cursor(binary=True) as cursor, no_cycle_search():
        return [LogEntry(*row) for row in cursor.execute(query, (after_lsn, last_lsn))]
