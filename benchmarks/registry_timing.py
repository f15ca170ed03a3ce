"""How both sides of benchmarks/registry.py measure: the same clocks, repeats and checks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

#: seconds by name, or milliseconds of one call for lookups
Figures = dict[str, float]
REPEATS = 3
LOOKUPS = 300


def streamed(counts: Iterable[int], began: float) -> tuple[float, float, int]:
    """Seconds from ``began`` to the first row and to the last, and how many rows: from numbers of rows."""
    first = None
    total = 0
    for count in counts:
        if first is None:
            first = time.perf_counter() - began
        total += count
    last = time.perf_counter() - began
    if first is None:
        raise SystemExit("no rows came")
    return first, last, total


def median_s(once: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Medians of several runs; the first one also compiles statements and is left out, on both sides."""
    once()
    runs = [once() for _ in range(REPEATS)]
    return statistics.median(first for first, _ in runs), statistics.median(last for _, last in runs)


def percentile_ms(call: Callable[[int], Any]) -> float:
    """The median time of one call, in milliseconds; every call must find something."""
    times = []
    for number in range(LOOKUPS):
        began = time.perf_counter()
        found = call(number)
        times.append(time.perf_counter() - began)
        if found is None:
            raise SystemExit(f"lookup {number} found nothing")
    return 1000 * statistics.median(times)
