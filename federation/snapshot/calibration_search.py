"""The calibrations that are valid for the members of a closure, in collections that its maker names."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from federation.model.collection import CollectionType
from federation.model.timespan import Timespan
from federation.snapshot.extents import Extent, ValidityIndex, intersection, merged

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Mapping

    from federation.model.dimension import DimensionGroup
    from federation.snapshot.dimension_closure import DimensionClosure
    from federation.snapshot.pending import Pending

__all__ = ["CalibrationSearch"]


class CalibrationSearch:
    """Searches the CALIBRATION collections that ``roots`` lead to; idle without any."""

    def __init__(self, roots: Collection[str], pending: Pending, dimensions: DimensionClosure) -> None:
        self.roots = frozenset(roots)
        self._pending, self._dimensions = pending, dimensions
        self._validity = ValidityIndex()
        #: data IDs whose timespan is not yet known
        self._unplaced: dict[tuple[Any, ...], tuple[tuple[str, ...], Mapping[str, Any]]] = {}
        self._candidates: dict[uuid.UUID, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
        self._extents: list[Extent] = []
        self._asked: dict[str, set[Timespan]] = defaultdict(set)

    def place(self, group: DimensionGroup, temporal: tuple[str, ...], data_id: Mapping[str, Any]) -> None:
        """Search for what is valid for a data ID; ``temporal`` dimensions say when its data were taken."""
        if self.roots and temporal:
            self._unplaced.setdefault((group.names, *data_id.values()), (temporal, data_id))

    def certify(self, row: Mapping[str, Any]) -> bool:
        """Take in a validity range; whether it is of a collection that is searched."""
        if row["collection"] not in self._asked:
            return False
        self._validity.certify(row["dataset_id"], Timespan(row["timespan_begin"], row["timespan_end"]))
        return True

    def describe(self, type_name: str, group: DimensionGroup, row: Mapping[str, Any]) -> None:
        """Take in the row of a dataset that is no member and may become one."""
        dataset_id = row["dataset_id"]
        if dataset_id in self._validity:
            self._validity.describe(dataset_id, group.required, tuple(row[name] for name in group.required))
            self._candidates[dataset_id].append((type_name, row))  # it is not asked for again as a member

    def admitted(self, dataset_id: uuid.UUID) -> list[tuple[str, Mapping[str, Any]]]:
        """The rows that were kept of a dataset that has become a member."""
        return self._candidates.pop(dataset_id, [])

    def follow(
        self, collections: Mapping[str, str], children: Mapping[str, Collection[str]]
    ) -> set[uuid.UUID]:
        """Ask for validity ranges around extents found since; the calibrations that match so far.

        ``collections`` are types by name, ``children`` those of chains.
        """
        if not self.roots:
            return set()
        for key, (temporal, data_id) in list(self._unplaced.items()):
            timespan = self._timespan_of(temporal, data_id)
            if timespan is not None:
                self._extents.append(Extent(data_id, timespan))
                del self._unplaced[key]
        wanted = {extent.timespan for extent in self._extents}
        for name in sorted(self._searched(collections, children)):
            new = wanted - self._asked[name]
            if new:
                self._asked[name] |= new
                self._pending.ask_timespans("calibration", "collection", name, merged(new))
        return {dataset_id for extent in self._extents for dataset_id in self._validity.matching(extent)}

    def _searched(self, collections: Mapping[str, str], children: Mapping[str, Collection[str]]) -> set[str]:
        """The CALIBRATION collections among the roots and what they chain to."""
        reached: set[str] = set()
        todo = list(self.roots)
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo.extend(children.get(name, ()))
        return {name for name in reached if collections.get(name) == CollectionType.CALIBRATION}

    def _timespan_of(self, temporal: tuple[str, ...], data_id: Mapping[str, Any]) -> Timespan | None:
        timespans = [self._dimensions.timespan(name, data_id) for name in temporal]
        known = [timespan for timespan in timespans if timespan is not None]
        return intersection(known) if len(known) == len(timespans) else None
