"""The change log of one schema: written with the rows, numbered in commit order, read by publishers.

A writer numbers its entry itself: one writes to a schema at a time, so that numbers are in the order of commits. On
PostgreSQL, where others may be numbering entries at that moment, it leaves that to the sequencer then, which numbers
those that have become visible. Only numbered entries are ever read, and numbering them makes them durable.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.changelog.codec import SCHEMA_VERSION, chain_hash, digest_of, encode_changes
from federation.changelog.epochs import begin_epoch, create_epochs
from federation.changelog.floor import create_floor
from federation.changelog.followers import create_followers
from federation.changelog.replica_source import create_replica_source
from federation.errors import NotFoundError
from federation.model.position import GENESIS
from federation.storage import create_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import Change

__all__ = [
    "LogState",
    "append",
    "create_log",
    "locked_state",
    "log_state",
    "log_tables",
    "move_to",
    "moving",
]


@attrs.frozen
class LogState:
    """The last numbered entry of an owned schema, or the last applied one of a replica."""

    epoch: str
    lsn: int
    chain: bytes


@attrs.frozen
class LogTables:
    """Bookkeeping tables of one physical schema."""

    log: sa.Table
    state: sa.Table


@lru_cache(maxsize=256)
def log_tables(schema: str) -> LogTables:
    """The log's tables in a physical schema."""
    metadata = sa.MetaData()
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    log = sa.Table(
        "change_log",
        metadata,
        sa.Column("entry_id", big, primary_key=True, autoincrement=True),
        sa.Column("lsn", sa.BigInteger, unique=True),
        sa.Column("committed_tai_ns", sa.BigInteger, nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("chain", sa.LargeBinary),
        schema=schema,
        sqlite_autoincrement=True,
    )
    sa.Index(
        "ix_change_log_unstamped",
        log.c.entry_id,
        postgresql_where=log.c.lsn.is_(None),
        sqlite_where=log.c.lsn.is_(None),
    )
    state = sa.Table(
        "log_state",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("lsn", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        schema=schema,
    )
    return LogTables(log, state)


def create_log(connection: sa.Connection, schema: str, *, owned: bool) -> None:
    """Make the bookkeeping tables; an owned schema starts a new epoch, a replica has none until its first entry."""
    tables = log_tables(schema)
    create_tables(connection, tables.log.metadata)
    if connection.execute(sa.select(tables.state.c.id)).first() is None:
        epoch = secrets.token_hex(8) if owned else ""
        connection.execute(tables.state.insert().values(id=1, epoch=epoch, lsn=0, chain=GENESIS))
    create_epochs(connection, schema)
    create_floor(connection, schema)
    create_followers(connection, schema)
    if owned:  # a replica's history is its owner's
        begin_epoch(connection, schema, LogState(log_state(connection, schema).epoch, 0, GENESIS), 0)
    else:
        create_replica_source(connection, schema)


def log_state(connection: sa.Connection, schema: str) -> LogState:
    """Where the log (owned) or the replica stands."""
    state = log_tables(schema).state
    row = connection.execute(sa.select(state.c.epoch, state.c.lsn, state.c.chain)).first()
    if row is None:
        raise _no_state(schema)
    return LogState(row.epoch, row.lsn, bytes(row.chain))


def move_to(connection: sa.Connection, schema: str, previous: LogState, target: LogState) -> bool:
    """Move a replica's watermark from ``previous``; False when it stands elsewhere (another follower was faster)."""
    raw: Any = connection.connection.dbapi_connection  # every batch that is applied pays for this
    statement, values = moving(connection.dialect.name, schema, previous, target)
    return bool(raw.execute(statement, values).rowcount == 1)


def moving(dialect: str, schema: str, previous: LogState, target: LogState) -> tuple[str, tuple[Any, ...]]:
    """The statement and parameters that move a watermark; they change one row, or none where it stands elsewhere."""
    state = f'"{schema}".log_state'
    text = f"UPDATE {state} SET epoch = %s, lsn = %s, chain = %b WHERE epoch = %s AND lsn = %s AND chain = %b"
    if dialect == "sqlite":
        text = text.replace("%s", "?").replace("%b", "?")
    return text, (target.epoch, target.lsn, target.chain, previous.epoch, previous.lsn, previous.chain)


def locked_state(connection: sa.Connection, schema: str) -> LogState:
    """Where a replica stands, once nobody else is applying to it."""
    raw: Any = connection.connection.dbapi_connection
    # a SQLite transaction that writes is the only one already
    lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""
    row = raw.execute(f'SELECT epoch, lsn, chain FROM "{schema}".log_state{lock}').fetchone()
    if row is None:
        raise _no_state(schema)
    return LogState(*row)


def _no_state(schema: str) -> NotFoundError:
    return NotFoundError(f"schema {schema} has no log state", hint="run: federation site init")


def append(connection: sa.Connection, schema: str, changes: Sequence[Change], committed_tai_ns: int) -> None:
    """Write the entry of a transaction, as its last act, and number it where nobody else is about to.

    The caller is the only one that writes to the schema until its transaction has ended.
    """
    body = encode_changes(changes)
    digest = digest_of(body)
    values = (committed_tai_ns, sum(change.row_count for change in changes), SCHEMA_VERSION, body, digest)
    names = "committed_tai_ns, row_count, schema_version, body, digest"
    raw: Any = connection.connection.dbapi_connection  # every commit pays for this: no statement is built
    if connection.dialect.name == "postgresql":
        _append_to_postgres(raw, schema, names, values, digest)
        return
    lsn, chain = raw.execute(f'SELECT lsn, chain FROM "{schema}".log_state').fetchone()
    lsn, chain = lsn + 1, chain_hash(chain, digest)
    raw.execute(
        f'INSERT INTO "{schema}".change_log ({names}, lsn, chain) VALUES (?, ?, ?, ?, ?, ?, ?)',
        (*values, lsn, chain),
    )
    raw.execute(f'UPDATE "{schema}".log_state SET lsn = ?, chain = ?', (lsn, chain))


def _append_to_postgres(raw: Any, schema: str, names: str, values: tuple[Any, ...], digest: bytes) -> None:
    # whoever holds the state's row is numbering entries, and what has no number yet comes before this entry
    found = raw.execute(
        f'SELECT lsn, chain FROM "{schema}".log_state WHERE NOT EXISTS '
        f'(SELECT 1 FROM "{schema}".change_log WHERE lsn IS NULL) FOR UPDATE SKIP LOCKED',
        prepare=True,
    ).fetchone()
    insert = f'INSERT INTO "{schema}".change_log ({names}, lsn, chain) VALUES (%s, %s, %s, %b, %b, %s, %b)'
    if found is None:
        raw.execute(insert, (*values, None, None), prepare=True)
        return
    lsn, chain = found[0] + 1, chain_hash(bytes(found[1]), digest)
    with raw.pipeline():
        raw.execute(insert, (*values, lsn, chain), prepare=True)
        raw.execute(f'UPDATE "{schema}".log_state SET lsn = %s, chain = %b', (lsn, chain), prepare=True)


def entry_chain(connection: sa.Connection, schema: str, lsn: int) -> bytes | None:
    """Chain hash at ``lsn``, `GENESIS` at 0, None where the log does not reach."""
    if lsn == 0:
        return GENESIS
    log = log_tables(schema).log
    found = connection.execute(sa.select(log.c.chain).where(log.c.lsn == lsn)).scalar()
    return None if found is None else bytes(found)
