"""An HTTP proxy in front of an S3 server that does harm: refuses, answers with errors, cuts bodies, is slow."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs


@attrs.define
class Harm:
    """What is done to the next ``count`` requests of ``method`` whose URL holds ``part``.

    ``status`` answers at once with it; ``cut_at`` ends the body there; ``delay_s`` waits before each piece of it;
    ``drop`` closes the connection without an answer.
    """

    method: str
    part: str = ""
    count: int = 1
    status: int = 0
    cut_at: int | None = None
    delay_s: float = 0.0
    drop: bool = False


@attrs.define
class S3Proxy:
    """``seen`` are the requests that came: (method, path)."""

    upstream: int
    endpoint: str = ""
    harms: list[Harm] = attrs.field(factory=list)
    seen: list[tuple[str, str]] = attrs.field(factory=list)
    _lock: Any = attrs.field(factory=threading.Lock)

    def harm_of(self, method: str, path: str) -> Harm | None:
        with self._lock:
            self.seen.append((method, path))
            for harm in self.harms:
                if harm.count > 0 and harm.method == method and harm.part in path:
                    harm.count -= 1
                    return harm
        return None


@contextlib.contextmanager
def s3_proxy(upstream: int) -> Iterator[S3Proxy]:
    """A proxy before the server at port ``upstream`` of this computer."""
    proxy = S3Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            harm = proxy.harm_of(self.command, self.path)
            if harm is not None and harm.drop:
                self.close_connection = True
                return
            if harm is not None and harm.status:
                self.answer(harm.status, {}, b"<Error><Code>Harmed</Code></Error>", None)
                return
            connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            found = connection.getresponse()
            self.answer(found.status, dict(found.getheaders()), found.read(), harm)
            connection.close()

        def answer(self, status: int, headers: dict[str, str], body: bytes, harm: Harm | None) -> None:
            self.send_response_only(status)
            length = (
                headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            )
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command == "HEAD":
                return
            if harm is not None and harm.cut_at is not None:
                self.wfile.write(body[: harm.cut_at])
                self.close_connection = True
                return
            step = max(1, len(body) // 4) if harm is not None and harm.delay_s else len(body) or 1
            for start in range(0, len(body), step):
                if harm is not None:
                    threading.Event().wait(harm.delay_s)
                self.wfile.write(body[start : start + step])

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that give up are part of the tests

    server = Server(("127.0.0.1", 0), Handler)
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
