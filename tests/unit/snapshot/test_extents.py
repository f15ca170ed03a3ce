"""Timespans of data and validity ranges of calibrations."""

from __future__ import annotations

import itertools
import uuid

from hypothesis import given
from hypothesis import strategies as st

from federation.model.dimension import DimensionUniverse
from federation.model.timespan import Timespan
from federation.snapshot.extents import Extent, ValidityIndex, intersection, merged, temporal_dimensions

BOUNDS = st.none() | st.integers(-5, 5)
TIMESPANS = st.lists(st.builds(Timespan, BOUNDS, BOUNDS), max_size=6)
MOMENTS = range(-8, 9)


def test_the_most_precise_dimension_says_when() -> None:
    universe = DimensionUniverse.default()
    assert temporal_dimensions(universe, universe.group(["exposure", "detector"])) == ("exposure",)
    assert temporal_dimensions(universe, universe.group(["visit"])) == ("visit",)
    assert temporal_dimensions(universe, universe.group(["day_obs"])) == ("day_obs",)
    assert temporal_dimensions(universe, universe.group(["tract", "band"])) == ()


@given(TIMESPANS)
def test_merging_keeps_every_moment_and_leaves_gaps_between(timespans: list[Timespan]) -> None:
    result = merged(timespans)
    for moment in MOMENTS:
        assert any(t.contains(moment) for t in result) == any(
            t.contains(moment) for t in timespans if not t.is_empty
        )
    for before, after in itertools.pairwise(result):
        assert before.end is not None
        assert after.begin is not None
        assert before.end < after.begin


@given(TIMESPANS.filter(bool))
def test_intersecting_keeps_the_common_moments(timespans: list[Timespan]) -> None:
    result = intersection(timespans)
    for moment in MOMENTS:
        assert result.contains(moment) == all(t.contains(moment) for t in timespans)


def test_a_calibration_matches_by_every_dimension_it_has() -> None:
    index = ValidityIndex()
    bias, other, general = (uuid.UUID(int=n) for n in range(3))
    for dataset_id in (bias, other, general):
        index.certify(dataset_id, Timespan(0, 10))
    index.describe(bias, ("instrument", "detector"), ("C", 1))
    index.describe(other, ("instrument", "detector"), ("C", 2))
    index.describe(general, ("instrument",), ("C",))
    assert index.matching(Extent({"instrument": "C", "detector": 1, "visit": 7}, Timespan(9, 12))) == {
        bias,
        general,
    }
    # data without a detector can't choose among calibrations of detectors
    assert index.matching(Extent({"instrument": "C", "visit": 7}, Timespan(9, 12))) == {general}
    assert index.matching(Extent({"instrument": "C", "detector": 1}, Timespan(10, 12))) == set()
