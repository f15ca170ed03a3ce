"""What a site's server notices of itself: its calls, its database, its replicas; logged, counted, told as health."""

from __future__ import annotations

import concurrent.futures
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Protocol

import prometheus_client
import psycopg

from federation.errors import FederationError, UnavailableError
from federation.logs import fields
from federation.services.metrics import CallFigures, MetricsServer, SiteFigures
from federation.storage import META_SCHEMA, SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.config import MetricsConfig
    from federation.model.position import SchemaId
    from federation.replication.follower_status import FollowerStatus
    from federation.services.metrics import SiteSource
    from federation.storage import Database
    from federation.wire.interceptors import Call

__all__ = ["LOOK_S", "ReplicaStates", "Telemetry", "Watched"]

#: how often database and replicas are looked at, and how long the database may take to answer
LOOK_S = 1.0
ANSWER_MAX_S = 5.0
#: errors that are the caller's; the site has nothing to mend
_CALLERS = frozenset({"user", "usage", "config", "not_found", "query", "conflict", "forbidden", "cancelled"})

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """A server, as far as its health goes."""

    def set_serving(self, is_serving: bool) -> None: ...


class Telemetry:
    """Observes one site's server from `start` to `stop`; also told of every call."""

    def __init__(self, database: Database, followed: Callable[[], Mapping[SchemaId, FollowerStatus]]) -> None:
        self._database, self._followed = database, followed
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.calls = CallFigures(self.registry)
        self._probe = _Probe(database)
        self._is_up = True
        self._replicas = ReplicaStates()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._metrics: MetricsServer | None = None

    def start(self, server: Watched, source: SiteSource, config: MetricsConfig) -> None:
        """Look after everything from now on, and serve the figures where ``config`` says."""
        self.registry.register(SiteFigures(source, self.calls))
        _log.info("server_started", extra=fields(site=source.site, database=self._database.describe()))
        if config.listen is not None:
            self._metrics = MetricsServer(self.registry, config.listen)
            _log.info("metrics_served", extra=fields(address=self._metrics.address))
        self._thread = threading.Thread(target=self._run, args=(server,), name="telemetry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a second call does nothing."""
        if not self._stopping.is_set():
            _log.info("server_stopped")
        self._stopping.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        if self._metrics is not None:
            self._metrics.stop()
            self._metrics = None
        self._probe.close()

    @property
    def metrics_address(self) -> str:
        """Where the figures are served; ``""``: nowhere."""
        return "" if self._metrics is None else self._metrics.address

    @property
    def is_database_up(self) -> bool:
        """Whether the registry's database answered when it was last asked."""
        return self._is_up

    # -- calls ------------------------------------------------------------------------------------------------

    def began(self, call: Call) -> None:
        """A call has come."""
        self.calls.began(call)
        if call.is_stream:
            _log.debug("call_began", extra=fields(method=call.method, peer=call.peer))

    def ended(self, call: Call) -> None:
        """A call is over."""
        self.calls.ended(call)
        told = {
            "method": call.method,
            "code": call.code,
            "seconds": round(call.seconds, 6),
            "peer": call.peer,
            "received_bytes": call.request_bytes,
            "sent_bytes": call.response_bytes,
        }
        if call.message:
            told["message"] = call.message
        if call.code in ("ok", "cancelled"):
            level = logging.DEBUG
        elif call.code in _CALLERS:
            level = logging.INFO
        else:
            level = logging.ERROR if call.failure is not None else logging.WARNING
        _log.log(level, "call_ended", exc_info=call.failure, extra=fields(**told))

    # -- the database ------------------------------------------------------------------------------------------

    def _run(self, server: Watched) -> None:
        while True:
            self._look_at_database(server)
            self._replicas.look(self._followed())
            if self._stopping.wait(LOOK_S):
                return

    def _look_at_database(self, server: Watched) -> None:
        problem = self._probe.ask(ANSWER_MAX_S)
        is_up = not problem
        if is_up != self._is_up:
            self._is_up = is_up
            server.set_serving(is_up)
            if is_up:
                _log.info("database_answers", extra=fields(database=self._database.describe()))
            else:
                _log.error("database_lost", extra=fields(database=self._database.describe(), message=problem))


class ReplicaStates:
    """Logs each change of what a replica does."""

    def __init__(self) -> None:
        self._states: dict[SchemaId, tuple[str, str]] = {}

    def look(self, followed: Mapping[SchemaId, FollowerStatus]) -> None:
        """Tell what has changed since the last time."""
        for schema, status in followed.items():
            now = (status.state, status.error)
            before = self._states.get(schema, ("", ""))
            if now == before:
                continue
            self._states[schema] = now
            if status.state == "connecting" and before[0] == "waiting":
                continue  # the next attempt of the same trouble
            told = {
                "schema": str(schema),
                "state": status.state,
                "lsn": status.lsn,
                "head_lsn": status.head_lsn,
                "path": list(status.path),
            }
            if status.error:
                told["message"] = status.error
            is_trouble = status.state in ("waiting", "refused")
            _log.log(logging.WARNING if is_trouble else logging.INFO, "replica_state", extra=fields(**told))


class _Probe:
    """Asks the database something in a thread of its own, which may hang without harm."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="probe-database")
        self._asked: concurrent.futures.Future[str] | None = None

    def ask(self, timeout_s: float) -> str:
        """What is wrong with it, ``""`` when it answers within ``timeout_s``."""
        if self._asked is None:
            self._asked = self._pool.submit(self._answer)
        try:
            told = self._asked.result(timeout_s)
        except TimeoutError:  # the same question is waited for the next time
            return f"no answer in {timeout_s:g} s"
        self._asked = None
        return told

    def _answer(self) -> str:
        database = self._database
        try:
            if isinstance(database, SqliteDatabase) and not database.path(META_SCHEMA).is_file():
                raise UnavailableError(f"{database.describe()} is gone")
            with database.statements((META_SCHEMA,)) as raw:
                raw.execute(f"SELECT count(*) FROM {META_SCHEMA}.registry_info").fetchall()
        except FederationError as error:
            return error.message
        except (OSError, sqlite3.Error, psycopg.Error) as error:
            return (str(error).strip() or type(error).__name__).splitlines()[0]
        return ""

    def close(self) -> None:
        """Ask no more; a question that hangs is left to itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
