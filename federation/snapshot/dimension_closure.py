"""Which dimension records a closure needs: those of its data IDs, and all that these require or imply.

Relations (elements without a key of their own) follow one of two rules, by what they are:

* one with a region or timespan describes a data ID that has all its dimensions (where a detector looked during a
  visit): its record is needed for each such data ID;
* one without is a membership between dimensions (which exposures make a visit): a record belongs when its dimensions
  with a region or timespan are all in the closure, and it brings the records of its other dimensions along. It is
  looked up by the most specific of those dimensions.

Nothing here knows an element by name.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from federation.model.timespan import Timespan
from federation.snapshot.extents import intersection
from federation.snapshot.scratch import decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.snapshot.pending import Pending
    from federation.snapshot.scratch import FlaggedKeys

__all__ = ["DimensionClosure"]

Key = tuple[Any, ...]
#: the number of a record's key
_WANTED, _FOUND = 0, 1


class DimensionClosure:
    """The dimension records of one closure; asks for them through ``pending``, and notes them in ``records``."""

    def __init__(self, universe: DimensionUniverse, pending: Pending, records: FlaggedKeys) -> None:
        self._universe = universe
        self._pending = pending
        self._records = records
        self._timespans: dict[tuple[str, Key], Timespan] = {}
        self._memberships: dict[str, set[Key]] = defaultdict(set)  # seen, not yet known to belong
        relations = [element for element in universe.elements if not element.is_dimension]
        self._extent_relations = [
            element for element in relations if element.has_region or element.has_timespan
        ]
        self._membership_relations = [
            element for element in relations if element.required and element not in self._extent_relations
        ]
        self._driven_by: dict[str, list[str]] = defaultdict(list)
        for element in self._membership_relations:
            self._driven_by[self._driver(element.required)].append(element.name)

    def want_data_id(self, group: DimensionGroup, data_id: Mapping[str, Any]) -> None:
        """The records of a data ID are needed; ``data_id`` has required and implied values, None if not known."""
        for name in group.names:
            self._want_from(name, data_id)
        for relation in self._extent_relations:
            if all(data_id.get(name) is not None for name in relation.required):
                self._want(relation.name, tuple(data_id[name] for name in relation.required))

    def take(self, element_name: str, row: Mapping[str, Any]) -> None:
        """A record has arrived."""
        element = self._universe[element_name]
        key = tuple(row[name] for name in self._universe.table_key(element_name))
        if element in self._membership_relations:
            if not self._is_wanted(element_name, key):
                self._memberships[element_name].add(key)
            return
        if not self._is_wanted(element_name, key):
            return
        self._records.put(_record(element_name, key), _FOUND)
        if element.has_timespan:
            timespan = Timespan(row["timespan_begin"], row["timespan_end"])
            if timespan != Timespan():  # no bound at all: not known
                known = self._timespans.get((element_name, key), Timespan())
                self._timespans[element_name, key] = intersection((known, timespan))
        for name in (*element.required, *element.implied):
            self._want_from(name, row)

    def settle(self) -> None:
        """Admit the memberships whose dimensions are in the closure by now."""
        admitted = True
        while admitted:  # a membership may bring a dimension that lets another in
            admitted = False
            for relation in self._membership_relations:
                for key in list(self._memberships[relation.name]):
                    record = dict(zip(relation.required, key, strict=True))
                    if all(self._has(name, record) for name in self._anchors(relation.required)):
                        self._memberships[relation.name].remove(key)
                        self._records.add(_record(relation.name, key), _FOUND)
                        for name in relation.required:
                            self._want_from(name, record)
                        admitted = True

    def timespan(self, name: str, data_id: Mapping[str, Any]) -> Timespan | None:
        """When what a data ID says of a dimension took place; None as long as its record is not known."""
        key = self._key(name, data_id)
        return None if key is None else self._timespans.get((name, key))

    def belongs(self, element_name: str, row: Mapping[str, Any]) -> bool:
        """Whether a record is part of the closure."""
        key = tuple(row[name] for name in self._universe.table_key(element_name))
        return self._is_wanted(element_name, key)

    def missing(self) -> dict[str, set[Key]]:
        """Keys of records that no site had, by element; elements whose records others imply are never missing."""
        missing: dict[str, set[Key]] = defaultdict(set)
        for data in self._records.having(_WANTED):
            name, *key = decode(data)
            if self._universe[name].is_dimension and not self._universe[name].derived_from:
                missing[name].add(tuple(key))
        return missing

    def _anchors(self, names: tuple[str, ...]) -> tuple[str, ...]:
        placed = tuple(
            name for name in names if self._universe[name].has_region or self._universe[name].has_timespan
        )
        return placed or names

    def _driver(self, names: tuple[str, ...]) -> str:
        """The dimension of a membership by which its records are few."""
        order = self._universe.element_names.index
        return max(
            self._anchors(names),
            key=lambda name: (
                self._universe[name].has_timespan,
                self._universe[name].has_region,
                order(name),
            ),
        )

    def _key(self, name: str, values: Mapping[str, Any]) -> Key | None:
        """Key of the record of dimension ``name`` that ``values`` point to; None where they do not say."""
        key = tuple(values.get(part) for part in (*self._universe[name].required, name))
        return None if None in key else key

    def _has(self, name: str, values: Mapping[str, Any]) -> bool:
        key = self._key(name, values)
        return key is not None and (self._universe[name].is_skypix or self._is_wanted(name, key))

    def _is_wanted(self, name: str, key: Key) -> bool:
        return _record(name, key) in self._records

    def _want_from(self, name: str, values: Mapping[str, Any]) -> None:
        key = self._key(name, values)
        if key is not None and not self._universe[name].is_skypix:
            self._want(name, key)

    def _want(self, name: str, key: Key) -> None:
        if not self._records.add(_record(name, key)):
            return
        self._pending.ask_key_once(name, self._universe.table_key(name), key)
        for relation in self._driven_by.get(name, ()):
            self._pending.ask_keys(relation, (*self._universe[name].required, name), (key,))


def _record(name: str, key: Key) -> bytes:
    return encode((name, *key))
