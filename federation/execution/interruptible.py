"""Whether Ctrl-C was pressed, for another thread to know while the main one is inside a library.

Python notices a signal between two instructions of the main thread, and the local engine may make a batch of rows
for long between two of them. The number of a signal is written to a file descriptor at once, though.
"""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ctrl_c"]


class _Wakeup:
    """The two ends of where numbers of signals are written; made at the first use."""

    def __init__(self) -> None:
        self.read, self.write = socket.socketpair()
        self.read.setblocking(False)
        self.write.setblocking(False)

    def take(self) -> bytes:
        """What was written since the last time."""
        try:
            return self.read.recv(4096)
        except BlockingIOError:
            return b""


_made: list[_Wakeup] = []


@contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """Within this context the function that it gives tells any thread whether Ctrl-C was pressed.

    That is only of use, and only done, in the main thread, where Ctrl-C raises `KeyboardInterrupt` and nobody else is
    told of signals in this way.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    if not _made:
        _made.append(_Wakeup())
    wakeup = _made[0]
    before = signal.set_wakeup_fd(wakeup.write.fileno(), warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        yield lambda: False
        return
    wakeup.take()
    was_pressed = threading.Event()

    def is_pressed() -> bool:
        if signal.SIGINT in wakeup.take():
            was_pressed.set()
        return was_pressed.is_set()

    try:
        yield is_pressed
    finally:
        # a generator may be closed by another thread, which must leave signals alone
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
