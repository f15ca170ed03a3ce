"""Where a log begins: the position before the first entry that is kept, and the account of what is kept."""

from __future__ import annotations

from functools import lru_cache

import attrs
import sqlalchemy as sa

from federation.model.position import GENESIS
from federation.storage import create_tables

__all__ = ["Floor", "create_floor", "floor_of", "floor_table", "set_floor"]


@attrs.frozen
class Floor:
    """The position before the first entry that is kept, and ``size_bytes`` of the entries up to ``counted_lsn``."""

    lsn: int = 0
    chain: bytes = GENESIS
    counted_lsn: int = 0
    size_bytes: int = 0


@lru_cache(maxsize=256)
def floor_table(schema: str) -> sa.Table:
    """The table of a physical schema; it has one row."""
    return sa.Table(
        "log_floor",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("lsn", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("counted_lsn", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        schema=schema,
    )


def create_floor(connection: sa.Connection, schema: str) -> None:
    """Make the table of a physical schema if it is not there; a log reaches back to its beginning."""
    table = floor_table(schema)
    create_tables(connection, table.metadata)
    if connection.execute(sa.select(table.c.id)).first() is None:
        connection.execute(table.insert().values(id=1, **attrs.asdict(Floor())))


def floor_of(connection: sa.Connection, schema: str) -> Floor:
    """How far back a log reaches."""
    row = connection.execute(sa.select(floor_table(schema))).first()
    return Floor() if row is None else Floor(row.lsn, bytes(row.chain), row.counted_lsn, row.size_bytes)


def set_floor(connection: sa.Connection, schema: str, floor: Floor) -> None:
    """Let a log begin after a position; the entries before it are the caller's to remove."""
    connection.execute(floor_table(schema).update().values(attrs.asdict(floor)))
