"""The server's end of walks along provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from federation.errors import FederationError
from federation.wire.errors import abort
from federation.wire.v1 import lineage_pb2_grpc
from federation.wire.walks import answer_out, call_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.wire.walks import WalkAnswer, WalkCall

__all__ = ["WalkService", "add_walks"]


class WalkService(Protocol):
    """A site that answers walks; may raise a `FederationError`, which arrives at the caller as it is."""

    def walk(self, call: WalkCall) -> WalkAnswer: ...


def add_walks(service: WalkService, server: Any) -> None:
    """Let a server answer walks."""
    lineage_pb2_grpc.add_LineageServicer_to_server(_Lineage(service), server)


class _Lineage(lineage_pb2_grpc.LineageServicer):  # type: ignore[misc]
    def __init__(self, service: WalkService) -> None:
        self._service = service

    def Walk(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        try:
            yield from answer_out(self._service.walk(call_in(request)))
        except FederationError as error:
            abort(context, error)
