"""Numbers the entries of a log on PostgreSQL that their writers have left without a number, once they are visible.

A number taken before the commit, where several commit at once, would let a late commit slip in behind a reader. An
entry is written as the last act of its transaction, so the order of ``entry_id`` among visible entries is a causal one.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import attrs
from psycopg import sql

from federation.changelog.codec import chain_hash
from federation.killpoints import killpoint

if TYPE_CHECKING:
    from federation.storage import Database

__all__ = ["stamp"]

#: entries numbered in one transaction of the sequencer
STAMP_BATCH = 2000


@attrs.frozen
class _Statements:
    """What the sequencer asks of one schema."""

    any_waiting: str
    waiting: str
    locked_state: str
    stamp: str


@lru_cache(maxsize=256)
def _statements(schema: str) -> _Statements:
    def of(text: str) -> str:
        return sql.SQL(text).format(sql.Identifier(schema)).as_string()

    waiting = "SELECT entry_id, digest FROM {0}.change_log WHERE lsn IS NULL ORDER BY entry_id LIMIT "
    return _Statements(
        of("SELECT 1 FROM {0}.change_log WHERE lsn IS NULL LIMIT 1"),
        of(waiting) + str(STAMP_BATCH),
        of("SELECT lsn, chain FROM {0}.log_state FOR UPDATE"),
        # one statement for all: ordinality counts from 1, from the number before the first on
        of(
            "WITH stamped AS (UPDATE {0}.change_log AS l SET lsn = %s + s.place, chain = s.chain "
            "FROM unnest(%s::bigint[], %s::bytea[]) WITH ORDINALITY AS s (entry_id, chain, place) "
            "WHERE l.entry_id = s.entry_id) UPDATE {0}.log_state SET lsn = %s, chain = %s"
        ),
    )


def stamp(database: Database, schema: str) -> int:
    """Number the visible entries that have no number; returns how many.

    One sequencer at a time works on a schema; a second waits for it. Nothing to do on SQLite, where writers number.
    """
    if database.kind == "sqlite":
        return 0
    statements = _statements(schema)
    with database.statements(()) as looking:  # the idle case takes no lock and no transaction
        if looking.execute(statements.any_waiting).fetchone() is None:
            return 0
    with database.write(schema) as connection:
        raw: Any = connection.connection.dbapi_connection
        lsn, chain = raw.cursor(binary=True).execute(statements.locked_state).fetchone()
        found = raw.cursor(binary=True).execute(statements.waiting).fetchall()
        chains = list(accumulate((digest for _, digest in found), chain_hash, initial=chain))
        if found:
            entry_ids = [entry_id for entry_id, _ in found]
            raw.execute(statements.stamp, (lsn, entry_ids, chains[1:], lsn + len(found), chains[-1]))
            killpoint("stamp.before_commit")
    killpoint("stamp.after_commit")
    return len(found)
