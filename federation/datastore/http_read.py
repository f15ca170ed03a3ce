"""Reads a file over HTTP, whole or not at all, and for other sites only from hosts that are not this one's own."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from federation.datastore.checksum import CHUNK_BYTES
from federation.datastore.location import without_credentials
from federation.errors import FederationError, NotFoundError, UnavailableError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_http"]

#: of a connection that brings nothing
_TIMEOUT_S = 60.0
_REDIRECTIONS_MAX = 5


@contextmanager
def read_http(url: str, *, own_hosts: bool = True) -> Iterator[Iterator[bytes]]:
    """The body of a GET in chunks of a megabyte.

    Redirections lead to http and https only, and from https not to http. Without ``own_hosts`` loopback and link-local
    addresses are refused (`UserError`), by the address that was connected to. `NotFoundError`: 404 and 410;
    `UserError`: other answers that will not change; `UnavailableError`: what may pass, and a body that is cut.
    """
    handlers: list[urllib.request.BaseHandler] = [_Redirections()]
    if not own_hosts:
        handlers += [_GuardedHttp(), _GuardedHttps()]
    opener = urllib.request.build_opener(*handlers)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310 - http(s), see source.py
    try:
        response = opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        raise _answer_error(error, without_credentials(url)) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, FederationError):
            raise error.reason from None
        raise UnavailableError(
            f"cannot read {without_credentials(url)}: {error.reason}",
            hint="check that the server is reachable",
        ) from error
    with response:
        length = response.headers.get("Content-Length")
        yield _chunks(
            response, int(length) if length and length.isdigit() else None, without_credentials(url)
        )


def _chunks(response: IO[bytes], size_bytes: int | None, shown: str) -> Iterator[bytes]:
    count = 0
    while chunk := response.read(CHUNK_BYTES):
        count += len(chunk)
        yield chunk
    if size_bytes is not None and count != size_bytes:
        raise UnavailableError(f"{shown} ended after {count} of {size_bytes} bytes", hint="try again")


def _answer_error(error: urllib.error.HTTPError, shown: str) -> FederationError:
    told = f"cannot read {shown}: {error.code} {error.reason}"
    if error.code in (404, 410):
        return NotFoundError(told, hint="check the URL; was the file moved or removed?")
    if error.code >= 500 or error.code in (408, 425, 429):
        return UnavailableError(told, hint="check that the server is well, then try again")
    return UserError(told, hint="check the URL and who may read it")


class _Redirections(urllib.request.HTTPRedirectHandler):
    max_redirections = _REDIRECTIONS_MAX

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise UserError(
                f"{without_credentials(req.full_url)} redirects from {old} to {new}",
                hint="name the file's own URL",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_peer(connection: http.client.HTTPConnection) -> None:
    """Refuse a connection to this computer or its own link, before anything is asked."""
    address = ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified:
        connection.close()
        raise UserError(
            f"{connection.host} is {address}, an address of this computer or its link",
            hint="files there are read through the site that has them, not by URL",
        )


class _GuardedConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _GuardedTlsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _GuardedHttp(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_GuardedConnection, req)


class _GuardedHttps(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_GuardedTlsConnection, req)
