"""What a replica was made from: the filter it was copied through, and the epochs that its owner's log has left."""

from __future__ import annotations

import json
from functools import lru_cache

import attrs
import sqlalchemy as sa

from federation.model.log_filter import LogFilter
from federation.storage import create_tables

__all__ = [
    "ReplicaSource",
    "add_former_epoch",
    "create_replica_source",
    "replica_source",
    "set_filter",
]

#: former epochs that are remembered
_FORMER_MAX = 50


@attrs.frozen
class ReplicaSource:
    """A replica's rows passed ``filter``; while ``wanted`` is another, it is to be copied anew through that.

    ``former_epochs`` are those that it has followed before: a source that still has one of them is behind.
    """

    filter: LogFilter = attrs.field(factory=LogFilter)
    wanted: LogFilter = attrs.field(factory=LogFilter)
    former_epochs: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def _table(schema: str) -> sa.Table:
    return sa.Table(
        "replica_source",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("filter", sa.Text, nullable=False),
        sa.Column("wanted", sa.Text, nullable=False),
        sa.Column("former_epochs", sa.Text, nullable=False),
        schema=schema,
    )


def create_replica_source(connection: sa.Connection, schema: str) -> None:
    """Make the table of a physical schema if it is not there."""
    table = _table(schema)
    create_tables(connection, table.metadata)
    if connection.execute(sa.select(table.c.id)).first() is None:
        connection.execute(table.insert().values(id=1, filter="", wanted="", former_epochs="[]"))


def replica_source(connection: sa.Connection, schema: str) -> ReplicaSource:
    """What the replica in a physical schema was made from."""
    row = connection.execute(sa.select(_table(schema))).first()
    if row is None:
        return ReplicaSource()
    return ReplicaSource(
        LogFilter.from_text(row.filter),
        LogFilter.from_text(row.wanted),
        tuple(json.loads(row.former_epochs)),
    )


def set_filter(connection: sa.Connection, schema: str, filter_: LogFilter, *, is_copied: bool) -> None:
    """Note what is wanted, and with ``is_copied`` that all rows have passed it."""
    values = {"wanted": filter_.to_text()}
    if is_copied:
        values["filter"] = filter_.to_text()
    connection.execute(_table(schema).update().values(values))


def add_former_epoch(connection: sa.Connection, schema: str, epoch: str) -> None:
    """Remember an epoch that is about to be left."""
    former = replica_source(connection, schema).former_epochs
    if epoch and epoch not in former:
        kept = [*former, epoch][-_FORMER_MAX:]
        connection.execute(_table(schema).update().values(former_epochs=json.dumps(kept)))
