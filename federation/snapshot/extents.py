"""Which certified calibrations are valid for the data of a closure: by time, and by the dimensions they share.

A dataset of the closure has an *extent* when its data ID has dimensions with timespans: the common part of the
timespans of those that no other of them implies (an exposure's, not its night's). A calibration matches when its
validity range overlaps the extent and every dimension of the calibration has the same value in the data ID.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs

from federation.model.timespan import Timespan

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping

    from federation.model.dimension import DimensionGroup, DimensionUniverse

__all__ = ["Extent", "ValidityIndex", "intersection", "merged", "temporal_dimensions"]


def temporal_dimensions(universe: DimensionUniverse, group: DimensionGroup) -> tuple[str, ...]:
    """The dimensions of ``group`` whose timespans say when its data were taken, most precise only."""
    temporal = [name for name in group.names if universe[name].has_timespan]
    coarser = {other for name in temporal for other in (*universe[name].required, *universe[name].implied)}
    return tuple(name for name in temporal if name not in coarser)


def intersection(timespans: Iterable[Timespan]) -> Timespan:
    """The moments that are in all of them."""
    begin: int | None = None
    end: int | None = None
    for timespan in timespans:
        if timespan.begin is not None:
            begin = timespan.begin if begin is None else max(begin, timespan.begin)
        if timespan.end is not None:
            end = timespan.end if end is None else min(end, timespan.end)
    return Timespan(begin, end)


def merged(timespans: Iterable[Timespan]) -> tuple[Timespan, ...]:
    """The same moments as disjoint timespans in order; touching ones become one."""
    ordered = sorted(
        (timespan for timespan in timespans if not timespan.is_empty),
        key=lambda timespan: (timespan.begin is not None, timespan.begin or 0),
    )
    out: list[Timespan] = []
    for timespan in ordered:
        last = out[-1] if out else None
        if last is not None and (last.end is None or timespan.begin is None or timespan.begin <= last.end):
            end = None if last.end is None or timespan.end is None else max(last.end, timespan.end)
            out[-1] = Timespan(last.begin, end)
        else:
            out.append(timespan)
    return tuple(out)


@attrs.frozen(eq=False)
class Extent:
    """When a dataset's data were taken, and the values of its dimensions, required and implied."""

    data_id: Mapping[str, Any]
    timespan: Timespan


class ValidityIndex:
    """Certified datasets by the values of their dimensions, with their validity ranges."""

    def __init__(self) -> None:
        #: validity ranges of a dataset, before and after its data ID is known
        self._ranges: dict[uuid.UUID, set[Timespan]] = defaultdict(set)
        #: dataset ids by dimension names, then by values
        self._by_values: dict[tuple[str, ...], dict[tuple[Any, ...], set[uuid.UUID]]] = defaultdict(
            lambda: defaultdict(set)
        )

    def certify(self, dataset_id: uuid.UUID, timespan: Timespan) -> None:
        """Note that a dataset is valid during ``timespan``."""
        self._ranges[dataset_id].add(timespan)

    def __contains__(self, dataset_id: uuid.UUID) -> bool:
        return dataset_id in self._ranges

    def describe(self, dataset_id: uuid.UUID, names: tuple[str, ...], values: tuple[Any, ...]) -> None:
        """Note the data ID of a certified dataset."""
        self._by_values[names][values].add(dataset_id)

    def matching(self, extent: Extent) -> set[uuid.UUID]:
        """The certified datasets that are valid for ``extent``."""
        found: set[uuid.UUID] = set()
        for names, by_values in self._by_values.items():
            if all(name in extent.data_id for name in names):
                candidates = by_values.get(tuple(extent.data_id[name] for name in names), ())
                found |= {
                    dataset_id
                    for dataset_id in candidates
                    if any(valid.overlaps(extent.timespan) for valid in self._ranges[dataset_id])
                }
        return found
