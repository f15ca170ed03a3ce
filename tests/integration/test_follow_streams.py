"""Streams of followers beside other calls: their number is limited, and a slow reader takes no memory."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from federation.errors import LimitError
from federation.model.change import LogEntry
from federation.model.position import GENESIS, SchemaId
from federation.wire.client import SiteClient
from federation.wire.messages import FollowBatch, FollowFrom, SiteStatus
from federation.wire.server import build_server

SCHEMA = SchemaId("summit", "summit")
START = FollowFrom(SCHEMA, "e1", 0, GENESIS, "base", "fingerprint")
BODY = secrets.token_bytes(1 << 20)


class _Service:
    """A source whose log has no end, or from which nothing comes; counts streams and batches."""

    def __init__(self, *, endless: bool) -> None:
        self.endless = endless
        self.sent = self.streams = 0
        self.stopping = threading.Event()

    def follow(self, _start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]:
        self.streams += 1
        try:
            yield FollowBatch("e1", 0, (), 1, 0)
            while is_active() and not self.stopping.is_set():
                if self.endless:
                    self.sent += 1
                    yield FollowBatch("e1", 0, [LogEntry(1, 0, 1, 2, BODY, b"", b"")], 1, 0)
                else:
                    self.stopping.wait(0.05)
        finally:
            self.streams -= 1

    def status(self, user: str) -> SiteStatus:
        return SiteStatus("summit", "1", "SQLite", "u", (), 0)


@contextmanager
def _serving(service: _Service, streams_max: int) -> Iterator[str]:
    server = build_server(service, "127.0.0.1:0", workers=2, streams_max=streams_max)  # type: ignore[arg-type]
    server.start()
    try:
        yield server.address
    finally:
        service.stopping.set()
        server.stop(0)


def _eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_streams_leave_room_for_other_calls_and_more_of_them_are_refused() -> None:
    service = _Service(endless=False)
    with _serving(service, 5) as address, ExitStack() as stack, SiteClient("summit", address) as client:
        streams = [stack.enter_context(client.follow(START)) for _ in range(5)]
        for stream in streams:
            next(stream)
        assert client.status().site == "summit"
        with client.follow(START) as refused, pytest.raises(LimitError, match="serves 5 streams"):
            next(refused)
        streams[0].cancel()
        _eventually(lambda: service.streams < 5)

        def has_room() -> bool:
            with client.follow(START) as again:
                try:
                    return next(again) is not None
                except LimitError:
                    return False

        _eventually(has_room)


def test_a_follower_that_does_not_read_makes_the_source_wait() -> None:
    service = _Service(endless=True)
    with _serving(service, 2) as address, SiteClient("summit", address) as client:
        with client.follow(START) as stream:
            next(stream)
            seen = -1

            def is_still() -> bool:
                nonlocal seen
                seen, before = service.sent, seen
                return seen == before or threading.Event().wait(0.3)

            _eventually(is_still)
            assert service.sent < 64, "megabytes were taken off the log that nobody reads"
            for _ in range(128):
                next(stream)
            assert service.sent >= 128
        _eventually(lambda: service.streams == 0)
