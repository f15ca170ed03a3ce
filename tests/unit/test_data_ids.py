"""Data IDs: made from what users write, in one order, never changed; and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import FederationError, UserError
from federation.model.alternate_keys import resolve_alternate_keys
from federation.model.data_id import DataId, ExpandedDataId
from federation.model.dimension import DimensionUniverse

UNIVERSE = DimensionUniverse.default()
RAW = UNIVERSE.group(["exposure", "detector"])
VALUES = {"exposure": 7, "detector": 94, "instrument": "LSSTCam"}


def raw(**values: Any) -> DataId:
    return DataId.standardize(UNIVERSE, RAW, {**VALUES, **values})


def test_has_its_keys_in_canonical_order_however_it_was_written() -> None:
    data_id = DataId.standardize(UNIVERSE, RAW, {"exposure": 7}, instrument="LSSTCam", detector=94)

    assert list(data_id) == ["instrument", "detector", "exposure"]
    assert data_id == raw()
    assert hash(data_id) == hash(raw())
    assert {data_id: 1}[raw()] == 1
    assert str(data_id) == "{instrument='LSSTCam', detector=94, exposure=7}"


def test_keys_are_shared_between_the_data_ids_of_a_group() -> None:
    other = UNIVERSE.group(["detector", "exposure", "instrument"])

    assert DataId.standardize(UNIVERSE, other, VALUES).keys_ is raw().keys_


def test_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        raw().values_ = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        raw()["detector"] = 5  # type: ignore[index]


def test_values_become_plain_ones() -> None:
    data_id = raw(exposure=np.int64(7), instrument=np.str_("LSSTCam"))

    assert data_id == raw()
    assert [type(value) for value in data_id.values()] == [str, int, int]


def test_implied_values_and_other_dimensions_are_left_out() -> None:
    assert raw(band="r", visit=3, physical_filter=None) == raw()


def test_a_dimension_may_have_the_name_of_a_parameter() -> None:
    group = UNIVERSE.group(["group"])

    assert dict(DataId.standardize(UNIVERSE, group, instrument="C", group="g")) == {
        "instrument": "C",
        "group": "g",
    }


def test_pixels_of_several_systems_are_values_like_others() -> None:
    group = UNIVERSE.group(["htm7", "healpix3", "htm11"])

    data_id = DataId.standardize(UNIVERSE, group, htm7=131072, healpix3=767, htm11=8 * 4**11)

    assert list(data_id) == ["htm7", "htm11", "healpix3"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataId.standardize(UNIVERSE, RAW, exposure=7), "lacks instrument, detector"),
        (lambda: raw(detector=None), "lacks detector"),
        (lambda: raw(exposure="7"), "data ID value exposure='7' is not of type int"),
        (lambda: raw(exposure=7.0), "data ID value exposure=7.0 is not of type int"),
        (lambda: raw(exposure=True), "data ID value exposure=True is not of type int"),
        (lambda: raw(exposure=2**63), "does not fit into 64 bits"),
        (lambda: raw(instrument=7), "data ID value instrument=7 is not of type str"),
        (lambda: raw(sensor=7), "unknown dimension 'sensor'"),
        (lambda: DataId.standardize(UNIVERSE, RAW, VALUES, exposure=8), "exposure=7 and exposure=8"),
        (lambda: DataId.standardize(UNIVERSE, UNIVERSE.group(["htm7"]), htm7=5), "htm7 has no pixel 5"),
        (lambda: raw().subset(UNIVERSE.group(["visit"])), "has no value for visit"),
        (lambda: raw().expanded(RAW, {"band": "r"}), "has no value for physical_filter, group, day_obs"),
        (lambda: DataId.from_text(UNIVERSE, RAW, "exposure=7 detector"), "can't be read from 'exposure=7 detector'"),
        (lambda: DataId.from_text(UNIVERSE, RAW, "exposure=7, exposure=7"), "has exposure twice"),
        (lambda: DataId.from_text(UNIVERSE, RAW, "exposure='7"), "can't be read from"),
    ],
)  # fmt: skip
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(FederationError) as caught:
        make()
    assert isinstance(caught.value, UserError)
    assert message in caught.value.message
    assert "\n" not in str(caught.value)


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_text_and_back_gives_the_same(instrument: str, exposure: int) -> None:
    data_id = raw(instrument=instrument, exposure=exposure)

    assert DataId.from_text(UNIVERSE, RAW, data_id.to_text()) == data_id


IMPLIED = {"band": "r", "physical_filter": "r_57", "day_obs": 20250101, "group": "g"}


def test_expanded_has_the_implied_values_too_and_gives_the_minimal_one() -> None:
    expanded = raw().expanded(RAW, IMPLIED)

    assert isinstance(expanded, ExpandedDataId)
    assert expanded.minimal == raw()
    assert list(expanded) == [*RAW.required, *RAW.implied]
    assert (expanded["band"], expanded["detector"]) == ("r", 94)
    assert expanded == raw().expanded(RAW, dict(reversed(IMPLIED.items())))
    assert len({expanded, raw().expanded(RAW, IMPLIED), raw().expanded(RAW, {**IMPLIED, "band": None})}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        expanded.implied_values = ()  # type: ignore[misc]


def test_a_subset_may_require_what_was_implied() -> None:
    expanded = raw().expanded(RAW, IMPLIED)

    filtered = expanded.subset(UNIVERSE.group(["physical_filter"]))

    assert dict(filtered.minimal) == {"instrument": "LSSTCam", "physical_filter": "r_57"}
    assert dict(filtered) == {"instrument": "LSSTCam", "physical_filter": "r_57", "band": "r"}
    assert dict(raw().subset(UNIVERSE.group(["detector"]))) == {"instrument": "LSSTCam", "detector": 94}
    with pytest.raises(UserError, match="has no value for band"):
        raw().expanded(RAW, {**IMPLIED, "band": None}).subset(UNIVERSE.group(["band"]))


RECORDS: dict[str, list[dict[str, Any]]] = {
    "detector": [
        {"instrument": "LSSTCam", "id": 94, "full_name": "R22_S11"},
        {"instrument": "LSSTCam", "id": 95, "full_name": "R22_S12"},
        {"instrument": "LATISS", "id": 0, "full_name": "RXX_S00"},
        {"instrument": "Test", "id": 1, "full_name": "R22_S11"},
    ],
    "exposure": [
        {"instrument": "LSSTCam", "id": 7, "obs_id": "MC_O_7"},
        {"instrument": "LATISS", "id": 8, "obs_id": "AT_O_8"},
    ],
    "visit": [{"instrument": "LSSTCam", "id": 7, "name": "MC_O_7"}],
    "visit_system": [{"instrument": "LSSTCam", "id": 1, "name": "MC_O_7"}],
    "skymap": [{"name": "sky", "hash": b"\1"}],
}


def lookup(element: str, columns: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [row for row in RECORDS[element] if all(row[name] == value for name, value in columns.items())]


def resolved(group: Any = RAW, /, **values: Any) -> dict[str, Any]:
    dotted = {name.replace("__", "."): value for name, value in values.items()}
    return resolve_alternate_keys(UNIVERSE, group, dotted, lookup)


@pytest.mark.parametrize(
    "given_values",
    [
        {"instrument": "LSSTCam", "detector": 94, "exposure": 7},
        {"instrument": "LSSTCam", "detector__full_name": "R22_S11", "exposure": 7},
        {"instrument": "LSSTCam", "full_name": "R22_S11", "exposure__obs_id": "MC_O_7"},
        {"instrument": "LSSTCam", "detector": "R22_S11", "exposure": "MC_O_7"},
        {"instrument": "LSSTCam", "detector": 94, "full_name": "R22_S11", "obs_id": "MC_O_7", "exposure": 7},
        # the instrument follows where one of its records is enough
        {"detector": 94, "obs_id": "MC_O_7"},
        {"full_name": "R22_S12", "obs_id": "MC_O_7", "detector": 95},
        # and where another key's record gives it
        {"full_name": "R22_S11", "obs_id": "MC_O_7"},
    ],
)
def test_alternate_keys_stand_for_dimensions(given_values: dict[str, Any]) -> None:
    found = DataId.standardize(UNIVERSE, RAW, resolved(**given_values))

    assert found == raw(detector=given_values.get("detector") if given_values.get("detector") == 95 else 94)


def test_a_key_of_bytes_is_one_too() -> None:
    assert resolved(UNIVERSE.group(["patch"]), skymap=b"\1", tract=1) == {"skymap": "sky", "tract": 1}


@pytest.mark.parametrize(
    ("given_values", "message"),
    [
        (
            {"instrument": "LSSTCam", "full_name": "R99"},
            "no detector has full_name 'R99' with instrument='LSSTCam'",
        ),
        ({"obs_id": "none"}, "no exposure has obs_id 'none'"),
        ({"full_name": "R22_S11"}, "is ambiguous: instrument may be 'LSSTCam', 'Test'"),
        (
            {"instrument": "LSSTCam", "detector": 95, "full_name": "R22_S11"},
            "contradicts itself: detector=95, but detector.full_name='R22_S11' is of detector 94",
        ),
        (
            {"instrument": "LATISS", "obs_id": "MC_O_7"},
            "no exposure has obs_id 'MC_O_7' with instrument='LATISS'",
        ),
        ({"full_name": "R22_S11", "detector__full_name": "R22_S12"}, "two values for detector.full_name"),
        ({"full_name": 94}, "detector.full_name=94 is not of type str"),
        ({"exposure__seq_num": 5}, "'exposure.seq_num' is neither a dimension nor an alternate key"),
        ({"sensor__id": 5}, "unknown dimension 'sensor'"),
        ({"serial": 5}, "'serial' is neither a dimension nor an alternate key"),
    ],
)
def test_refuses_alternate_keys(given_values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolved(**given_values)
    assert message in caught.value.message
    assert caught.value.hint


def test_a_key_of_two_dimensions_needs_its_dimension() -> None:
    group = UNIVERSE.group(["visit", "visit_system"])

    with pytest.raises(UserError, match="'name' is an alternate key of several dimensions") as caught:
        resolved(group, instrument="LSSTCam", name="MC_O_7")
    assert caught.value.hint == "write visit.name or visit_system.name"
    found = resolved(group, instrument="LSSTCam", visit__name="MC_O_7", visit_system=1)
    assert found["visit"] == 7
