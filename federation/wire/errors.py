"""Errors across the wire: a `FederationError` becomes a gRPC status with details, and the same class again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import msgspec

from federation.errors import BY_CODE, FederationError, LimitError, QueryError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["abort", "error_of", "from_rpc"]

ERROR_KEY = "federation-error-bin"

#: trailing metadata is limited to 8 KiB in all
_TEXT_MAX = 1500

#: what gRPC says of connections that failed for a certificate
_HANDSHAKE = ("andshake", "ertificate", "CERTIFICATE", "SSL_ERROR", "Hostname Verification")

#: what gRPC puts before the operating system's word: the address, which the message has already
_BEFORE_REASON = re.compile(
    r"failed to connect to all addresses; last error: (\w+: )?(\S+: )?(Failed to connect to remote host: )?"
)

_STATUS = {
    "user": grpc.StatusCode.INVALID_ARGUMENT,
    "usage": grpc.StatusCode.INVALID_ARGUMENT,
    "config": grpc.StatusCode.FAILED_PRECONDITION,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "query": grpc.StatusCode.INVALID_ARGUMENT,
    "conflict": grpc.StatusCode.ALREADY_EXISTS,
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "limit": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "corruption": grpc.StatusCode.DATA_LOSS,
    "log_gap": grpc.StatusCode.OUT_OF_RANGE,
    "epoch": grpc.StatusCode.FAILED_PRECONDITION,
}


class _Payload(msgspec.Struct, array_like=True):
    code: str
    message: str
    hint: str = ""
    sql: str = ""
    position: int | None = None


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 3] + "..."


def abort(context: Any, error: FederationError) -> NoReturn:
    """End a call with this error; never returns."""
    payload = _Payload(error.code, _cut(error.message), _cut(error.hint))
    if isinstance(error, QueryError):
        payload.position = error.position
        # a longer statement is known to the caller, who puts it back
        payload.sql = error.sql if len(error.sql) <= _TEXT_MAX else ""
    context.set_trailing_metadata(((ERROR_KEY, msgspec.msgpack.encode(payload)),))
    context.abort(_STATUS.get(error.code, grpc.StatusCode.INTERNAL), _cut(error.message))
    raise AssertionError("abort returns never")


def error_of(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str] | None:
    """(code, message) of the error that ended a call; None where none of ours did."""
    payload = _payload(metadata)
    return None if payload is None else (payload.code, payload.message)


def from_rpc(
    error: grpc.RpcError, site: str, address: str = "", sql: str = "", request_id: str = ""
) -> FederationError:
    """The error that the site raised, or one that says why there was no answer; ``sql`` is what was asked.

    It carries the id of the request, under which the site's log has more, unless the site never saw it.
    """
    made = _from_rpc(error, site, address, sql)
    if error.code() is not grpc.StatusCode.UNAVAILABLE or _payload(error.trailing_metadata() or ()):
        made.request_id = request_id
    return made


def _from_rpc(error: grpc.RpcError, site: str, address: str, sql: str) -> FederationError:
    payload = _payload(error.trailing_metadata() or ())
    if payload is not None:
        kind = BY_CODE.get(payload.code, FederationError)
        if issubclass(kind, QueryError):
            return kind(payload.message, hint=payload.hint, sql=payload.sql or sql, position=payload.position)
        return kind(payload.message, hint=payload.hint)
    code, details = error.code(), " ".join((error.details() or "").split())
    place = f"site {site} at {address}" if address else f"site {site}"
    check = f"check that the site runs: federation site serve {site}"
    match code:
        case grpc.StatusCode.UNAVAILABLE if any(word in details for word in _HANDSHAKE):
            return UnavailableError(
                f"{place} has a certificate that is not accepted, or accepts none of ours: {_cut(details)}",
                hint=f"compare [tls] of both sites: one authority, and a certificate of the name {site} there",
            )
        case grpc.StatusCode.UNAVAILABLE:
            reason = _cut(_BEFORE_REASON.sub("", details))
            return UnavailableError(f"{place} does not answer: {reason}", hint=check)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(f"{place} did not answer in time", hint=f"{check}, or allow more time")
        case grpc.StatusCode.CANCELLED:
            return UnavailableError(f"the call to {place} was cancelled", hint="ask again")
        case grpc.StatusCode.UNIMPLEMENTED:
            return UnavailableError(
                f"{place} does not know this call: {_cut(details)}", hint="bring both sites to one version"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return LimitError(
                f"{place}: a message is too large: {_cut(details)}", hint="ask for fewer rows or columns"
            )
        case _:
            name = code.name if code else "no status"
            return FederationError(f"{place} failed: {name}: {_cut(details)}", hint=f"see the log of {site}")


def _payload(metadata: Iterable[tuple[str, str | bytes]]) -> _Payload | None:
    for key, value in metadata:
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                return msgspec.msgpack.decode(value, type=_Payload)
            except msgspec.DecodeError:
                return None
    return None
