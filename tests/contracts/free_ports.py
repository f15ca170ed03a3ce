"""Ports on which a test's servers can listen, also when they are started again."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port", "free_ports"]

#: below those that the system gives to outgoing connections, one of which would take a port that no server holds now
_FIRST, _LAST = 20_000, 32_000
#: nobody wants the same sequence as another process, whatever the tests have seeded
_CHOICE = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port of this machine that nobody listens on; no two calls of a process give the same."""
    while True:
        port = _CHOICE.randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            if port in _given or probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def free_ports(count: int) -> list[int]:
    """Several of them."""
    return [free_port() for _ in range(count)]
