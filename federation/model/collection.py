"""Collections: named sets of datasets, with the Rubin Data Butler's semantics."""

from __future__ import annotations

import enum

import attrs

from federation.model.timespan import Timespan

__all__ = ["Collection", "CollectionType"]


class CollectionType(enum.StrEnum):
    """RUN owns its datasets; TAGGED lists some; CHAINED searches others in order; CALIBRATION adds validity."""

    RUN = "RUN"
    TAGGED = "TAGGED"
    CHAINED = "CHAINED"
    CALIBRATION = "CALIBRATION"


@attrs.frozen
class Collection:
    """A collection; ``children`` only for a CHAINED one, ``host`` and ``timespan`` only for a RUN."""

    name: str
    type: CollectionType
    doc: str | None = None
    children: tuple[str, ...] = ()
    host: str | None = None
    timespan: Timespan = Timespan()
