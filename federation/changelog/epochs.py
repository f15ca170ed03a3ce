"""The history of a log's epochs: which one began where, so that positions of older ones can be judged.

An epoch is a random name of one history. A new one begins where a log may have two continuations: it was restored from
a backup, or its database was copied. Positions of the epochs before it stay good up to where the next one begins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.storage import create_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.changelog.log import LogState

__all__ = ["Epoch", "begin_epoch", "continued_until", "create_epochs", "epochs", "restart_epochs"]


@attrs.frozen
class Epoch:
    """One epoch: it continues the log of the one before from ``start_lsn``, where the chain hash is ``chain``."""

    name: str
    start_lsn: int
    chain: bytes
    begun_tai_ns: int


@lru_cache(maxsize=256)
def _table(schema: str) -> sa.Table:
    return sa.Table(
        "log_epoch",
        sa.MetaData(),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Text, nullable=False, unique=True),
        sa.Column("start_lsn", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("begun_tai_ns", sa.BigInteger, nullable=False),
        schema=schema,
    )


def create_epochs(connection: sa.Connection, schema: str) -> None:
    """Make the table of a physical schema if it is not there."""
    create_tables(connection, _table(schema).metadata)


def epochs(connection: sa.Connection, schema: str) -> tuple[Epoch, ...]:
    """The epochs of a log in order, the current one last."""
    table = _table(schema)
    rows = connection.execute(sa.select(table).order_by(table.c.number))
    return tuple(Epoch(row.epoch, row.start_lsn, bytes(row.chain), row.begun_tai_ns) for row in rows)


def begin_epoch(connection: sa.Connection, schema: str, state: LogState, tai_ns: int) -> None:
    """Add an epoch to the history that begins at a position; one that is in it already changes nothing."""
    table = _table(schema)
    if connection.execute(sa.select(table.c.epoch).where(table.c.epoch == state.epoch)).first() is None:
        number = sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0) + 1).scalar_subquery()
        connection.execute(
            table.insert().values(
                number=number,
                epoch=state.epoch,
                start_lsn=state.lsn,
                chain=state.chain,
                begun_tai_ns=tai_ns,
            )
        )


def restart_epochs(connection: sa.Connection, schema: str, state: LogState, tai_ns: int) -> None:
    """Forget the history and begin it at a position: of a replica that was copied from there."""
    connection.execute(_table(schema).delete())
    begin_epoch(connection, schema, state, tai_ns)


def continued_until(history: Sequence[Epoch], name: str) -> int | None:
    """The last lsn up to which positions of an epoch are positions of the current one too; None: unknown epoch.

    >>> history = [Epoch("a", 0, b"", 0), Epoch("b", 80, b"", 0), Epoch("c", 50, b"", 0)]
    >>> continued_until(history, "a"), continued_until(history, "b"), continued_until(history, "x")
    (50, 50, None)
    """
    names = [epoch.name for epoch in history]
    if name not in names:
        return None
    later = history[names.index(name) + 1 :]
    return min((epoch.start_lsn for epoch in later), default=1 << 63)
