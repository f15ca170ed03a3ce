"""What a log has gained, by one statement: its end, and the entries after a position, both of one moment."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
from psycopg import sql

from federation.changelog.log import LogState
from federation.errors import NotFoundError
from federation.model.change import LogEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from federation.storage import Database

__all__ = ["Growth", "growth"]

#: entries that one look takes: who looks often has few to take
LOOK_ENTRIES = 256
_NAMES = ("lsn", "committed_tai_ns", "row_count", "schema_version", "body", "digest", "chain")
_LISTED = ", ".join(_NAMES)
_STATE = f"SELECT s.epoch, s.lsn, s.chain, {', '.join(f'l.{name}' for name in _NAMES)}, "
#: rows come as they are asked for: one too many is read, not all
_SQLITE = (
    _STATE + "0 FROM {0}.log_state AS s LEFT JOIN {0}.change_log AS l ON l.lsn > ? "
    f"ORDER BY l.lsn LIMIT {LOOK_ENTRIES}"
)
#: the server sends what it has found: what is too much must not be among it. The size of a body is known without it.
_POSTGRES = (
    _STATE + "EXISTS (SELECT 1 FROM {0}.change_log WHERE lsn IS NULL) FROM {0}.log_state AS s LEFT JOIN ("
    "SELECT *, sum(length(body)) OVER w AS total, row_number() OVER w AS place FROM "
    f"(SELECT {_LISTED} FROM {{0}}.change_log WHERE lsn > %s ORDER BY lsn LIMIT {LOOK_ENTRIES}) AS first "
    "WINDOW w AS (ORDER BY lsn)) AS l ON l.place = 1 OR l.total <= %s ORDER BY l.lsn"
)


@attrs.frozen
class Growth:
    """The end of a log, the first entries after the position asked for, and whether others still have no number."""

    state: LogState
    entries: tuple[LogEntry, ...]
    is_unnumbered: bool


def growth(database: Database, schema: str, after_lsn: int, byte_limit: int) -> Growth:
    """What the log of a physical schema has after ``after_lsn``: at most 256 entries of together ``byte_limit`` bytes.

    At least one where there is one, however large. `NotFoundError` for a schema without a log.
    """
    query = _query(schema, database.kind)
    with database.statements((schema,)) as connection:
        if database.kind == "sqlite":
            cursor: Any = connection.cursor()
            rows = list(_up_to(byte_limit, cursor.execute(query, (after_lsn,))))
            cursor.close()  # its snapshot ends with it
        else:
            with connection.cursor(binary=True) as cursor:
                rows = cursor.execute(query, (after_lsn, byte_limit)).fetchall()
    if not rows:
        raise NotFoundError(f"schema {schema} has no log state", hint="run: federation site init")
    epoch, lsn, chain, *first, is_unnumbered = rows[0]
    entries = () if first[0] is None else tuple(LogEntry(*row[3:-1]) for row in rows)
    return Growth(LogState(epoch, lsn, chain), entries, bool(is_unnumbered))


def _up_to(byte_limit: int, rows: Iterable[Any]) -> Iterator[Any]:
    """The first row, and those after it as long as their bodies are together no larger."""
    total, body = 0, 3 + _NAMES.index("body")
    for number, row in enumerate(rows):
        total += len(row[body] or b"")
        if number and total > byte_limit:
            return
        yield row


@lru_cache(maxsize=256)
def _query(schema: str, kind: str) -> str:
    return sql.SQL(_SQLITE if kind == "sqlite" else _POSTGRES).format(sql.Identifier(schema)).as_string()
