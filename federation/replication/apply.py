"""Applying a source's changes to its replica: rows and watermark in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog import LogState, move_to
from federation.changelog.epochs import begin_epoch
from federation.changelog.log import log_tables
from federation.changelog.merging import merged_changes
from federation.changelog.relay_log import keep_entries
from federation.killpoints import killpoint
from federation.registry.provenance_cache import graph_cache
from federation.registry.registry import DECLARING
from federation.replication.replica_rows import ReplicaRows
from federation.replication.replica_tables import ReplicaTables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.model.change import Change
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.replication.state import Apply

__all__ = ["Applier", "apply_entries", "locked_state"]


class _Moved(Exception):  # noqa: N818 - not an error: it rolls the transaction back
    """Another follower has moved the watermark."""


class Applier:
    """Applies entries to one replica, one batch after the other; not shared between threads."""

    def __init__(self, registry: Registry, held: HeldSchema) -> None:
        self._registry, self._held = registry, held
        #: the tables there were at a position; they change by what is applied alone
        self._known: tuple[LogState, Mapping[str, TableDef]] | None = None

    def apply(self, step: Apply, changes: Sequence[Change] | None = None, *, keeps_log: bool = False) -> bool:
        """Apply verified entries; False, with nothing changed, when the replica is not at ``step.previous`` any more.

        All or nothing: the rows and the watermark commit together, with ``keeps_log`` also the entries themselves. It
        is not durable before `Database.make_durable`: what a crash takes back, the source still has. ``changes`` are
        those of the entries, where they have been decoded before.
        """
        registry, held = self._registry, self._held
        registry.check_writable()
        if changes is None:
            changes = merged_changes([entry.body for entry in step.entries], apart=DECLARING)
        known, self._known = self._known, None
        try:
            with registry.database.write(held.physical, durable=False) as connection:
                if locked_state(connection, held) != step.previous:
                    raise _Moved
                killpoint("apply.before_rows")
                tables = ReplicaTables(
                    registry, held, connection, known[1] if known and known[0] == step.previous else None
                )
                _write_rows(tables, connection, changes)
                killpoint("apply.before_watermark")
                if not move_to(connection, held.physical, step.previous, step.target):
                    raise _Moved
                if keeps_log:
                    keep_entries(connection, held.physical, step.entries)
                if step.target.epoch != step.previous.epoch:
                    begun = attrs.evolve(step.previous, epoch=step.target.epoch)
                    begin_epoch(connection, held.physical, begun, registry.clock())
                killpoint("apply.before_commit")
        except _Moved:
            return False
        self._known = step.target, tables.tables
        graph_cache(registry).applied(held.physical, step.previous, step.target, changes)
        killpoint("apply.after_commit")
        return True


def apply_entries(registry: Registry, held: HeldSchema, step: Apply) -> bool:
    """`Applier.apply` once."""
    return Applier(registry, held).apply(step)


def _write_rows(tables: ReplicaTables, connection: sa.Connection, changes: Sequence[Change]) -> None:
    replica = ReplicaRows(tables, connection)
    for change in changes:
        replica.add(change)
    replica.flush()


def locked_state(connection: sa.Connection, held: HeldSchema) -> LogState:
    """Where the replica stands, once no other follower is applying to it."""
    state = log_tables(held.physical).state
    row = connection.execute(sa.select(state.c.epoch, state.c.lsn, state.c.chain).with_for_update()).one()
    return LogState(row.epoch, row.lsn, bytes(row.chain))
