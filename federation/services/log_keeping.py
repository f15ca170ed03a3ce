"""Keeps the change logs of a site as long as its site file says, and what is known of their followers."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa

from federation.changelog.epochs import epochs
from federation.changelog.followers import followers
from federation.changelog.log import log_state
from federation.changelog.retention import count_entries, held_for, plan_trim, trim
from federation.errors import FederationError, LimitError
from federation.registry.schemas import FORMAT_VERSION
from federation.replication.snapshots import stamp_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.config import LogConfig
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.replication.acknowledged import Acknowledged
    from federation.replication.shown import ShownPositions

__all__ = ["LogKeeper"]

_T = TypeVar("_T")

#: how often marks become durable
TICK_S = 1.0
#: acknowledgements are recorded, and logs looked at, once in so many ticks
RECORD_TICKS, TRIM_TICKS = 5, 30
#: between two transactions that trim, so that writers who wait come next
PAUSE_S = 0.02


class LogKeeper:
    """Trims the logs in ``registry`` in a thread, from `start` to `stop`; or once, by `keep`.

    ``problems`` says by schema what went wrong the last time; it is tried again.
    """

    def __init__(
        self, registry: Registry, keep: LogConfig, acknowledged: Acknowledged, shown: ShownPositions
    ) -> None:
        self._registry, self._keep = registry, keep
        self._acknowledged, self._shown = acknowledged, shown
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-keeper", daemon=True)
        self.problems: dict[str, str] = {}

    def problem(self, schema: SchemaId) -> str:
        """What is wrong with the log of a schema, empty where nothing is."""
        return self.problems.get(str(schema), "")

    def start(self) -> None:
        """Work in a thread from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the transaction that is under way, record what is known, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._attempt("followers", self._acknowledged.record)
        self._attempt("marks", self._shown.close)

    def keep(self) -> int:
        """Record acknowledgements and trim every log as far as it may be; returns how many entries went."""
        self._attempt("followers", self._acknowledged.record)
        if self._registry.format_version != FORMAT_VERSION:  # read only
            return 0
        return sum(
            self._attempt(str(held.schema), partial(self._trim, held)) or 0 for held in self._registry.held()
        )

    def _run(self) -> None:
        tick = 0
        while not self._stopping.wait(TICK_S):
            self._attempt("marks", self._shown.sync)
            if tick % TRIM_TICKS == 0:
                self._attempt("logs", self.keep)
            elif tick % RECORD_TICKS == 0:
                self._attempt("followers", self._acknowledged.record)
            tick += 1

    def _attempt(self, what: str, action: Callable[[], _T]) -> _T | None:
        """What an action returns; None when it fails, which must not end the thread."""
        try:
            found = action()
        except FederationError as error:
            self.problems[what] = str(error)
        except sa.exc.SQLAlchemyError as error:
            self.problems[what] = str(error).splitlines()[0]
        else:
            self.problems.pop(what, None)
            return found
        return None

    def _trim(self, held: HeldSchema) -> int:
        """One schema: bounded transactions until nothing more may go."""
        full = None
        try:
            self._bring_up(held)
        except LimitError as error:  # trimming what is known may make room
            full = error
        gone = 0
        while here := self._trim_to(held, self._may_go(held)):
            gone += here
        if full is not None:
            raise full
        return gone

    def _bring_up(self, held: HeldSchema) -> None:
        """Number and count what is new."""
        registry = self._registry
        stamp_all(registry, held)
        with registry.database.read((held.physical,)) as connection:
            state = log_state(connection, held.physical)
        if held.owned:  # also what nobody has asked for: the mark must not fall below what is kept
            self._shown.show(held, state)
        count_entries(registry.database, held.physical)

    def _trim_to(self, held: HeldSchema, lsn: int) -> int:
        gone = 0
        while not self._stopping.wait(PAUSE_S if gone else 0.0):
            here = trim(self._registry.database, held.physical, lsn)
            if not here:
                break
            gone += here
        return gone

    def _may_go(self, held: HeldSchema) -> int:
        now = self._registry.clock()
        with self._registry.database.read((held.physical,)) as connection:
            registered, history = followers(connection, held.physical), epochs(connection, held.physical)
            needed = held_for(registered, history, self._keep.follower_timeout_s, now)
            return plan_trim(connection, held.physical, self._keep, needed, now).lsn
