"""How much one caller may ask of a site: calls at one time, and calls a second by a token bucket."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from federation.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.config.security import LimitsConfig

__all__ = ["CallerLimits", "TokenBucket"]

#: callers that are remembered; one that was away longest begins anew, with a full bucket
_CALLERS_MAX = 10_000


@attrs.define
class TokenBucket:
    """Holds up to ``burst`` tokens and gains ``rate`` a second; ``now`` and ``at`` are seconds of any steady clock."""

    rate: float
    burst: float
    at: float
    tokens: float = attrs.field(default=attrs.Factory(lambda self: self.burst, takes_self=True))

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = max(self.at, now)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@attrs.define
class _Caller:
    bucket: TokenBucket
    running: int = 0


class CallerLimits:
    """Counts the calls of each caller; safe between threads. ``clock`` gives seconds that never go back."""

    def __init__(self, config: LimitsConfig, clock: Callable[[], float]) -> None:
        self._config, self._clock = config, clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self._lock = threading.Lock()

    def enter(self, caller: str) -> Callable[[], None]:
        """Count a call in; gives what counts it out, once. `LimitError` when it is one too many."""
        config = self._config
        with self._lock:
            found = self._callers.get(caller)
            if found is None:
                bucket = TokenBucket(config.calls_per_s, float(config.calls_burst), self._clock())
                found = self._callers[caller] = _Caller(bucket)
                self._forget()
            self._callers.move_to_end(caller)
            if found.running >= config.calls_at_once:
                raise LimitError(
                    f"{caller} has {found.running} calls running, the most that this site allows",
                    hint="wait for some to end, or raise calls_at_once in [limits]",
                )
            if not found.bucket.take(self._clock()):
                raise LimitError(
                    f"{caller} makes more than {config.calls_per_s:g} calls a second",
                    hint="ask less often, or raise calls_per_s in [limits]",
                )
            found.running += 1
        is_out = threading.Event()

        def leave() -> None:
            with self._lock:
                if not is_out.is_set():
                    is_out.set()
                    found.running -= 1

        return leave

    def _forget(self) -> None:
        while len(self._callers) > _CALLERS_MAX:
            idle = next((name for name, one in self._callers.items() if not one.running), None)
            if idle is None:
                return
            del self._callers[idle]
