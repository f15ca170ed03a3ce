"""A gRPC channel to one site, made anew when certificates have changed, with the generated clients on it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import attrs
import grpc
import grpc.experimental

from federation.wire.tls import TlsFiles, channel
from federation.wire.v1 import auth_pb2_grpc, lineage_pb2_grpc, log_pb2_grpc, query_pb2_grpc, site_pb2_grpc

if TYPE_CHECKING:
    from federation.config.security import TlsConfig

__all__ = ["MESSAGE_BYTES_MAX", "SiteChannel", "Stubs"]

MESSAGE_BYTES_MAX = 64 << 20
#: channels that are kept open: the latest, and older ones whose calls may still run
_CHANNELS_MAX = 3
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    # a link that was cut in silence is noticed within seconds
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.ping_timeout_ms", 3_000),  # else a minute, whatever keepalive says
    # a site that comes back is found within seconds, not after the default of up to two minutes
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # a proxy of the environment is for the web
    ("grpc.enable_http_proxy", 0),
    # the thread that reads a stream waits for it itself; a thread between takes half of the time of a short one
    (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
)


@attrs.frozen
class Stubs:
    """The generated clients of one channel."""

    channel: Any
    query: Any
    log: Any
    site: Any
    auth: Any
    lineage: Any

    @classmethod
    def of(cls, made: Any) -> Stubs:
        return cls(
            made,
            query_pb2_grpc.QueryStub(made),
            log_pb2_grpc.ChangeLogStub(made),
            site_pb2_grpc.SiteStub(made),
            auth_pb2_grpc.AuthStub(made),
            lineage_pb2_grpc.LineageStub(made),
        )


class SiteChannel:
    """A channel that is made anew when the certificate's files have changed; calls under way keep theirs.

    For use by several threads. Without ``tls`` nothing is proven or hidden.
    """

    def __init__(self, site: str, address: str, tls: TlsConfig | None) -> None:
        self._name, self._address = site, address
        self._files = None if tls is None else TlsFiles(tls)
        self._lock = threading.Lock()
        self._open = [self._make()]

    def _make(self) -> Stubs:
        if self._files is None:
            return Stubs.of(grpc.insecure_channel(self._address, options=_OPTIONS))
        return Stubs.of(channel(self._files, self._name, self._address, _OPTIONS))

    def stubs(self) -> Stubs:
        """The generated clients for the next call."""
        if self._files is not None and self._files.has_changed():
            with self._lock:
                self._open.append(self._make())
                while len(self._open) > _CHANNELS_MAX:
                    self._open.pop(0).channel.close()
        return self._open[-1]

    def close(self) -> None:
        """Close it, and older ones; open streams end."""
        with self._lock:
            for stubs in self._open:
                stubs.channel.close()
