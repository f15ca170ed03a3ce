"""A network link that can be cut: a TCP relay on the loopback interface."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Self

__all__ = ["Link"]

_CHUNK = 1 << 16


class Link:
    """Relays connections from its own port to a server's; `cut` drops them all and refuses new ones until `mend`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = 0
        self.mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()

    def mend(self) -> None:
        """Accept connections (again), always on the same port."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="link", daemon=True).start()

    def cut(self) -> None:
        """Drop every connection and stop listening."""
        listener, self._listener = self._listener, None
        with self._lock:
            doomed, self._sockets = self._sockets, set()
        for item in (listener, *doomed):
            if item is not None:
                # shutdown wakes the thread that waits in accept or select; close alone does not
                with contextlib.suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)
                item.close()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                continue  # cut, or the server is not there: the caller sees its connection end
            far.settimeout(None)
            with self._lock:
                self._sockets |= {near, far}
            threading.Thread(target=self._relay, args=(near, far), name="link relay", daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
            for item in other:
                selector.register(item, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source: socket.socket = key.fileobj  # type: ignore[assignment]
                    data = source.recv(_CHUNK)
                    if not data:
                        raise ConnectionResetError
                    other[source].sendall(data)
        with self._lock:
            self._sockets -= {near, far}
        near.close()
        far.close()
