"""Whether what the sites read is one state of each schema, and the one that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.model.position import Position, SchemaId
    from federation.planner import PlanOptions
    from federation.registry.marks import Mark
    from federation.registry.schemas import HeldSchema

__all__ = ["MovedError", "check_read", "check_snapshot"]


class MovedError(UnavailableError):
    """A schema that was written to between two reads of one query, or since it was at an asked position."""

    code = "unavailable"


def check_read(positions: Iterable[Position], options: PlanOptions) -> None:
    """`MovedError` unless ``positions``, of all fragments, have each schema once, in the state that was asked for."""
    read: dict[SchemaId, Position] = {}
    for position in positions:
        other = read.setdefault(position.schema_id, position)
        if other != position:
            raise MovedError(
                f"{position.schema_id} was written to while it was read: at {other.epoch}:{other.lsn}, "
                f"then at {position.epoch}:{position.lsn}",
                hint="ask again, or read replicas with --max-staleness",
            )
    for wanted in options.as_of or ():
        found = read.get(wanted.schema_id)
        if found is not None and found != wanted:
            raise MovedError(f"{found} was read as of {wanted}", hint="ask without positions")
    for wanted in options.after:
        found = read.get(wanted.schema_id)
        if found is not None and (found.epoch != wanted.epoch or found.lsn < wanted.lsn):
            raise MovedError(f"{found} was read, which lacks what is up to {wanted}", hint="ask again")


def check_snapshot(
    site: str,
    connection: sa.Connection,
    held: Sequence[HeldSchema],
    marks: Sequence[Mark],
    wanted: Iterable[Position],
) -> None:
    """`UnavailableError` unless the snapshot that a connection sees has each schema exactly as ``wanted``.

    On PostgreSQL rows are visible before their entry has a number: such a snapshot is past its position.
    """
    at = {position.schema_id: position for position in wanted}
    for one, mark in zip(held, marks, strict=True):
        position = at.get(one.schema)
        if position is None:
            continue
        is_there = (mark.epoch, mark.lsn) == (position.epoch, position.lsn)
        if not is_there or (one.owned and _has_unnumbered(connection, one)):
            past = "" if not is_there else ", with changes after it"
            raise UnavailableError(
                f"site {site} holds {one.schema} at {mark.epoch}:{mark.lsn}{past}, not as of {position}",
                hint="ask without positions, or read a snapshot that was made then",
            )


def _has_unnumbered(connection: sa.Connection, held: HeldSchema) -> bool:
    log = sa.table("change_log", sa.column("lsn"), schema=held.physical)
    return connection.scalar(sa.select(sa.literal(1)).where(log.c.lsn.is_(None)).limit(1)) is not None
