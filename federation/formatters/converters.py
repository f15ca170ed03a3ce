"""Converters between Python types, and the shortest chain of them from one type to another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs

__all__ = ["Convert", "Converters"]

#: makes an object of one type from an object of another
Convert = Callable[[Any], Any]


@attrs.frozen
class Converters:
    """Functions by the dotted names of the types that they convert from and to."""

    _steps: dict[str, dict[str, Convert]] = attrs.field(factory=dict)

    def add(self, source: str, target: str, convert: Convert) -> None:
        """Add a step, or replace the one there is."""
        self._steps.setdefault(source, {})[target] = convert
        self._steps.setdefault(target, {})

    @property
    def names(self) -> tuple[str, ...]:
        """Every type that a step begins or ends at."""
        return tuple(self._steps)

    def reachable(self, sources: Iterable[str]) -> dict[str, tuple[str, tuple[Convert, ...]]]:
        """Each type that can be made: (the source to begin with, the steps from it), by the fewest steps.

        Among chains of one length, the one from the earlier source is taken.
        """
        found: dict[str, tuple[str, tuple[Convert, ...]]] = {}
        pending: deque[str] = deque()
        for source in sources:
            if source not in found:
                found[source] = (source, ())
                pending.append(source)
        while pending:
            name = pending.popleft()
            source, steps = found[name]
            for target, convert in self._steps.get(name, {}).items():
                if target not in found:
                    found[target] = (source, (*steps, convert))
                    pending.append(target)
        return found
