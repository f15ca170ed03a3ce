"""Keeps one replica equal to its source: connects, applies, resumes after anything, copies anew where it must."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa
import tenacity

from federation.changelog import LogState, log_state
from federation.errors import FederationError, UnavailableError
from federation.replication.apply import apply_bootstrap, apply_entries
from federation.replication.state import Apply, Bootstrap, FollowerState, Stop
from federation.wire.messages import BootstrapFrom, FollowFrom

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.model.position import SchemaId
    from federation.registry.registry import Registry
    from federation.wire.client import SiteClient
    from federation.wire.messages import FollowBatch
    from federation.wire.streams import ResponseStream

__all__ = ["Follower", "FollowerStatus"]

BACKOFF_MIN_S = 0.2
BACKOFF_MAX_S = 5.0
#: three heartbeats that did not come
SILENCE_MAX_S = 5.0


@attrs.frozen
class FollowerStatus:
    """How a replica stands. ``state`` is connecting, copying, following, waiting, refused or stopped.

    ``staleness_s`` is the time since the replica was last known to equal its source, None when it never was since
    this process began; ``error`` the last one in words, empty once it is overcome.
    """

    state: str
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float | None
    error: str = ""


class Follower:
    """Follows ``schema`` through ``client`` into ``registry``; ``name`` is what the source sees.

    Either `start` it as a thread and `stop` it, or `run_once`. ``on_applied`` is called after each transaction.
    """

    def __init__(
        self,
        registry: Registry,
        client: SiteClient,
        schema: SchemaId,
        name: str,
        *,
        on_applied: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry, self._client, self.schema, self._name = registry, client, schema, name
        self._on_applied = on_applied
        self._held = registry.ensure_replica(schema)
        self._state = FollowerState(schema, self._position())
        self._phase, self._error = "connecting", ""
        self._fresh_at: float | None = None
        self._failures = 0
        self._stopping = threading.Event()
        self._once = False
        self._is_reading = False  # what is raised meanwhile comes from the source
        self._lock = threading.Lock()
        self._stream: ResponseStream[FollowBatch] | None = None
        self._heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"follow-{schema}", daemon=True)
        self._backoff = tenacity.wait_random_exponential(multiplier=BACKOFF_MIN_S, max=BACKOFF_MAX_S)

    def start(self) -> None:
        """Follow in a thread until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End within a moment; a transaction that is being applied is finished first."""
        self._stopping.set()
        self._cancel()
        if self._thread.is_alive():
            self._thread.join()

    def run_once(self, timeout_s: float = 60.0) -> FollowerStatus:
        """Follow in this thread until all that the source had is applied.

        Raises what ended it otherwise; `UnavailableError` when the source does not answer within ``timeout_s``.
        """
        self._once = True
        deadline = time.monotonic() + timeout_s
        while True:
            self._phase = "connecting"
            try:
                self._connect()
            except FederationError as error:
                self._on_error(error)
                if self._phase == "refused" or time.monotonic() > deadline:
                    raise
                self._stopping.wait(self._pause_s())
                continue
            if self._fresh_at is not None:
                return self.status()
            if self._stopping.is_set() or time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.schema} did not catch up in {timeout_s:g} s", hint="try again, or allow more time"
                )

    def status(self) -> FollowerStatus:
        """How it stands now."""
        position, fresh_at = self._state.position, self._fresh_at
        return FollowerStatus(
            self._phase,
            position.epoch,
            position.lsn,
            self._state.head_lsn,
            None if fresh_at is None else max(0.0, time.monotonic() - fresh_at),
            self._error,
        )

    def check(self) -> None:
        """Break a connection on which nothing has been heard for longer than heartbeats take."""
        if self._phase == "following" and time.monotonic() - self._heard_at > SILENCE_MAX_S:
            self._cancel()

    def _position(self) -> LogState:
        with self._registry.database.read((self._held.physical,)) as connection:
            return log_state(connection, self._held.physical)

    def _cancel(self) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.cancel()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._phase = "connecting"
            try:
                self._connect()
            except FederationError as error:
                self._on_error(error)
                if self._phase == "refused":
                    return
            if not self._stopping.is_set():
                self._stopping.wait(self._pause_s())
        self._phase = "stopped"

    def _pause_s(self) -> float:
        if not self._failures:
            return 0.0
        retry = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        retry.attempt_number = self._failures
        return max(BACKOFF_MIN_S / 2, float(self._backoff(retry)))

    def _connect(self) -> None:
        try:
            self._session()
        except sa.exc.SQLAlchemyError as error:  # a follower must not end in silence
            text = str(error).splitlines()[0]
            raise UnavailableError(
                f"{self.schema} can't be applied: {text}", hint="see the site's log"
            ) from error

    def _session(self) -> None:
        """One connection: from the position in the database until the stream ends or something goes wrong."""
        self._state.moved_to(self._position())
        start = self._state.position
        stream = self._client.follow(
            FollowFrom(
                self.schema,
                start.epoch,
                start.lsn,
                start.chain,
                self._name,
                self._registry.universe.fingerprint,
            )
        )
        with self._lock:
            self._stream = stream
        self._heard_at = time.monotonic()
        try:
            with stream:
                if self._stopping.is_set():
                    return
                while (batch := self._next(stream)) is not None:
                    if not self._take(batch) or self._stopping.is_set():
                        return
            raise UnavailableError(f"the stream of {self.schema} ended", hint="it is taken up again")
        finally:
            with self._lock:
                self._stream = None

    def _next(self, stream: ResponseStream[FollowBatch]) -> FollowBatch | None:
        self._is_reading = True
        batch = next(stream, None)
        self._is_reading = False
        return batch

    def _take(self, batch: FollowBatch) -> bool:
        """Apply a batch; False when this session is over."""
        received_at = self._heard_at = time.monotonic()
        step = self._state.on_batch(batch)
        self._phase = "following"
        if isinstance(step, Apply):
            if not apply_entries(self._registry, self._held, step):
                return False  # another follower was faster: go on from where it left the replica
            self._state.moved_to(step.target)
            self._on_applied()
        self._error, self._failures = "", 0
        if self._state.is_caught_up:
            self._fresh_at = received_at
            return not self._once
        return True

    def _on_error(self, error: FederationError) -> None:
        self._failures += 1
        self._error = str(error)
        decision = self._state.on_error(error, by_source=self._is_reading)
        self._is_reading = False
        if isinstance(decision, Stop):
            self._phase = "refused"
        elif isinstance(decision, Bootstrap) and not self._stopping.is_set():
            self._phase = "copying"
            try:
                self._copy()
            except (FederationError, sa.exc.SQLAlchemyError) as failed:
                self._error, self._phase = str(failed).splitlines()[0], "waiting"
        else:
            self._phase = "waiting"

    def _copy(self) -> None:
        self._fresh_at = None
        start = BootstrapFrom(self.schema, self._name, self._registry.universe.fingerprint)
        with self._client.bootstrap(start) as parts:
            state = apply_bootstrap(self._registry, self._held, parts)
        self._state = FollowerState(self.schema, state)
        self._error, self._failures = "", 0
        self._on_applied()
