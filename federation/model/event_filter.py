"""Which events are wanted."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from federation.model.events import Event

__all__ = ["EVERYTHING", "EventFilter"]


@attrs.frozen
class EventFilter:
    """Globs that an event must match; an empty tuple leaves nothing out.

    An event about no dataset type or no collection does not match globs of them. One about a dataset whose type or
    run could not be found out does: better one too many than one too few.
    """

    events: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    dataset_types: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()

    def passes(self, event: Event) -> bool:
        """Whether the event is wanted."""
        return (
            _matches(self.events, (event.kind,))
            and _matches(self.tables, event.tables)
            and _matches(self.dataset_types, (getattr(event, "dataset_type", None),))
            and _matches(self.collections, (getattr(event, "collection", None), getattr(event, "run", None)))
        )


#: the filter that leaves nothing out
EVERYTHING = EventFilter()


def _matches(patterns: tuple[str, ...], names: tuple[str | None, ...]) -> bool:
    """Whether any name that there is matches; ``""`` is one that is not known."""
    if not patterns or "" in names:
        return True
    return any(fnmatch.fnmatchcase(name, pattern) for name in names if name for pattern in patterns)
