"""Regions anywhere on the sky: which overlap, which contain a position, and which bytes are none."""

from __future__ import annotations

import itertools
import math

import lsst.sphgeom as sg
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from federation.errors import UserError
from federation.execution import spatial_join
from federation.execution.spatial_join import candidate_pairs, containing_pairs, overlapping_pairs
from federation.model.polygon_overlaps import APART, OPEN, OVERLAPPING, decided_overlaps
from federation.model.region import circle, decode_region, overlaps, polygon
from federation.model.region_arrays import PackedRegions, bounding_cones, check_regions
from federation.model.skypix import pixel_range, pixel_region, pixelization, skypix_id

#: places where coordinates are not like elsewhere: the poles, right ascension 0, and the middle of nowhere
PLACES = [(0.0, 90.0), (0.0, -90.0), (0.0, 0.0), (359.9999, 45.0), (180.0, 0.0), (77.7, -33.3)]


@st.composite
def regions(draw: st.DrawFn) -> bytes:
    ra, dec = draw(st.sampled_from(PLACES))
    ra += draw(st.floats(-3, 3))
    dec = max(-90.0, min(90.0, dec + draw(st.floats(-3, 3))))
    size = draw(st.sampled_from([0.001, 0.2, 1.5, 20.0, 70.0]))
    kind = draw(st.sampled_from("pppcbew"))
    centre = sg.UnitVector3d(sg.LonLat.fromDegrees(ra, dec))
    if kind == "c":
        return circle(ra, dec, size)
    if kind == "b":
        return sg.Box(sg.LonLat.fromDegrees(ra, dec), *[sg.Angle.fromDegrees(size)] * 2).encode()
    if kind == "e":
        angles = [sg.Angle.fromDegrees(a) for a in (size, size / 2, draw(st.floats(0, 180)))]
        return sg.Ellipse(centre, *angles).encode()
    if kind == "w":
        near, far = circle(ra, dec, size / 3), circle(ra + 40, -dec, size / 3)
        return sg.UnionRegion(sg.Region.decode(near), sg.Region.decode(far)).encode()
    # a polygon around the place, turned
    start, count = draw(st.floats(0, 90)), draw(st.integers(3, 6))
    axis = sg.UnitVector3d.orthogonalTo(centre)
    first = centre.rotatedAround(axis, sg.Angle.fromDegrees(size))
    turns = [sg.Angle.fromDegrees(start + 360 * i / count) for i in range(count)]
    return sg.ConvexPolygon.convexHull([first.rotatedAround(centre, turn) for turn in turns]).encode()


def pairs_of(left: list[bytes | None], right: list[bytes | None]) -> list[tuple[int, int]]:
    rows, others = overlapping_pairs(PackedRegions.pack(left), PackedRegions.pack(right))
    return sorted(zip(rows.tolist(), others.tolist(), strict=True))


def by_trying_all(left: list[bytes | None], right: list[bytes | None]) -> list[tuple[int, int]]:
    return [
        (i, j)
        for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right))
        if a is not None and b is not None and overlaps(a, b)
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(regions(), max_size=12), st.lists(regions(), max_size=12))
def test_the_join_finds_the_pairs_that_trying_all_finds(left: list[bytes], right: list[bytes]) -> None:
    certain = [
        (i, j)
        for (i, a), (j, b) in itertools.product(enumerate(left), enumerate(right))
        if decode_region(a).overlaps(decode_region(b)) is True
    ]

    found = pairs_of([*left, None], [None, *right])
    found = [(i, j - 1) for i, j in found]

    # where lsst-sphgeom can't tell, the bounding cones may know better
    assert set(certain) <= set(found) <= set(by_trying_all(left, right))
    simple = [all(r[:1] in {b"p", b"c"} for r in (left[i], right[j])) for i, j in by_trying_all(left, right)]
    assert len(found) >= sum(simple)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PLACES),
    st.sampled_from([0.02, 0.3, 4.0]),
    st.integers(0, 2**32),
    st.sampled_from([0.5, 3]),
)
@example((0.0, 90.0), 0.3, 0, 3)
@example(
    (0.0, 90.0), 0.02, 507, 3
)  # two circles 7 milliarcseconds apart, which lsst-sphgeom calls overlapping
def test_the_grid_loses_no_pair(place: tuple[float, float], size: float, seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)

    def around(count: int, scale: float) -> list[bytes | None]:
        middle = sg.UnitVector3d(sg.LonLat.fromDegrees(*place))
        axis = sg.UnitVector3d.orthogonalTo(middle)
        out: list[bytes | None] = []
        for distance, turn, radius in rng.uniform(0, 1, (count, 3)):
            centre = middle.rotatedAround(axis, sg.Angle.fromDegrees(10 * size * distance))
            centre = centre.rotatedAround(middle, sg.Angle.fromDegrees(360 * turn))
            out.append(sg.Circle(centre, sg.Angle.fromDegrees(scale * radius)).encode())
        return out

    left, right = around(90, size), around(70, size * ratio)

    assert pairs_of(left, right) == by_trying_all(left, right)


def test_every_pair_is_a_candidate_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatial_join, "_BLOCK", 7)
    many = [circle(ra, dec, 1) for ra in range(0, 60, 2) for dec in range(-20, 20, 2)]
    cones = bounding_cones(PackedRegions.pack(many))

    found = [pair for block in candidate_pairs(cones, cones) for pair in zip(*map(list, block), strict=True)]

    assert len(found) == len(set(found))
    assert {(int(i), int(j)) for i, j in found} >= set(by_trying_all(list(many), list(many)))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(regions(), max_size=6),
    st.lists(st.tuples(st.sampled_from(PLACES), st.floats(-4, 4)), max_size=30),
)
def test_containment_agrees_with_each_region(
    encoded: list[bytes], offsets: list[tuple[tuple[float, float], float]]
) -> None:
    ra = np.array([place[0] + offset for place, offset in offsets])
    dec = np.clip([place[1] + offset for place, offset in offsets], -90, 90)

    rows, others = containing_pairs(PackedRegions.pack(encoded), ra, dec)

    expected = {
        (i, j)
        for i, region in enumerate(map(decode_region, encoded))
        for j in range(len(ra))
        if region.contains(sg.UnitVector3d(sg.LonLat.fromDegrees(ra[j], dec[j])))
    }
    assert set(zip(rows.tolist(), others.tolist(), strict=True)) == expected
    assert len(rows) == len(expected)


def test_no_region_contains_a_position_that_is_not_finite() -> None:
    everywhere = PackedRegions.pack([circle(0, 0, 180)])

    rows, others = containing_pairs(
        everywhere, np.array([math.inf, math.nan, 3.0]), np.array([0.0, 1.0, math.nan])
    )

    assert rows.tolist() == others.tolist() == []
    with pytest.raises(UserError, match=r"declination -90\.5 is not between"):
        containing_pairs(everywhere, np.array([0.0]), np.array([-90.5]))


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spatial_join, "PAIR_COUNT_MAX", 3)
    whole_sky = [circle(0, 0, 180)] * 2

    with pytest.raises(spatial_join.LimitError, match="more than 3 pairs of regions overlap"):
        pairs_of(list(whole_sky), list(whole_sky))


def test_an_empty_region_overlaps_nothing() -> None:
    empty = sg.Circle().encode()

    assert pairs_of([empty], [circle(0, 0, 180)]) == []


def test_regions_over_right_ascension_0_and_the_poles_are_like_others() -> None:
    over_zero = polygon([(359.5, -0.5), (0.5, -0.5), (0.5, 0.5), (359.5, 0.5)])
    over_pole = polygon([(0, 89), (90, 89), (180, 89), (270, 89)])
    box_over_zero = sg.Box.fromDegrees(359, -1, 1, 1).encode()

    assert check_regions([over_zero, over_pole, box_over_zero]) is None
    assert pairs_of([over_zero, over_pole], [circle(360, 0, 0.1), circle(123, 90, 0.1), box_over_zero]) == [
        (0, 0),
        (0, 2),
        (1, 1),
    ]


GOOD = polygon([(10, 10), (11, 10), (11, 11)])


@settings(max_examples=150, deadline=None)
@given(regions())
def test_what_sphgeom_writes_is_a_region(encoded: bytes) -> None:
    assert check_regions([None, encoded, GOOD]) is None


def vertices(*triples: tuple[float, float, float]) -> bytes:
    return b"p" + np.array(triples, "<f8").tobytes()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"p",
        b"abc",
        GOOD[:-1],
        GOOD + b"\0",
        GOOD[:49],
        vertices((1, 0, 0), (0, 1, 0), (0, 0, 1.1)),
        vertices((1, 0, 0), (0, 1, 0), (0, math.nan, 1)),
        vertices((1, 0, 0), (0, 1, 0), (0, math.inf, 1)),
        vertices((0, 0, 1), (0, 1, 0), (1, 0, 0)),  # clockwise
        b"c" + np.array([1, 1, 0, 0.1, 0.1], "<f8").tobytes(),
        b"c" + np.array([1, 0, 0, 0.1, math.nan], "<f8").tobytes(),
        circle(1, 2, 3)[:-3],
        b"b" + b"\0" * 7,
        "text",
        7,
    ],
)
def test_bytes_that_are_no_region_are_found(bad: object) -> None:
    assert check_regions([GOOD, None, bad, GOOD, b"x"]) == 2  # type: ignore[list-item]
    assert check_regions([b"x", bad]) == 0  # type: ignore[list-item]


def test_the_counter_clockwise_octant_is_a_region() -> None:
    assert check_regions([vertices((1, 0, 0), (0, 1, 0), (0, 0, 1))]) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: circle(math.nan, 0, 1), "right ascension nan is not an angle"),
        (lambda: circle(0, 91, 1), "declination 91 is not between -90 and 90"),
        (lambda: circle(0, 0, 181), "radius 181 is not between 0 and 180"),
        (lambda: polygon([(0, 0), (1, 0)]), "2 positions span no polygon"),
        (lambda: polygon([(0, -20), (120, -20), (240, -20), (0, 80)]), "4 positions span no polygon"),
        (lambda: decode_region(b"pxyz"), "4 bytes starting 7078797a are not a region"),
        (lambda: pixelization("htm25"), "'htm25' is not a skypix system"),
        (lambda: pixelization("htm07"), "'htm07' is not a skypix system"),
        (lambda: pixelization("hex3"), "'hex3' is not a skypix system"),
        (lambda: pixel_region("healpix0", 12), "healpix0 has no pixel 12"),
        (lambda: skypix_id("htm7", 0, 95), "declination 95"),
    ],
)
def test_what_is_no_place_on_the_sky_is_refused(make: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()  # type: ignore[operator]
    assert message in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@settings(max_examples=150)
@given(st.lists(regions(), min_size=1, max_size=8), st.lists(regions(), min_size=1, max_size=8))
def test_what_is_decided_without_sphgeom_is_what_it_says(left: list[bytes], right: list[bytes]) -> None:
    pairs = list(itertools.product(range(len(left)), range(len(right))))
    rows, others = (np.array(side) for side in zip(*pairs, strict=True))
    decided = decided_overlaps(PackedRegions.pack(left), PackedRegions.pack(right), rows, others)
    for (i, j), said in zip(pairs, decided.tolist(), strict=True):
        assert said in (OPEN, OVERLAPPING if overlaps(left[i], right[j]) else APART)


def test_neighbours_that_share_an_edge_are_left_to_sphgeom_and_others_are_decided() -> None:
    side = 0.5

    def square(ra: float, dec: float) -> bytes:
        return polygon([(ra, dec), (ra + side, dec), (ra + side, dec + side), (ra, dec + side)])

    tiles = PackedRegions.pack([square(10 + side * i, 0) for i in range(4)])
    shifted = PackedRegions.pack([square(10 + side / 2, side / 3)])
    cross = PackedRegions.pack([polygon([(10.2, -1), (10.3, -1), (10.3, 2), (10.2, 2)])])
    rows, others = np.arange(4), np.zeros(4, np.int64)
    assert decided_overlaps(tiles, shifted, rows, others).tolist() == [OVERLAPPING, OVERLAPPING, APART, APART]
    assert decided_overlaps(tiles, tiles, rows, rows[::-1].copy()).tolist() == [APART, OPEN, OPEN, APART]
    assert decided_overlaps(tiles, cross, rows, others).tolist() == [OPEN, APART, APART, APART]


@pytest.mark.parametrize("system", ["htm0", "htm7", "htm24", "healpix0", "healpix9", "healpix17"])
@pytest.mark.parametrize("place", PLACES)
def test_a_position_is_in_its_pixel(system: str, place: tuple[float, float]) -> None:
    pixel = skypix_id(system, *place)
    begin, end = pixel_range(system)

    assert begin <= pixel < end
    assert overlaps(pixel_region(system, pixel), circle(*place, 1e-4))
