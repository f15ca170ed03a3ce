"""Hints for names that are not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["suggest"]

#: more names than this don't help in a one-line message
_LISTED_MAX = 20


def suggest(name: str, known: Iterable[str], what: str) -> str:
    """A hint that names what is spelled like ``name``, whatever its case, or else everything there is.

    >>> suggest("Vist", ["visit", "raw"], "tables")
    'did you mean visit?'
    """
    names = sorted(set(known))
    by_lower = {n.lower(): n for n in reversed(names)}
    close = [by_lower[n] for n in difflib.get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.6)]
    if close:
        return f"did you mean {', '.join(close)}?"
    shown = ", ".join(names[:_LISTED_MAX]) + (", ..." if len(names) > _LISTED_MAX else "")
    return f"{what}: {shown or 'none'}"
