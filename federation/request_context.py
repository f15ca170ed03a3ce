"""The request that this thread works on: an id that goes along to every site that is asked for it."""

from __future__ import annotations

import contextvars
import re
import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RequestPool", "current_request", "is_request_id", "new_request_id", "request"]

_CURRENT: contextvars.ContextVar[str] = contextvars.ContextVar("federation_request", default="")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")


def current_request() -> str:
    """The id of the request that is worked on here; ``""`` where there is none."""
    return _CURRENT.get()


def new_request_id() -> str:
    """A random id of 16 hexadecimal digits."""
    return secrets.token_hex(8)


def is_request_id(text: str) -> bool:
    """Whether a text that came from elsewhere can stand in logs as an id."""
    return _ID.match(text) is not None


@contextmanager
def request(request_id: str = "") -> Iterator[str]:
    """Work on a request: the one given, else the present one, else a new one; gives its id."""
    chosen = request_id or _CURRENT.get() or new_request_id()
    token = _CURRENT.set(chosen)
    try:
        yield chosen
    finally:
        _CURRENT.reset(token)


class RequestPool(ThreadPoolExecutor):
    """A pool whose threads work on the request of whoever gave them the work."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As in `ThreadPoolExecutor`."""
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)
