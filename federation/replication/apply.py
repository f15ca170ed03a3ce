"""Applying a source's changes to its replica: rows and watermark in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.changelog import move_to
from federation.changelog.epochs import begin_epoch
from federation.changelog.log import locked_state
from federation.changelog.merging import merged_changes
from federation.changelog.relay_log import keep_entries
from federation.killpoints import killpoint
from federation.registry.provenance_cache import graph_cache
from federation.registry.registry import DECLARING
from federation.replication.few_rows import NotSoSimpleError, are_few, put_few
from federation.replication.replica_rows import ReplicaRows
from federation.replication.replica_tables import ReplicaTables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy as sa

    from federation.changelog import LogState
    from federation.model.change import Change
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.replication.state import Apply

__all__ = ["Applier", "apply_entries"]


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
        self._registry.check_writable()
        if changes is None:
            changes = merged_changes([entry.body for entry in step.entries], apart=DECLARING)
        known, self._known = self._known, None
        known_tables = known[1] if known and known[0] == step.previous else None
        try:
            is_few = known_tables is not None and not keeps_log and self._is_quick(step, changes)
            tables = self._put_few(step, changes, known_tables) if is_few else None
            if tables is None:
                tables = self._put_all(step, changes, known_tables, keeps_log=keeps_log)
        except _Moved:
            return False
        self._known = step.target, tables.tables
        graph_cache(self._registry).applied(self._held.physical, step.previous, step.target, changes)
        killpoint("apply.after_commit")
        return True

    def _is_quick(self, step: Apply, changes: Sequence[Change]) -> bool:
        """Whether it can be done in one round trip to the database."""
        is_postgres = self._registry.database.kind == "postgresql"
        return is_postgres and step.target.epoch == step.previous.epoch and are_few(changes)

    def _put_few(
        self, step: Apply, changes: Sequence[Change], known: Mapping[str, TableDef] | None
    ) -> ReplicaTables | None:
        """The tables there are then; None, with nothing changed, where it is not as simple as that."""
        registry, held = self._registry, self._held
        try:
            with registry.database.write(held.physical) as connection:
                killpoint("apply.before_rows")
                tables = ReplicaTables(registry, held, connection, known)
                is_here = put_few(connection, held.physical, step, tables, changes)
                killpoint("apply.before_watermark")
                if not is_here:
                    raise _Moved
                killpoint("apply.before_commit")
        except NotSoSimpleError:
            return None
        return tables

    def _put_all(
        self,
        step: Apply,
        changes: Sequence[Change],
        known: Mapping[str, TableDef] | None,
        *,
        keeps_log: bool,
    ) -> ReplicaTables:
        """The tables there are then."""
        registry, held = self._registry, self._held
        with registry.database.write(held.physical, durable=False) as connection:
            if locked_state(connection, held.physical) != step.previous:
                raise _Moved
            killpoint("apply.before_rows")
            tables = ReplicaTables(registry, held, connection, known)
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
        return tables


def apply_entries(registry: Registry, held: HeldSchema, step: Apply) -> bool:
    """`Applier.apply` once."""
    return Applier(registry, held).apply(step)


def _write_rows(tables: ReplicaTables, connection: sa.Connection, changes: Sequence[Change]) -> None:
    replica = ReplicaRows(tables, connection)
    for change in changes:
        replica.add(change)
    replica.flush()
