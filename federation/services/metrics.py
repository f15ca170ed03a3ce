"""The figures of a site for a monitoring system, in the text format of Prometheus over HTTP."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Protocol

import prometheus_client
import psycopg
import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from federation.errors import FederationError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from federation.config import Address
    from federation.model.position import SchemaId
    from federation.replication.follower_status import FollowerStatus
    from federation.replication.standing import LogStanding
    from federation.wire.interceptors import Call

__all__ = ["FIGURES", "CallFigures", "MetricsServer", "SiteFigures", "SiteSource"]

_STATES = ("connecting", "copying", "following", "waiting", "refused", "stopped")
#: seconds; calls of one page are milliseconds, fragments over a wide area many seconds
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

#: (kind, labels, meaning) of each figure that is read when it is asked for
FIGURES: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "federation_site_info": (
        "gauge",
        ("site", "version", "registry"),
        "Always 1; its labels say which site this is.",
    ),
    "federation_database_up": ("gauge", (), "1 while the registry's database answers, else 0."),
    "federation_schema_lsn": (
        "gauge",
        ("schema", "role"),
        "Last LSN that is numbered (role owner) or applied (role replica) here.",
    ),
    "federation_log_first_lsn": (
        "gauge",
        ("schema",),
        "First LSN that an owned log still keeps: its retention floor.",
    ),
    "federation_log_bytes": ("gauge", ("schema",), "About how much an owned log takes, as last counted."),
    "federation_log_unnumbered_entries": (
        "gauge",
        ("schema",),
        "Entries of an owned log that are committed and wait for the sequencer.",
    ),
    "federation_follower_lag_entries": (
        "gauge",
        ("schema", "follower"),
        "Entries that a registered follower of an owned log has not acknowledged.",
    ),
    "federation_follower_heard_seconds": (
        "gauge",
        ("schema", "follower"),
        "Time since a registered follower last acknowledged.",
    ),
    "federation_replica_head_lsn": ("gauge", ("schema",), "End of the owner's log, as last heard."),
    "federation_replica_lag_entries": (
        "gauge",
        ("schema",),
        "Entries of the owner's log that are not applied here.",
    ),
    "federation_replica_lag_bytes": ("gauge", ("schema",), "About how much these entries are on the way."),
    "federation_replica_lag_seconds": (
        "gauge",
        ("schema",),
        "Time since the replica was last known to equal its owner's schema; +Inf when it never was.",
    ),
    "federation_replica_state": (
        "gauge",
        ("schema", "state"),
        "1 for the state that the replica is in, else 0.",
    ),
    "federation_replica_state_seconds": ("gauge", ("schema",), "For how long it has been in that state."),
    "federation_replica_applied_entries_total": (
        "counter",
        ("schema",),
        "Entries of the owner's log that were applied since the server began.",
    ),
    "federation_replica_applied_rows_total": ("counter", ("schema",), "Rows of these entries."),
    "federation_replica_applied_bytes_total": (
        "counter",
        ("schema",),
        "Bytes of these entries, as they came.",
    ),
    "federation_files_waiting": (
        "gauge",
        ("schema",),
        "Files of a replica that a policy wants here and that are not here yet.",
    ),
    "federation_calls_in_progress": (
        "gauge",
        ("method",),
        "Calls that are being answered, streams among them.",
    ),
    "federation_call_received_bytes_total": ("counter", ("method",), "Bytes of messages that callers sent."),
    "federation_call_sent_bytes_total": (
        "counter",
        ("method",),
        "Bytes of messages that were sent to callers.",
    ),
    "federation_call_sent_messages_total": ("counter", ("method",), "Messages that were sent to callers."),
}


class SiteSource(Protocol):
    """What the figures are read from."""

    @property
    def site(self) -> str: ...
    @property
    def registry_kind(self) -> str: ...
    def is_database_up(self) -> bool: ...
    def log_standings(self) -> Mapping[SchemaId, LogStanding]: ...
    def replica_lsns(self) -> Mapping[SchemaId, int]: ...
    def replicas(self) -> Mapping[SchemaId, FollowerStatus]: ...
    def files_waiting(self) -> Mapping[SchemaId, int]: ...


class CallFigures:
    """Counts calls: an observer of a server's calls; thread-safe."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self._calls = prometheus_client.Counter(
            "federation_calls",
            "Calls that were answered, by how they ended.",
            ("method", "code"),
            registry=registry,
        )
        self._seconds = prometheus_client.Histogram(
            "federation_call_duration_seconds",
            "How long calls took; of streams that are read to an end only.",
            ("method",),
            registry=registry,
            buckets=_BUCKETS,
        )
        self._errors = prometheus_client.Counter(
            "federation_errors", "Calls that ended with an error, by its code.", ("code",), registry=registry
        )
        self._lock = threading.Lock()
        self._active: set[Call] = set()
        self._received, self._sent, self._messages = Counter[str](), Counter[str](), Counter[str]()

    def began(self, call: Call) -> None:
        """A call has come."""
        with self._lock:
            self._active.add(call)

    def ended(self, call: Call) -> None:
        """A call is over."""
        with self._lock:
            self._active.discard(call)
            self._add(call, self._received, self._sent, self._messages)
        self._calls.labels(call.method, call.code).inc()
        if call.code == "ok":
            self._seconds.labels(call.method).observe(call.seconds)
        elif call.code != "cancelled":
            self._errors.labels(call.code).inc()

    def figures(self) -> Iterable[Metric]:
        """What goes on now, and the bytes up to now of calls that have not ended."""
        with self._lock:
            active = list(self._active)
            totals = [self._received.copy(), self._sent.copy(), self._messages.copy()]
        for call in active:
            self._add(call, *totals)
        running = Counter(call.method for call in active)
        yield _family("federation_calls_in_progress", {(m,): n for m, n in running.items()})
        names = ("received_bytes", "sent_bytes", "sent_messages")
        for name, total in zip(names, totals, strict=True):
            yield _family(f"federation_call_{name}_total", {(m,): n for m, n in total.items()})

    @staticmethod
    def _add(call: Call, received: Counter[str], sent: Counter[str], messages: Counter[str]) -> None:
        received[call.method] += call.request_bytes
        sent[call.method] += call.response_bytes
        messages[call.method] += call.response_count


class SiteFigures(Collector):
    """Reads all figures of a site when they are asked for; without its database, those that need none."""

    def __init__(self, source: SiteSource, calls: CallFigures) -> None:
        self._source, self._calls = source, calls

    def describe(self) -> Iterable[Metric]:
        """The names alone, so that registering reads nothing."""
        return [_family(name, {}) for name in FIGURES]

    def collect(self) -> Iterable[Metric]:
        """Every figure of `FIGURES`."""
        yield from self._of_site()
        yield from self._of_replicas()
        yield from self._calls.figures()

    def _of_site(self) -> Iterable[Metric]:
        source = self._source
        info = (source.site, metadata.version("federation"), source.registry_kind)
        yield _family("federation_site_info", {info: 1})
        is_up = source.is_database_up()
        lsns: dict[tuple[str, ...], float] = {}
        logs: Mapping[SchemaId, LogStanding] = {}
        try:
            if is_up:
                logs = source.log_standings()
                lsns |= {(str(schema), "owner"): log.lsn for schema, log in logs.items()}
                lsns |= {(str(schema), "replica"): lsn for schema, lsn in source.replica_lsns().items()}
        except (
            FederationError,
            sa.exc.SQLAlchemyError,
            sqlite3.Error,
            psycopg.Error,
        ):  # it went away meanwhile
            is_up = False
        yield _family("federation_database_up", {(): int(is_up)})
        yield _family("federation_schema_lsn", lsns)
        yield _family("federation_log_first_lsn", {(str(s),): log.first_lsn for s, log in logs.items()})
        yield _family("federation_log_bytes", {(str(s),): log.size_bytes for s, log in logs.items()})
        waiting = {(str(s),): log.unnumbered_count for s, log in logs.items()}
        yield _family("federation_log_unnumbered_entries", waiting)
        followers = [(str(s), one) for s, log in logs.items() for one in log.followers]
        yield _family("federation_follower_lag_entries", {(s, f.name): f.lag_entries for s, f in followers})
        yield _family("federation_follower_heard_seconds", {(s, f.name): f.heard_s for s, f in followers})

    def _of_replicas(self) -> Iterable[Metric]:
        found = {(str(schema),): status for schema, status in self._source.replicas().items()}
        yield _family("federation_replica_head_lsn", {s: max(r.head_lsn, r.lsn) for s, r in found.items()})
        yield _family("federation_replica_lag_entries", {s: r.lag_entries for s, r in found.items()})
        sizes = {s: r.lag_bytes for s, r in found.items() if r.lag_bytes is not None}
        yield _family("federation_replica_lag_bytes", sizes)
        ages = {s: float("inf") if r.staleness_s is None else r.staleness_s for s, r in found.items()}
        yield _family("federation_replica_lag_seconds", ages)
        states = {(*s, state): int(r.state == state) for s, r in found.items() for state in _STATES}
        yield _family("federation_replica_state", states)
        yield _family("federation_replica_state_seconds", {s: r.since_s for s, r in found.items()})
        for name in ("entries", "rows", "bytes"):
            counts = {s: getattr(r, f"applied_{name}") for s, r in found.items()}
            yield _family(f"federation_replica_applied_{name}_total", counts)
        files = {(str(schema),): count for schema, count in self._source.files_waiting().items()}
        yield _family("federation_files_waiting", files)


def _family(name: str, values: Mapping[Any, float]) -> Metric:
    """A figure of `FIGURES` by the values of its labels."""
    kind, labels, meaning = FIGURES[name]
    family: Any
    if kind == "counter":
        family = CounterMetricFamily(name, meaning, labels=labels)
    else:
        family = GaugeMetricFamily(name, meaning, labels=labels)
    for names, value in values.items():
        family.add_metric(names, value)
    return family  # type: ignore[no-any-return]


class MetricsServer:
    """Answers ``GET /metrics``; ``address`` is where. `UnavailableError` when that can't be had."""

    def __init__(self, registry: prometheus_client.CollectorRegistry, address: Address) -> None:
        try:
            self._server, self._thread = prometheus_client.start_http_server(
                address.port, address.host, registry
            )
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {address} for metrics: {error.strerror}",
                hint="stop the other server, or give [metrics] another listen address",
            ) from error
        self.address = f"{address.host}:{self._server.server_port}"

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
