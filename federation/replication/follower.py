"""Keeps one replica equal to its source: connects, applies, resumes after anything, copies anew where it must."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy as sa
import tenacity

from federation.errors import FederationError, UnavailableError
from federation.model.log_filter import LogFilter
from federation.replication.acknowledging import Acknowledging
from federation.replication.copies import copy_replica
from federation.replication.follower_status import EntrySize, FollowerPhase, FollowerStatus, HeadAge
from federation.replication.read_ahead import ReadAhead
from federation.replication.relays import SourceChoice, Upstream
from federation.replication.replica_record import ReplicaRecord
from federation.replication.state import Apply, Bootstrap, Stop
from federation.wire.messages import FollowFrom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from federation.changelog import LogState
    from federation.model.change import Change
    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.wire.client import SiteClient
    from federation.wire.messages import FollowBatch

__all__ = ["Follower", "FollowerStatus"]

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
#: heartbeats that did not come; the first may take longer, as the source numbers what waits before it
SILENCE_MAX_S = 4.0
FIRST_WORD_MAX_S = 15.0
#: a source that served for less is not one to stay with
SERVED_S = 1.0
#: how long after another process applied to the replica this one still says so
RIVAL_SHOWN_S = 30.0

_DATABASE_ERRORS = (sa.exc.SQLAlchemyError, psycopg.Error, sqlite3.Error)


class Follower:
    """Follows ``schema`` through ``client`` into ``registry``; ``name`` is what the source sees.

    While the owner does not answer, entries come through ``relays``, in that order of preference. With ``keeps_log``
    they are kept as they came, for others to follow from here. Only what ``filter`` admits is asked for. Far behind,
    it ``takes_copies`` where they are faster; else it copies only where the log does not reach.
    Either `start` it as a thread and `stop` it, or `run_once`. ``on_applied`` is called after each transaction.
    """

    def __init__(
        self,
        registry: Registry,
        client: SiteClient,
        schema: SchemaId,
        name: str,
        *,
        relays: Sequence[SiteClient] = (),
        keeps_log: bool = False,
        filter: LogFilter | None = None,  # noqa: A002 - the word of the site file
        takes_copies: bool = True,
        on_applied: Callable[[], None] = lambda: None,
    ) -> None:
        self.schema, self._name = schema, name
        self._clients = (client, *relays)
        self._sources = SourceChoice([one.site for one in self._clients])
        self._keeps_log, self._filter = keeps_log, filter or LogFilter()
        self._takes_copies = takes_copies
        #: not again before it has caught up: a source that is written to all the time would be copied for ever
        self._may_copy = takes_copies
        self._on_applied = on_applied
        self._replica = ReplicaRecord(registry, schema, self._filter, keeps_log=keeps_log)
        self._state = self._replica.state()
        self._phase, self._error = FollowerPhase(), ""
        self._fresh_at: float | None = None
        self._head_at: float | None = None
        self._head_age = HeadAge()
        self._rival_at: float | None = None
        self._entry_size = EntrySize()
        self._failures = 0
        self._refusals: dict[str, str] = {}  # what each source said that did not serve, since one last did
        self._offered: SiteClient | None = None  # the first of them that said that only a copy helps
        self._is_next_at_once = False
        self._is_returning = False
        self._is_whole = False  # not known before the filter that rows have passed is looked at
        self._stopping = threading.Event()
        self._once, self._is_once_done = False, False
        self._is_reading = False  # what is raised meanwhile comes from the source
        self._is_working_here = False  # what is raised meanwhile is this site's
        self._lock = threading.Lock()
        self._stream: ReadAhead | None = None
        self._connected_at = self._quiet_since = time.monotonic()
        self._has_heard = self._is_silent = False
        self._thread = threading.Thread(target=self._run, name=f"follow-{schema}", daemon=True)
        self._backoff = tenacity.wait_random_exponential(multiplier=BACKOFF_MIN_S, max=BACKOFF_MAX_S)
        self._acknowledging = Acknowledging(registry, self._replica.held, name)

    def start(self) -> None:
        """Follow in a thread until `stop`."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let it end; `stop` waits for that."""
        self._stopping.set()
        self._cancel()

    def stop(self) -> None:
        """End within a moment; a transaction that is being applied is finished first."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join()
        self._acknowledging.close()

    def run_once(self, timeout_s: float = 60.0) -> FollowerStatus:
        """Follow in this thread until all that the source had is applied.

        Raises what ended it otherwise; `UnavailableError` when the source does not answer within ``timeout_s``.
        """
        self._once = True
        deadline = time.monotonic() + timeout_s
        while True:
            self._phase.enter("connecting")
            try:
                self._connect()
            except FederationError as error:
                self._on_error(error)
                if self._phase.name == "refused" or time.monotonic() > deadline:
                    raise
                self._stopping.wait(self._pause_s())
                continue
            if self._is_once_done:
                self._acknowledging.send(self._client, self._state.position)
                return self.status()
            if self._stopping.is_set() or time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.schema} did not catch up in {timeout_s:g} s", hint="try again, or allow more time"
                )

    def status(self) -> FollowerStatus:
        """How it stands now."""
        state, fresh_at, now = self._state, self._fresh_at, time.monotonic()
        lag = max(0, state.head_lsn - state.position.lsn)
        return FollowerStatus(
            self._phase.name,
            state.position.epoch,
            state.position.lsn,
            state.head_lsn,
            None if fresh_at is None else max(0.0, now - fresh_at),
            self._error or self._rival(),
            state.path,
            self._filter,
            self._entry_size.of(lag),
            self._phase.since_s,
            self._entry_size.entries,
            self._entry_size.rows,
            self._entry_size.size_bytes,
        )

    def upstream(self) -> Upstream | None:
        """What those need to know who follow the replica from here; None where its log is not kept."""
        if not self._keeps_log or not self._is_whole:
            return None
        state, head_at = self._state, self._head_at
        age_s = None if head_at is None else max(0.0, time.monotonic() - head_at)
        return Upstream((*(state.path or (self.schema.site,)), self._name), state.head_lsn, age_s)

    def check(self) -> None:
        """Break a connection on which nothing has been heard for longer than heartbeats take."""
        limit_s = SILENCE_MAX_S if self._has_heard else FIRST_WORD_MAX_S
        if self._is_reading and time.monotonic() - self._quiet_since > limit_s:
            self._is_silent = True
            self._cancel()

    def owner_answers(self) -> None:
        """The owner answers calls again: leave the relay that serves meanwhile."""
        if self._sources.prefers_owner(time.monotonic()):
            self._is_returning = True
            self._cancel()

    @property
    def _client(self) -> SiteClient:
        return self._clients[self._sources.current]

    def _rival(self) -> str:
        """What to say of another process that keeps the replica too; empty where there is none."""
        if self._rival_at is None or time.monotonic() - self._rival_at > RIVAL_SHOWN_S:
            return ""
        return f"another process applies {self.schema} to this replica too (end one of the two)"

    def _cancel(self) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.cancel()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._phase.enter("connecting")
            try:
                self._connect()
            except FederationError as error:
                self._on_error(error)
                if self._phase.name == "refused":
                    return
            if not self._stopping.is_set():
                self._stopping.wait(self._pause_s())
        if self._phase.name == "following" and time.monotonic() - self._quiet_since < SILENCE_MAX_S:
            self._acknowledging.send(self._client, self._state.position)
        self._phase.enter("stopped")

    def _pause_s(self) -> float:
        if not self._failures or self._is_next_at_once:
            return 0.0
        retry = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        retry.attempt_number = self._failures
        return max(BACKOFF_MIN_S / 2, float(self._backoff(retry)))

    def _connect(self) -> None:
        try:
            self._session()
        except _DATABASE_ERRORS as error:  # a follower must not end in silence
            text = str(error).splitlines()[0]
            raise UnavailableError(
                f"{self.schema} can't be applied: {text}", hint="see the site's log"
            ) from error

    def _session(self) -> None:
        """One connection: from the position in the database until the stream ends or something goes wrong."""
        self._is_next_at_once = False
        with self._working_here():
            position = self._replica.position()
            self._state.moved_to(position)
            must_copy = self._replica.must_copy(position)
        if must_copy:
            self._copy()
        self._is_whole = not self._filter
        start = self._state.position
        stream = ReadAhead(
            self._client.follow(
                FollowFrom(
                    self.schema,
                    start.epoch,
                    start.lsn,
                    start.chain,
                    self._name,
                    self._replica.registry.universe.fingerprint,
                    self._filter,
                    self._may_copy,
                )
            )
        )
        with self._lock:
            self._stream = stream
        self._connected_at, self._has_heard, self._is_silent = time.monotonic(), False, False
        self._head_age = HeadAge()
        try:
            with stream:
                if self._stopping.is_set():
                    return
                while (batch := self._next(stream)) is not None:
                    if not self._take(batch, stream) or self._stopping.is_set():
                        return
            if self._is_returning:
                self._sources.return_to_owner()
                return
            what = f"nothing is heard of {self._client.site}" if self._is_silent else "it ended"
            raise UnavailableError(f"the stream of {self.schema}: {what}", hint="it is taken up again")
        finally:
            self._is_returning = False
            with self._lock:
                self._stream = None

    def _next(self, stream: ReadAhead) -> FollowBatch | None:
        self._quiet_since = time.monotonic()
        self._is_reading = True
        batch = next(stream, None)
        self._is_reading = False
        return batch

    @contextmanager
    def _working_here(self) -> Iterator[None]:
        self._is_working_here = True
        yield
        self._is_working_here = False

    def _take(self, batch: FollowBatch, stream: ReadAhead) -> bool:
        """Apply a batch; False when this session is over."""
        self._has_heard = True
        step = self._state.on_batch(batch)
        self._phase.enter("following")
        if isinstance(step, Apply):
            if not self._apply(step, stream.changes_of(step.entries)):
                # another process was faster: go on, after a while, from where it left the replica
                self._rival_at, self._failures = time.monotonic(), self._failures + 1
                return False
            self._on_applied()
        self._error, self._failures = "", 0
        self._refusals.clear()
        self._offered = None
        if stream.received_s - self._connected_at > SERVED_S:
            self._sources.heard()
        self._acknowledging.offer(self._client, self._state.position)
        head_age_s = self._head_age.of(batch, stream.received_s)
        if head_age_s is not None:
            self._head_at = stream.received_s - head_age_s
        if self._state.is_caught_up:
            self._may_copy = self._takes_copies
            if head_age_s is not None and self._head_at is not None:
                self._fresh_at = max(self._head_at, self._fresh_at or float("-inf"))
            self._is_once_done = self._once
            return not self._once
        return True

    def _apply(self, step: Apply, changes: list[Change] | None) -> bool:
        with self._working_here():
            if not self._replica.apply(step, changes):
                return False
        self._entry_size.add(step.entries)
        if step.previous.epoch in ("", step.target.epoch):
            self._state.moved_to(step.target)
        else:
            self._renew(step.target)
        return True

    def _renew(self, position: LogState) -> None:
        """Go on from a position of another history, and know what was left for it."""
        head_lsn, path = self._state.head_lsn, self._state.path
        self._state = self._replica.state(position)
        self._state.head_lsn, self._state.path = max(head_lsn, position.lsn), path

    def _on_error(self, error: FederationError) -> None:
        self._failures += 1
        self._error = str(error)
        decision = self._state.on_error(error, by_source=self._is_reading)
        is_here, self._is_reading, self._is_working_here = self._is_working_here, False, False
        client, is_owner = self._client, self._sources.is_direct
        if not is_here and not (is_owner and isinstance(decision, (Stop, Bootstrap))):
            # what one source can't do another may; what the owner says is so
            if isinstance(decision, Bootstrap) and self._offered is None:
                self._offered = client
            self._is_next_at_once = not self._sources.failed(time.monotonic())
            self._refusals[client.site] = error.message
            if len(self._refusals) > 1:
                self._error = "; ".join(self._refusals.values())
            if self._is_next_at_once or self._offered is None:
                self._phase.enter("waiting")
                return
            # the owner does not answer, and a relay says that nothing but a copy helps
            decision, client, self._offered = Bootstrap(self._error), self._offered, None
        if isinstance(decision, Stop):
            self._phase.enter("refused")
        elif isinstance(decision, Bootstrap) and not self._stopping.is_set():
            try:
                self._copy(client)
            except (FederationError, *_DATABASE_ERRORS) as failed:
                self._error = str(failed).splitlines()[0]
                self._phase.enter("waiting")
        else:
            self._phase.enter("waiting")

    def _copy(self, client: SiteClient | None = None) -> None:
        """Replace all rows by those that a source has now."""
        self._phase.enter("copying")
        self._fresh_at, self._may_copy = None, False
        report = copy_replica(
            self._replica.registry,
            self._replica.held,
            client or self._client,
            self._name,
            self._filter,
            check_epoch=self._state.check_epoch,  # a relay that is behind has a history that was left
            stopping=self._stopping,
        )
        self._state = self._replica.state(report.state)
        self._error, self._failures = "", 0
        self._on_applied()
