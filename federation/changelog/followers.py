"""The followers of a schema's log: who they are, what each has durably applied, and when it last said so."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.storage import create_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "RegisteredFollower",
    "create_followers",
    "followers",
    "forget_follower",
    "record_follower",
    "record_followers",
]


@attrs.frozen
class RegisteredFollower:
    """A follower and the position up to which it has applied the log; ``heard_tai_ns`` is when it said so (TAI)."""

    name: str
    epoch: str
    lsn: int
    heard_tai_ns: int

    def age_s(self, now_tai_ns: int) -> float:
        """Seconds since it was heard; 0 where the clock was set back meanwhile."""
        return max(0, now_tai_ns - self.heard_tai_ns) / 1e9


@lru_cache(maxsize=256)
def _table(schema: str) -> sa.Table:
    return sa.Table(
        "log_follower",
        sa.MetaData(),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("lsn", sa.BigInteger, nullable=False),
        sa.Column("heard_tai_ns", sa.BigInteger, nullable=False),
        schema=schema,
    )


def create_followers(connection: sa.Connection, schema: str) -> None:
    """Make the table of a physical schema if it is not there."""
    create_tables(connection, _table(schema).metadata)


def record_follower(
    connection: sa.Connection, schema: str, name: str, epoch: str, lsn: int, tai_ns: int
) -> None:
    """Take note of one acknowledgement; a lower position than before is taken too: the follower knows what it has."""
    record_followers(connection, schema, [RegisteredFollower(name, epoch, lsn, tai_ns)])


def record_followers(
    connection: sa.Connection, schema: str, acknowledged: Iterable[RegisteredFollower]
) -> None:
    """Take note of several followers' acknowledgements."""
    rows = [attrs.asdict(one) for one in sorted(acknowledged, key=lambda one: one.name)]
    if not rows:
        return
    table = _table(schema)
    names = [row["name"] for row in rows]
    known = set(connection.execute(sa.select(table.c.name).where(table.c.name.in_(names))).scalars())
    new = [row for row in rows if row["name"] not in known]
    if new:
        connection.execute(table.insert(), new)
    if known:
        connection.execute(
            table.update()
            .where(table.c.name == sa.bindparam("which"))
            .values(epoch=sa.bindparam("epoch"), lsn=sa.bindparam("lsn"), heard_tai_ns=sa.bindparam("heard")),
            [
                {"which": row["name"], "epoch": row["epoch"], "lsn": row["lsn"], "heard": row["heard_tai_ns"]}
                for row in rows
                if row["name"] in known
            ],
        )


def followers(connection: sa.Connection, schema: str) -> tuple[RegisteredFollower, ...]:
    """Every registered follower of a schema, by name."""
    table = _table(schema)
    rows = connection.execute(sa.select(table).order_by(table.c.name))
    return tuple(RegisteredFollower(row.name, row.epoch, row.lsn, row.heard_tai_ns) for row in rows)


def forget_follower(connection: sa.Connection, schema: str, name: str) -> bool:
    """Take a follower off the list, so that the log is no longer kept for it; False when it was not on it."""
    table = _table(schema)
    return connection.execute(table.delete().where(table.c.name == name)).rowcount == 1
