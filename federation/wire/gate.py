"""Asks a gatekeeper about every call before it is answered, and tells it which answers were refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs
import grpc

from federation.errors import FederationError, ForbiddenError
from federation.wire.errors import abort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Admission", "CallInfo", "Gate", "GateInterceptor"]

_BEARER = "Bearer "
#: whether a server is up, and which calls it has: for whoever could connect at all
_OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")


@attrs.frozen
class CallInfo:
    """A call as it came. ``names`` are the alternative names of the client's verified certificate, empty without TLS.

    ``site``, ``schema``, ``follower`` and ``user`` are what the request says, ``""`` where it says nothing.
    """

    method: str
    address: str
    names: tuple[str, ...] = ()
    token: str = attrs.field(default="", repr=False)
    site: str = ""
    schema: str = ""
    follower: str = ""
    user: str = ""
    what: str = ""


@attrs.frozen
class Admission:
    """A call by ``who`` that may go on, on behalf of ``user`` (``""``: the operator); ``release`` when it has ended."""

    who: str
    user: str
    release: Callable[[], None]


class Gate(Protocol):
    """Decides who may make which call."""

    def admit(self, call: CallInfo) -> Admission:
        """Let a call in, or raise the `FederationError` that the caller gets."""

    def refused(self, call: CallInfo, reason: str, who: str = "") -> None:
        """A call ended with a refusal: here, or of ``who`` it was admitted for, where it was carried out."""


class GateInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Puts a `Gate` before every method of a server; what it admits carries the user that the gate found."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The method's handler with the gate before it."""
        handler = continuation(details)
        if handler is None or details.method.startswith(_OPEN):
            return handler
        serializers = (handler.request_deserializer, handler.response_serializer)
        method = details.method.removeprefix("/")
        if handler.response_streaming:
            kind = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
            return kind(self._streaming(method, behaviour), *serializers)
        kind = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        return kind(self._single(method, behaviour), *serializers)

    def _single(self, method: str, behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def run(request: Any, context: Any) -> Any:
            call, admission = self._admit(method, request, context)
            try:
                return behaviour(request, context)
            finally:
                self._look_back(call, admission, context)

        return run

    def _streaming(
        self, method: str, behaviour: Callable[[Any, Any], Iterator[Any]]
    ) -> Callable[[Any, Any], Iterator[Any]]:
        def run(request: Any, context: Any) -> Iterator[Any]:
            call, admission = self._admit(method, request, context)
            try:
                yield from behaviour(request, context)
            finally:
                self._look_back(call, admission, context)

        return run

    def _admit(self, method: str, request: Any, context: Any) -> tuple[CallInfo, Admission]:
        call = _info(method, request, context)
        try:
            admission = self._gate.admit(call)
        except FederationError as error:
            self._gate.refused(call, error.message)
            abort(context, error)
        # the end of the call, not of the handler: a stream whose reader has gone is ended by the server
        if not context.add_callback(admission.release):
            admission.release()
        if "user" in _fields(request):
            request.user = admission.user
        return call, admission

    def _look_back(self, call: CallInfo, admission: Admission, context: Any) -> None:
        if context.code() is grpc.StatusCode.PERMISSION_DENIED:
            details = context.details() or ForbiddenError.code
            text = details.decode() if isinstance(details, bytes) else details
            self._gate.refused(call, text, admission.who)


def _fields(request: Any) -> Any:
    descriptor = getattr(request, "DESCRIPTOR", None)  # a stream of requests has none
    return () if descriptor is None else descriptor.fields_by_name


def _info(method: str, request: Any, context: Any) -> CallInfo:
    fields = _fields(request)
    said = {name: getattr(request, name) for name in ("site", "schema", "follower", "user") if name in fields}
    # the Arrow schema of an answer has the name, not the meaning
    said = {name: value for name, value in said.items() if isinstance(value, str)}
    what = f"{said['site']}/{said['schema']}" if {"site", "schema"} <= said.keys() else ""
    if "dataset_id" in fields:
        what = f"dataset {request.dataset_id.hex()}"
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return CallInfo(
        method,
        context.peer(),
        tuple(name.decode("utf-8", "replace") for name in names),
        _token(context.invocation_metadata() or ()),
        what=what,
        **said,
    )


def _token(metadata: Any) -> str:
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return value.removeprefix(_BEARER)
    return ""
