"""What every call of a server passes through: the request's id goes in, and what became of the call is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import grpc

from federation.request_context import is_request_id, new_request_id, request
from federation.wire.errors import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["REQUEST_KEY", "Call", "CallInterceptor", "CallObserver", "request_metadata"]

#: the metadata that carries a request's id
REQUEST_KEY = "x-request-id"
_PACKAGE = "federation.wire.v1."


def request_metadata(request_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that is made for a request."""
    return ((REQUEST_KEY, request_id),)


@attrs.define(eq=False)
class Call:
    """One call of a server, as it goes on.

    ``method`` is ``Service/Method``; ``code`` is empty while it runs, then ``ok``, ``cancelled`` (by the caller), the
    code of a `FederationError`, ``internal`` for anything unforeseen, else gRPC's own. Bytes are of messages, without
    framing.
    """

    method: str
    request_id: str
    peer: str
    is_stream: bool
    began_at: float = attrs.field(factory=time.monotonic)
    code: str = ""
    message: str = ""
    failure: BaseException | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    response_count: int = 0

    @property
    def seconds(self) -> float:
        """For how long it has been running."""
        return time.monotonic() - self.began_at


class CallObserver(Protocol):
    """Who is told of calls, in the thread of the call."""

    def began(self, call: Call) -> None: ...
    def ended(self, call: Call) -> None: ...


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Sets the request of each call and tells ``observer`` of it; to be the first of a server's interceptors."""

    def __init__(self, observer: CallObserver) -> None:
        self._observer = observer

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """The handler of a call with this around it."""
        handler = continuation(details)
        if handler is None or not details.method.startswith(f"/{_PACKAGE}"):
            return handler
        given = next((value for key, value in details.invocation_metadata if key == REQUEST_KEY), "")
        call = Call(
            details.method.removeprefix(f"/{_PACKAGE}"),
            given if isinstance(given, str) and is_request_id(given) else new_request_id(),
            "",
            bool(handler.response_streaming),
        )
        make, behaviour = _kind(handler)
        wrapped = (
            _streaming(behaviour, call, self._observer)
            if handler.response_streaming
            else _single(behaviour, call, self._observer)
        )
        return make(wrapped, _counted_in(handler, call), _counted_out(handler, call))


def _kind(handler: Any) -> tuple[Any, Any]:
    """(what makes a handler of this kind, the behaviour in it)."""
    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary


def _counted_in(handler: Any, call: Call) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        call.request_bytes += len(data)
        return handler.request_deserializer(data)

    return read


def _counted_out(handler: Any, call: Call) -> Callable[[Any], bytes]:
    def write(message: Any) -> bytes:
        data: bytes = handler.response_serializer(message)
        call.response_bytes += len(data)
        call.response_count += 1
        return data

    return write


def _single(behaviour: Any, call: Call, observer: CallObserver) -> Any:
    def answer(given: Any, context: Any) -> Any:
        call.peer = context.peer()
        with request(call.request_id):
            observer.began(call)
            try:
                answered = behaviour(given, context)
            except BaseException as error:
                _judge(call, context, error)
                raise
            else:
                call.code = "ok"
                return answered
            finally:
                observer.ended(call)

    return answer


def _streaming(behaviour: Any, call: Call, observer: CallObserver) -> Any:
    def answer(given: Any, context: Any) -> Iterator[Any]:
        call.peer = context.peer()
        with request(call.request_id):
            observer.began(call)
        try:
            with request(call.request_id):
                answers = iter(behaviour(given, context))
            while True:
                # set for each step: another thread, or another call in this one, may run between two of them
                with request(call.request_id):
                    try:
                        message = next(answers)
                    except StopIteration:
                        break
                yield message
            call.code = "ok"
        except BaseException as error:
            _judge(call, context, error)
            raise
        finally:
            with request(call.request_id):
                observer.ended(call)

    return answer


def _judge(call: Call, context: Any, error: BaseException) -> None:
    """What a call that did not end well came to."""
    told = error_of(context.trailing_metadata() or ())
    if told is not None:
        call.code, call.message = told
    elif isinstance(error, GeneratorExit) or not context.is_active():
        call.code = "cancelled"
    elif (status := context.code()) is not None:
        details = context.details() or b""
        call.code = status.name.lower()
        call.message = details.decode("utf-8", "replace") if isinstance(details, bytes) else details
    else:
        call.code, call.message, call.failure = "internal", f"{type(error).__name__}: {error}", error
