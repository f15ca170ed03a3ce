"""The change log of one schema: written with the rows, numbered in commit order, read by publishers.

On SQLite the one writer numbers its entry itself. On PostgreSQL writers leave entries without a number, and a
sequencer (`stamp`) numbers those that have become visible: a number taken before the commit would let a late commit
slip in behind a reader. An entry is written as the last act of its transaction, so the order of `entry_id` among
visible entries is a causal one. Only numbered entries are ever read, and numbering them makes them durable.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog.codec import SCHEMA_VERSION, chain_hash, digest_of, encode_changes
from federation.errors import NotFoundError
from federation.killpoints import killpoint
from federation.model.change import Change, LogEntry
from federation.model.position import GENESIS
from federation.storage import create_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.storage import Database

__all__ = ["LogState", "append", "create_log", "log_state", "log_tables", "move_to", "read_entries", "stamp"]

#: entries numbered in one transaction of the sequencer
STAMP_BATCH = 1000


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


def log_state(connection: sa.Connection, schema: str) -> LogState:
    """Where the log (owned) or the replica stands."""
    state = log_tables(schema).state
    row = connection.execute(sa.select(state.c.epoch, state.c.lsn, state.c.chain)).first()
    if row is None:
        raise NotFoundError(f"schema {schema} has no log state", hint="run: federation site init")
    return LogState(row.epoch, row.lsn, bytes(row.chain))


def move_to(connection: sa.Connection, schema: str, previous: LogState, target: LogState) -> bool:
    """Move a replica's watermark from ``previous``; False when it stands elsewhere (another follower was faster)."""
    state = log_tables(schema).state
    moved = connection.execute(
        state.update()
        .where(state.c.epoch == previous.epoch, state.c.lsn == previous.lsn, state.c.chain == previous.chain)
        .values(epoch=target.epoch, lsn=target.lsn, chain=target.chain)
    )
    return moved.rowcount == 1


def append(connection: sa.Connection, schema: str, changes: Sequence[Change], committed_tai_ns: int) -> None:
    """Write the entry of a transaction, as its last act; on SQLite also number it."""
    tables = log_tables(schema)
    body = encode_changes(changes)
    digest = digest_of(body)
    values: dict[str, object] = {
        "committed_tai_ns": committed_tai_ns,
        "row_count": sum(change.row_count for change in changes),
        "schema_version": SCHEMA_VERSION,
        "body": body,
        "digest": digest,
    }
    if connection.dialect.name == "sqlite":
        head = log_state(connection, schema)
        values |= {"lsn": head.lsn + 1, "chain": chain_hash(head.chain, digest)}
        connection.execute(tables.state.update().values(lsn=values["lsn"], chain=values["chain"]))
    connection.execute(tables.log.insert().values(values))


def stamp(database: Database, schema: str) -> int:
    """Number the visible entries that have no number, in causal order; returns how many.

    One sequencer at a time works on a schema; a second waits for it. Nothing to do on SQLite.
    """
    if database.kind == "sqlite":
        return 0
    tables = log_tables(schema)
    waiting = sa.select(tables.log.c.entry_id).where(tables.log.c.lsn.is_(None)).limit(1)
    with database.read(()) as connection:  # the idle case takes no lock
        if connection.execute(waiting).first() is None:
            return 0
    count = 0
    with database.write(schema) as connection:
        connection.execute(sa.select(tables.state.c.id).with_for_update())
        head = log_state(connection, schema)
        lsn, chain = head.lsn, head.chain
        found = connection.execute(
            sa.select(tables.log.c.entry_id, tables.log.c.digest)
            .where(tables.log.c.lsn.is_(None))
            .order_by(tables.log.c.entry_id)
            .limit(STAMP_BATCH)
        ).all()
        stamps = []
        for row in found:
            lsn += 1
            chain = chain_hash(chain, bytes(row.digest))
            stamps.append({"entry": row.entry_id, "new_lsn": lsn, "new_chain": chain})
        if stamps:
            connection.execute(
                tables.log.update()
                .where(tables.log.c.entry_id == sa.bindparam("entry"))
                .values(lsn=sa.bindparam("new_lsn"), chain=sa.bindparam("new_chain")),
                stamps,
            )
            connection.execute(tables.state.update().values(lsn=lsn, chain=chain))
            count = len(stamps)
            killpoint("stamp.before_commit")
    killpoint("stamp.after_commit")
    return count


def read_entries(connection: sa.Connection, schema: str, after_lsn: int, byte_limit: int) -> list[LogEntry]:
    """Numbered entries after ``after_lsn`` in order: at least one, then as many as fit ``byte_limit`` bytes."""
    log = log_tables(schema).log
    rows = connection.execute(
        sa.select(log).where(log.c.lsn > after_lsn).order_by(log.c.lsn).limit(STAMP_BATCH)
    )
    entries: list[LogEntry] = []
    size = 0
    for row in rows:
        size += len(row.body)
        if entries and size > byte_limit:
            break
        entries.append(
            LogEntry(
                row.lsn,
                row.committed_tai_ns,
                row.row_count,
                row.schema_version,
                bytes(row.body),
                bytes(row.digest),
                bytes(row.chain),
            )
        )
    rows.close()
    return entries


def entry_chain(connection: sa.Connection, schema: str, lsn: int) -> bytes | None:
    """Chain hash at ``lsn``, `GENESIS` at 0, None where the log does not reach."""
    if lsn == 0:
        return GENESIS
    log = log_tables(schema).log
    found = connection.execute(sa.select(log.c.chain).where(log.c.lsn == lsn)).scalar()
    return None if found is None else bytes(found)
