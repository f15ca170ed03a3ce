"""The closure: all that chosen datasets need, nothing else, in few rounds."""

from __future__ import annotations

import uuid

import pytest
from federation_rows import UNIVERSE, Sites, column, fixpoint
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import ConflictError
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.snapshot.closure import ClosureState
from federation.snapshot.lookup import RowsByIds, RowsByKeys

RAW = DatasetType("raw", ("instrument", "exposure", "detector"), "Exposure")
CALEXP = DatasetType("calexp", ("instrument", "visit", "detector"), "ExposureF")
BIAS = DatasetType("bias", ("instrument", "detector"), "ExposureF", is_calibration=True)
FLAT = DatasetType("flat", ("instrument", "detector", "physical_filter"), "ExposureF", is_calibration=True)
SKY_MAP = DatasetType("deepCoadd", ("skymap", "tract", "patch", "band"), "ExposureF")
CAMERA = DatasetType("camera", ("instrument",), "Camera")
HOUR = 3_600_000_000_000


def uid(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


@pytest.fixture
def night() -> Sites:
    """Three exposures of two detectors at the summit, calibrations at base, a processed image at ncsa."""
    sites = Sites()
    for site, dataset_type in [
        ("summit", RAW),
        ("base", BIAS),
        ("base", FLAT),
        ("ncsa", CALEXP),
        ("ncsa", RAW),
    ]:
        sites.declare(site, dataset_type)
    sites.put("summit", "instrument", name="LSSTCam")
    sites.put("summit", "band", name="r")
    sites.put("summit", "physical_filter", instrument="LSSTCam", name="r_57", band="r")
    sites.put(
        "summit", "day_obs", instrument="LSSTCam", id=20261103, timespan_begin=0, timespan_end=24 * HOUR
    )
    sites.put("base", "visit_system", instrument="LSSTCam", id=1, name="by-group")
    for detector in (1, 2, 3):
        sites.put("summit", "detector", instrument="LSSTCam", id=detector, full_name=f"R22_S0{detector}")
    for n in (1, 2, 3):
        extent = {"timespan_begin": n * HOUR, "timespan_end": n * HOUR + HOUR // 2}
        sites.put("summit", "group", instrument="LSSTCam", name=f"g{n}")
        sites.put(
            "summit", "exposure", instrument="LSSTCam", id=n, obs_id=f"e{n}", physical_filter="r_57",
            group=f"g{n}", day_obs=20261103, **extent,
        )  # fmt: skip
        sites.put(
            "base", "visit", instrument="LSSTCam", id=n, name=f"v{n}", physical_filter="r_57", day_obs=20261103,
            region=b"r", **extent,
        )  # fmt: skip
        sites.put("base", "visit_definition", instrument="LSSTCam", exposure=n, visit=n)
        sites.put("base", "visit_system_membership", instrument="LSSTCam", visit=n, visit_system=1)
        for detector in (1, 2):
            sites.put(
                "base", "visit_detector_region", instrument="LSSTCam", visit=n, detector=detector, region=b"d"
            )
            sites.dataset(
                "summit", "raw", "LSSTCam/raw/all", uid(100 * n + detector), instrument="LSSTCam", exposure=n,
                detector=detector, physical_filter="r_57", band="r", group=f"g{n}", day_obs=20261103,
            )  # fmt: skip
            sites.put(
                "summit", "artifact", dataset_id=uid(100 * n + detector), site="summit", uri="x", present=True
            )
    for name in ("LSSTCam/raw/all", "calib/run1", "u/alice/run"):
        sites.put("summit", "collection", name=name, type="RUN")
    for detector in (1, 2):
        for generation in (1, 2):
            bias, flat = uid(1000 * generation + detector), uid(1000 * generation + 500 + detector)
            sites.dataset("base", "bias", "calib/run1", bias, instrument="LSSTCam", detector=detector)
            sites.dataset(
                "base", "flat", "calib/run1", flat, instrument="LSSTCam", detector=detector, physical_filter="r_57",
                band="r",
            )  # fmt: skip
            # the first generation is valid during exposure 1, the second from exposure 2 on
            begin, end = (None, 2 * HOUR) if generation == 1 else (2 * HOUR, None)
            for kind, dataset_id in (("bias", bias), ("flat", flat)):
                sites.put(
                    "base", "calibration", collection="calib", dataset_id=dataset_id, dataset_type=kind,
                    timespan_begin=begin, timespan_end=end, validity_id=uuid.uuid5(dataset_id, "v"),
                )  # fmt: skip
    sites.put("base", "collection", name="calib", type="CALIBRATION")
    sites.put("base", "collection", name="defaults", type="CHAINED")
    sites.put("base", "collection_chain", parent="defaults", position=0, child="LSSTCam/raw/all")
    sites.put("base", "collection_chain", parent="defaults", position=1, child="calib")
    sites.put("base", "collection_chain", parent="unasked", position=0, child="calib")
    sites.dataset(
        "ncsa", "calexp", "u/alice/run", uid(1), instrument="LSSTCam", visit=1, detector=1, physical_filter="r_57",
        band="r", day_obs=20261103,
    )  # fmt: skip
    sites.put("ncsa", "provenance", dataset_id=uid(1), input_id=uid(101), task="isr")
    return sites


class TestAProcessedImage:
    def test_brings_its_inputs_from_other_sites(self, night: Sites) -> None:
        closure = night.closure([uid(1)])
        assert closure.members == {uid(1), uid(101)}
        assert column(closure, "raw", "dataset_id") == {uid(101)}
        assert column(closure, "artifact", "dataset_id") == {uid(101)}
        assert column(closure, "provenance", "dataset_id", "input_id") == {(uid(1), uid(101))}
        assert column(closure, "dataset_type", "name") == {"raw", "calexp"}
        assert column(closure, "collection", "name") == {"LSSTCam/raw/all", "u/alice/run"}
        assert closure.missing == {}

    def test_brings_the_records_of_its_dimensions_and_what_they_imply(self, night: Sites) -> None:
        closure = night.closure([uid(1)])
        assert column(closure, "visit", "id") == {1}
        assert column(closure, "exposure", "id") == {1}
        assert column(closure, "detector", "id") == {1}
        assert column(closure, "group", "name") == {"g1"}
        assert column(closure, "day_obs", "id") == {20261103}
        assert column(closure, "physical_filter", "name") == {"r_57"}
        assert column(closure, "band", "name") == {"r"}
        assert column(closure, "instrument", "name") == {"LSSTCam"}

    def test_brings_relations_between_its_dimensions_only(self, night: Sites) -> None:
        closure = night.closure([uid(1)])
        assert column(closure, "visit_detector_region", "visit", "detector") == {(1, 1)}
        assert column(closure, "visit_definition", "exposure", "visit") == {(1, 1)}
        assert column(closure, "visit_system_membership", "visit", "visit_system") == {(1, 1)}
        assert column(closure, "visit_system", "id") == {1}

    def test_leaves_out_exposures_of_its_visit_that_it_was_not_made_from(self, night: Sites) -> None:
        night.put("base", "visit_definition", instrument="LSSTCam", exposure=2, visit=1)
        closure = night.closure([uid(1)])
        assert column(closure, "visit_definition", "exposure", "visit") == {(1, 1)}
        assert column(closure, "exposure", "id") == {1}

    def test_keeps_rows_of_two_schemas_apart(self, night: Sites) -> None:
        night.put("ncsa", "instrument", name="LSSTCam")
        closure = night.closure([uid(1)])
        assert [str(part.source) for part in closure.table("instrument")] == ["ncsa/ncsa", "summit/summit"]
        assert [str(part.source) for part in closure.table("dataset_type")] == ["ncsa/ncsa", "summit/summit"]

    def test_needs_as_many_rounds_as_its_inputs_are_deep_and_a_few(self, night: Sites) -> None:
        assert night.closure([uid(1)]).rounds <= 6


class TestCalibrations:
    def test_valid_for_the_data_come_along_when_their_collection_is_named(self, night: Sites) -> None:
        closure = night.closure([uid(1)], calibration_collections=["calib"])
        assert closure.members == {uid(1), uid(101), uid(1001), uid(1501)}
        assert column(closure, "flat", "detector", "physical_filter") == {(1, "r_57")}
        assert column(closure, "calibration", "dataset_id") == {uid(1001), uid(1501)}
        assert "calib" in column(closure, "collection", "name")

    def test_are_found_through_a_chain(self, night: Sites) -> None:
        closure = night.closure([uid(302)], calibration_collections=["defaults"])
        assert closure.members == {uid(302), uid(2002), uid(2502)}
        assert column(closure, "collection_chain", "parent", "child") == {
            ("defaults", "LSSTCam/raw/all"),
            ("defaults", "calib"),
        }

    def test_of_two_generations_come_along_when_data_need_both(self, night: Sites) -> None:
        closure = night.closure([uid(101), uid(201)], calibration_collections=["calib"])
        assert {uid(1001), uid(2001)} <= closure.members
        assert uid(1002) not in closure.members

    def test_follow_the_exposure_not_its_whole_night(self, night: Sites) -> None:
        night.put(
            "base", "calibration", collection="calib", dataset_id=uid(1002), dataset_type="bias",
            timespan_begin=20 * HOUR, timespan_end=None, validity_id=uid(77),
        )  # fmt: skip
        assert uid(1002) not in night.closure([uid(302)], calibration_collections=["calib"]).members

    def test_bring_their_own_inputs(self, night: Sites) -> None:
        night.put("base", "provenance", dataset_id=uid(1001), input_id=uid(301), task="combine")
        closure = night.closure([uid(1)], calibration_collections=["calib"])
        assert uid(301) in closure.members
        # and what is valid for those inputs in turn
        assert uid(2001) in closure.members

    def test_considered_first_and_reached_as_input_later_have_their_records(self, night: Sites) -> None:
        # the bias of detector 2 is looked at because it is valid at the time, and a member only two inputs further on
        night.put("ncsa", "provenance", dataset_id=uid(101), input_id=uid(201), task="x")
        night.put("ncsa", "provenance", dataset_id=uid(201), input_id=uid(301), task="x")
        for n in range(400, 410):
            night.put(
                "ncsa", "provenance", dataset_id=uid(301 if n == 400 else n - 1), input_id=uid(n), task="x"
            )
        night.put("ncsa", "provenance", dataset_id=uid(409), input_id=uid(1002), task="x")
        closure = night.closure([uid(1)], calibration_collections=["calib"])
        assert uid(1002) in closure.members
        assert column(closure, "detector", "id") == {1, 2}

    def test_chosen_themselves_bring_their_validity_ranges(self, night: Sites) -> None:
        closure = night.closure([uid(1001)])
        assert closure.members == {uid(1001)}
        assert column(closure, "calibration", "dataset_id", "timespan_end") == {(uid(1001), 2 * HOUR)}
        assert "calib" in column(closure, "collection", "name")

    def test_of_collections_not_named_stay_where_they_are(self, night: Sites) -> None:
        assert night.closure([uid(1)], collections=["calib"]).members == {uid(1), uid(101)}

    def test_are_not_sought_for_data_without_a_time(self, night: Sites) -> None:
        night.declare("ncsa", CAMERA)
        night.dataset("ncsa", "camera", "u/alice/run", uid(9), instrument="LSSTCam")
        assert night.closure([uid(9)], calibration_collections=["calib"]).members == {uid(9)}


class TestCollections:
    def test_that_were_named_come_as_definitions_without_their_datasets(self, night: Sites) -> None:
        closure = night.closure([uid(101)], collections=["defaults"])
        assert column(closure, "collection", "name") == {"LSSTCam/raw/all", "defaults", "calib"}
        assert column(closure, "collection_chain", "parent") == {"defaults"}
        assert closure.members == {uid(101)}

    def test_that_tag_members_come_with_those_tags_only(self, night: Sites) -> None:
        night.put("ncsa", "collection", name="best", type="TAGGED")
        for number in (101, 201):
            night.put(
                "ncsa", "collection_member", collection="best", dataset_id=uid(number), dataset_type="raw"
            )
        closure = night.closure([uid(101)])
        assert column(closure, "collection_member", "collection", "dataset_id") == {("best", uid(101))}
        assert "best" in column(closure, "collection", "name")

    def test_that_chain_in_a_circle_end(self, night: Sites) -> None:
        night.put("base", "collection_chain", parent="calib", position=0, child="defaults")
        night.closure([uid(101)], collections=["defaults"])


class TestWhatNobodyHas:
    def test_is_named(self, night: Sites) -> None:
        night.put("ncsa", "provenance", dataset_id=uid(101), input_id=uid(666), task="x")
        night.rows = type(night.rows)(
            list,
            {
                key: [row for row in rows if key[1] != "group" and row.get("name") != "LSSTCam/raw/all"]
                for key, rows in night.rows.items()
            },
        )
        closure = night.closure([uid(101), uid(667)], collections=["nowhere"])
        assert closure.missing == {
            "dataset": ((uid(666),), (uid(667),)),
            "collection": (("LSSTCam/raw/all",), ("nowhere",)),
            "group": (("LSSTCam", "g1"),),
        }

    def test_may_be_a_dataset_type(self, night: Sites) -> None:
        night.put("ncsa", "dataset", dataset_id=uid(5), dataset_type="lost", run="r", ingest_date=0)
        assert night.closure([uid(5)]).missing["dataset_type"] == (("lost",),)


class TestContradictions:
    def test_between_definitions_of_a_type_are_refused(self, night: Sites) -> None:
        night.put("base", "dataset_type", **DatasetType("raw", ("instrument",), "X").to_row())
        with pytest.raises(ConflictError, match="'raw' has dimensions"):
            night.closure([uid(101)])

    def test_about_the_type_of_a_dataset_are_refused(self, night: Sites) -> None:
        night.put("base", "dataset", dataset_id=uid(101), dataset_type="bias", run="r", ingest_date=0)
        with pytest.raises(ConflictError, match="in one schema and a"):
            night.closure([uid(101)])


class TestRounds:
    def test_ask_for_nothing_twice(self, night: Sites) -> None:
        night.closure([uid(1), uid(201)], collections=["defaults"], calibration_collections=["calib"])
        asked: set[object] = set()
        for lookup in night.lookups:
            if isinstance(lookup, RowsByIds | RowsByKeys):
                values = lookup.ids if isinstance(lookup, RowsByIds) else lookup.keys
                columns = lookup.column if isinstance(lookup, RowsByIds) else lookup.columns
                new = {(lookup.table, columns, value) for value in values}
                assert not new & asked
                asked |= new

    def test_of_nothing_are_none(self) -> None:
        state = ClosureState(UNIVERSE)
        assert state.start([]) == ()
        assert state.closure().members == frozenset()

    def test_are_few_for_long_histories_when_sites_follow_edges_themselves(self) -> None:
        sites = Sites()
        sites.declare("summit", CAMERA)
        for number in range(50):
            sites.dataset("summit", "camera", "r", uid(number), instrument="X")
            sites.put("base", "provenance", dataset_id=uid(number), input_id=uid(number + 1))
        one_hop = sites.closure([uid(0)])
        sites.follows = True
        followed = sites.closure([uid(0)])
        assert followed.members == one_hop.members == {uid(number) for number in range(51)}
        assert one_hop.rounds > 50
        assert followed.rounds <= 5

    def test_do_not_take_in_edges_that_were_not_asked_for(self) -> None:
        state = ClosureState(UNIVERSE)
        sites = Sites()
        sites.put("base", "provenance", dataset_id=uid(7), input_id=uid(8))
        state.start([uid(1)])
        state.receive(sites.answer(RowsByIds("provenance", "dataset_id", frozenset({uid(7)}))))
        assert state.closure().members == {uid(1)}
        assert state.closure().rows == ()


EDGES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from(["summit", "base", "ncsa"]))
)


class TestAgainstAPlainOracle:
    @given(edges=EDGES, seeds=st.sets(st.integers(0, 30)), follows=st.booleans(), data=st.data())
    def test_any_graph_over_three_sites(self, edges, seeds, follows, data) -> None:
        """Members, rows and calibrations equal a fixpoint over the union of all sites."""
        sites = Sites(follows=follows)
        sites.declare("summit", RAW)
        sites.declare("base", BIAS)
        for e in range(4):
            sites.put(
                "base", "exposure", instrument="C", id=e, obs_id=str(e), timespan_begin=e, timespan_end=e + 1
            )
        kinds = data.draw(st.lists(st.sampled_from(["raw", "bias"]), min_size=31, max_size=31))
        ranges: dict[int, tuple[int, int]] = {}
        values: dict[int, tuple[int, int]] = {}
        for number, kind in enumerate(kinds):
            exposure, detector = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 2)))
            values[number] = (exposure, detector)
            site = data.draw(st.sampled_from(["summit", "base"]))
            data_id = {"instrument": "C", "detector": detector}
            if kind == "raw":
                data_id["exposure"] = exposure
            elif data.draw(st.booleans()):
                ranges[number] = (exposure, exposure + data.draw(st.integers(0, 2)))
                sites.put(
                    "ncsa", "calibration", collection="calib", dataset_id=uid(number), dataset_type="bias",
                    timespan_begin=ranges[number][0], timespan_end=ranges[number][1], validity_id=uid(number),
                )  # fmt: skip
            sites.dataset(site, kind, f"run{number % 3}", uid(number), **data_id)
        sites.put("ncsa", "collection", name="calib", type="CALIBRATION")
        inputs: dict[int, list[int]] = {}
        for made, used, site in edges:
            inputs.setdefault(made, []).append(used)
            sites.put(site, "provenance", dataset_id=uid(made), input_id=uid(used))
        search = data.draw(st.booleans())

        def needs(number: int) -> list[int]:
            out = list(inputs.get(number, ()))
            if search and kinds[number] == "raw":
                exposure, detector = values[number]
                out += [
                    other
                    for other, (begin, end) in ranges.items()
                    if begin < end
                    and begin < exposure + 1
                    and exposure < end
                    and values[other][1] == detector
                ]
            return out

        members = fixpoint(seeds, needs)
        closure = sites.closure(
            [uid(number) for number in seeds], calibration_collections=["calib"] if search else []
        )
        assert closure.members == {uid(number) for number in members}
        assert column(closure, "dataset", "dataset_id") == closure.members
        for kind in ("raw", "bias"):
            assert column(closure, kind, "dataset_id") == {uid(n) for n in members if kinds[n] == kind}
        assert column(closure, "provenance", "dataset_id", "input_id") == {
            (uid(made), uid(used)) for made in members for used in inputs.get(made, ())
        }
        assert column(closure, "exposure", "id") == {values[n][0] for n in members if kinds[n] == "raw"}
        assert column(closure, "calibration", "dataset_id") == {uid(n) for n in members if n in ranges}
        # nobody has detectors: every one a member needs is reported
        wanted = {("C", values[number][1]) for number in members}
        assert set(closure.missing.get("detector", ())) == wanted


class TestActivitiesAndMetrics:
    def test_come_with_the_datasets_that_they_are_about(self, night: Sites) -> None:
        night.put("ncsa", "activity", activity_id=uid(7), task="isr")
        night.put("ncsa", "activity_dataset", activity_id=uid(7), dataset_id=uid(1), role="output")
        night.put("ncsa", "activity_dataset", activity_id=uid(7), dataset_id=uid(101), role="input")
        night.put("ncsa", "metric", dataset_id=uid(1), name="seeing", value=0.7)
        night.put("base", "metric", dataset_id=uid(101), name="seeing", value=0.8)
        night.put("base", "metric", dataset_id=uid(102), name="seeing", value=0.9)
        closure = night.closure([uid(1)])
        assert column(closure, "activity", "activity_id") == {uid(7)}
        assert column(closure, "activity_dataset", "dataset_id", "role") == {
            (uid(1), "output"), (uid(101), "input"),
        }  # fmt: skip
        assert column(closure, "metric", "dataset_id", "value") == {(uid(1), 0.7), (uid(101), 0.8)}
        assert closure.missing == {}

    def test_leave_out_what_else_was_made_from_or_with_a_member(self, night: Sites) -> None:
        night.put("ncsa", "activity", activity_id=uid(7), task="isr")
        night.put("ncsa", "activity", activity_id=uid(8), task="other")
        night.put("ncsa", "activity_dataset", activity_id=uid(7), dataset_id=uid(1), role="output")
        night.put("ncsa", "activity_dataset", activity_id=uid(7), dataset_id=uid(102), role="output")
        night.put("ncsa", "activity_dataset", activity_id=uid(8), dataset_id=uid(101), role="input")
        closure = night.closure([uid(1)])
        assert column(closure, "activity", "activity_id") == {uid(7)}
        assert column(closure, "activity_dataset", "dataset_id") == {uid(1)}

    def test_that_nobody_has_are_reported(self, night: Sites) -> None:
        night.put("ncsa", "activity_dataset", activity_id=uid(7), dataset_id=uid(1), role="output")
        assert night.closure([uid(1)]).missing == {"activity": ((uid(7),),)}


def test_knows_no_dimension_by_name() -> None:
    """The rules hold in a universe with other words."""
    universe = DimensionUniverse.parse(
        """
        version = 1
        [element.lab]
        keys = [{ name = "name", type = "string" }]
        [element.colour]
        keys = [{ name = "name", type = "string" }]
        [element.shot]
        keys = [{ name = "id", type = "int" }]
        requires = ["lab"]
        implies = ["colour"]
        timespan = true
        [element.series]
        keys = [{ name = "id", type = "int" }]
        requires = ["lab"]
        [element.shot_series]
        requires = ["shot", "series"]
        """
    )
    state = ClosureState(universe)
    state.start([uid(1)])
    sites = Sites(columns={table.name: table.stored_names for table in _tables(universe)})
    sites.columns["photo"] = ("dataset_id", "run", "lab", "shot", "colour")
    sites.put("a", "dataset_type", **DatasetType("photo", ("shot",), "X").to_row())
    sites.put("a", "dataset", dataset_id=uid(1), dataset_type="photo", run="r", ingest_date=0)
    sites.put("a", "photo", dataset_id=uid(1), run="r", lab="L", shot=3, colour="red")
    sites.put("a", "lab", name="L")
    sites.put("a", "colour", name="red")
    sites.put("a", "shot", lab="L", id=3, colour="red", timespan_begin=0, timespan_end=1)
    sites.put("a", "series", lab="L", id=8)
    sites.put("a", "shot_series", lab="L", shot=3, series=8)
    state = ClosureState(universe)
    requests = state.start([uid(1)])
    while requests:
        requests = state.receive([answer for lookup in requests for answer in sites.answer(lookup)])
    closure = state.closure()
    assert column(closure, "series", "lab", "id") == {("L", 8)}
    assert column(closure, "colour", "name") == {"red"}
    assert column(closure, "shot_series", "shot", "series") == {(3, 8)}


def _tables(universe: DimensionUniverse):
    from federation.model.logical import dimension_tables
    from federation.model.system_tables import system_tables

    return (*system_tables(), *dimension_tables(universe))
