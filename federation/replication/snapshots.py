"""Consistent views of one held schema: rows and position of the same moment."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from federation.changelog import LogState, log_state, stamp
from federation.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

__all__ = ["stamp_all", "stamped_snapshot"]

_ATTEMPTS = 500


def stamp_all(registry: Registry, held: HeldSchema) -> None:
    """Number every entry that is visible now."""
    while held.owned and stamp(registry.database, held.physical):
        pass


@contextmanager
def stamped_snapshot(registry: Registry, held: HeldSchema) -> Iterator[tuple[sa.Connection, LogState]]:
    """A reading connection whose rows are exactly those of its log state.

    On PostgreSQL rows are visible before their entry has a number; such a snapshot is given up and taken again.
    """
    log = sa.table("change_log", sa.column("entry_id"), sa.column("lsn"), schema=held.physical)
    waiting = sa.select(log.c.entry_id).where(log.c.lsn.is_(None)).limit(1)
    for _ in range(_ATTEMPTS):
        stamp_all(registry, held)
        with registry.database.read((held.physical,)) as connection:
            if connection.execute(waiting).first() is None:
                yield connection, log_state(connection, held.physical)
                return
    raise UnavailableError(
        f"{held.schema} at {registry.site} is written to without a pause",
        hint="try again when there is less to do",
    )
