"""What a registry records of one replica: its position, the filter its rows have passed, the epochs it has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.changelog import LogState, log_state
from federation.changelog.relay_log import begin_relay
from federation.changelog.replica_source import ReplicaSource, add_former_epoch, replica_source, set_filter
from federation.registry.schemas import FORMAT_VERSION
from federation.replication.apply import Applier
from federation.replication.state import FollowerState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.change import Change
    from federation.model.log_filter import LogFilter
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.replication.state import Apply

__all__ = ["ReplicaRecord"]


class ReplicaRecord:
    """The replica of ``schema`` in ``registry``, which is made where there is none.

    Its rows are to pass ``wanted``; with ``keeps_log`` its entries are kept for those who follow it from here.
    """

    def __init__(self, registry: Registry, schema: SchemaId, wanted: LogFilter, *, keeps_log: bool) -> None:
        self.registry, self.wanted, self._keeps_log = registry, wanted, keeps_log
        self.held = registry.ensure_replica(schema)
        self._applier = Applier(registry, self.held)
        if self._is_writable:
            begin_relay(registry.database, self.held.physical, keeps_log=keeps_log)

    def position(self) -> LogState:
        """Where the replica stands."""
        with self.registry.database.read((self.held.physical,)) as connection:
            return log_state(connection, self.held.physical)

    def state(self, position: LogState | None = None) -> FollowerState:
        """A follower's state at a position; None: where the replica stands."""
        return FollowerState(
            self.held.schema,
            position or self.position(),
            site=self.registry.site,
            is_filtered=bool(self.wanted),
            former_epochs=self._source().former_epochs,
        )

    def must_copy(self, position: LogState) -> bool:
        """Whether the rows here have passed another filter; notes which one they are to pass."""
        source = self._source()
        if source.filter == source.wanted == self.wanted:
            return False
        has_rows = bool(position.epoch)
        with self.registry.database.write(self.held.physical) as connection:
            set_filter(connection, self.held.physical, self.wanted, is_copied=not has_rows)
        return has_rows

    def apply(self, step: Apply, changes: Sequence[Change] | None) -> bool:
        """`Applier.apply`, having noted the epoch that is left by them."""
        left = step.previous.epoch
        if left and step.target.epoch != left:
            with self.registry.database.write(self.held.physical) as connection:
                add_former_epoch(connection, self.held.physical, left)
        return self._applier.apply(step, changes, keeps_log=self._keeps_log)

    @property
    def _is_writable(self) -> bool:
        """A registry of an older format is read only until it is migrated."""
        return self.registry.format_version == FORMAT_VERSION

    def _source(self) -> ReplicaSource:
        if not self._is_writable:
            return ReplicaSource()
        with self.registry.database.read((self.held.physical,)) as connection:
            return replica_source(connection, self.held.physical)
