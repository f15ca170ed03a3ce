"""What each version of the ``daf_butler`` universe changed: older export files in the terms of a newer one.

The one place in the code that knows dimensions by name, because a change of names is what a migration is. A
column that a newer universe only added needs no step: its absence reads as null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from federation.model.timespan import format_tai
from federation.registry.butler.yaml_text import Located, Moment

if TYPE_CHECKING:
    from federation.model.dimension import DimensionUniverse

__all__ = ["NAMESPACE", "STEPS", "Migration", "Step"]

#: the only namespace whose history is known
NAMESPACE = "daf_butler"


class Derived:
    """Records that an older file leaves to be inferred, by element, and what was assumed to make them."""

    def __init__(self) -> None:
        self.records: dict[str, list[Located]] = {}
        self.warnings: dict[str, None] = {}
        self._seen: set[tuple[str, str]] = set()

    def add(self, element: str, source: Located, **values: Any) -> None:
        """A record of ``element``, once; nothing when ``source`` lacks a value for it."""
        if any(value is None for value in values.values()):
            return
        identity = (element, repr(values))  # a wrong value need not be hashable; it is refused when read
        if identity in self._seen:
            return
        self._seen.add(identity)
        record = Located(values)
        record.line = source.line
        self.records.setdefault(element, []).append(record)


@attrs.frozen
class Step:
    """Rewrites, in place, a record of ``element`` written before universe ``version``."""

    version: int
    element: str
    apply: Callable[[Located, Derived], None]


def _drop_seeing(visit: Located, derived: Derived) -> None:
    if visit.pop("seeing", None) is not None:
        derived.warnings["visit.seeing left out: it is no column since universe 1"] = None


def _day_obs_of_begin(visit: Located, derived: Derived) -> None:
    begin = visit.get("datetime_begin")
    if visit.get("day_obs") is None and isinstance(begin, Moment):
        visit["day_obs"] = int(format_tai(begin)[:10].replace("-", ""))
        derived.warnings[
            "visit.day_obs was not recorded before universe 1: taken from the TAI date of its begin"
        ] = None


def _visit_system_to_membership(visit: Located, derived: Derived) -> None:
    derived.add(
        "visit_system_membership",
        visit,
        instrument=visit.get("instrument"),
        visit=visit.get("id"),
        visit_system=visit.pop("visit_system", None),
    )


def _definition_to_membership(definition: Located, derived: Derived) -> None:
    derived.add(
        "visit_system_membership",
        definition,
        instrument=definition.get("instrument"),
        visit=definition.get("visit"),
        visit_system=definition.pop("visit_system", None),
    )


def _group_name_to_group(exposure: Located, derived: Derived) -> None:
    exposure.pop("group_id", None)
    if "group_name" in exposure:
        exposure["group"] = exposure.pop("group_name")
    derived.add("group", exposure, instrument=exposure.get("instrument"), name=exposure.get("group"))


def _day_obs_to_record(observation: Located, derived: Derived) -> None:
    instrument, day = observation.get("instrument"), observation.get("day_obs")
    derived.add("day_obs", observation, instrument=instrument, id=day)
    if day is not None:
        # when a night begins is known to the instrument's Python class alone
        derived.warnings[f"day_obs records of {instrument} made from its observations have no timespan"] = (
            None
        )


#: in the order in which the universe changed
STEPS = (
    Step(1, "visit", _drop_seeing),
    Step(1, "visit", _day_obs_of_begin),
    Step(2, "visit", _visit_system_to_membership),
    Step(2, "visit_definition", _definition_to_membership),
    Step(6, "exposure", _group_name_to_group),
    Step(6, "exposure", _day_obs_to_record),
    Step(6, "visit", _day_obs_to_record),
)

#: (version, dimension, other): before that version the dimension implied the other, so both stood in data IDs
_IMPLIED_BEFORE = ((2, "visit", "visit_system"),)


class Migration:
    """The steps from one universe version to the one in use."""

    def __init__(self, namespace: str, version: int, universe: DimensionUniverse) -> None:
        known = namespace == NAMESPACE == universe.namespace
        self._steps: dict[str, list[Step]] = {}
        for step in STEPS:
            if known and version < step.version <= universe.version and step.element in universe:
                self._steps.setdefault(step.element, []).append(step)
        self._implied_before = [
            (dimension, other)
            for changed, dimension, other in _IMPLIED_BEFORE
            if known and version < changed <= universe.version
        ]
        self._derived = Derived()

    def record(self, element: str, record: Located) -> Located:
        """The record as the universe in use would have it; ``record`` itself stays as it is."""
        steps = self._steps.get(element)
        if steps is None:
            return record
        out = Located(record)
        out.line = record.line
        for step in steps:
            step.apply(out, self._derived)
        return out

    def dimensions(self, names: Iterable[str]) -> list[str]:
        """The dimensions of a dataset type or data ID without those that another one implied of old."""
        given = list(names)
        dropped = {other for dimension, other in self._implied_before if dimension in given}
        return [name for name in given if name not in dropped] if dropped else given

    @property
    def derived(self) -> Mapping[str, list[Located]]:
        """Records inferred so far, by element."""
        return self._derived.records

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was assumed so far, a line each."""
        return tuple(self._derived.warnings)
