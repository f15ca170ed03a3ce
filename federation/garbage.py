"""Holds off the search for reference cycles while very many values are made at once that have none."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_cycle_search"]


@contextmanager
def no_cycle_search() -> Iterator[None]:
    """Within, no garbage is searched for: a batch of values that stay would be gone through again and again.

    Of threads that are in it at once the first to leave ends it for all, which costs time only.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
