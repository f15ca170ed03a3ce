"""Reading registry export files of lsst-daf-butler: real ones, old ones, wrong ones."""

from __future__ import annotations

import importlib.util
import random
import re
import textwrap
import uuid
from pathlib import Path
from typing import Any

import pytest
from lsst.sphgeom import ConvexPolygon

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType, dimension_tables
from federation.model.region import decode_region
from federation.model.timespan import Timespan, parse_tai
from federation.registry.butler.fields import is_of_type
from federation.registry.butler.reading import (
    ButlerExport,
    ExportedDataset,
    ValidityRange,
    merge_exports,
    parse_export,
    read_export,
    select,
)
from federation.registry.butler.universes import STEPS

UNIVERSE = DimensionUniverse.default()
REPOSITORY = Path(__file__).resolve().parents[2]
DEMO_EXPORT = REPOSITORY.parent / "shared" / "data" / "butler-export" / "export.yaml"
#: hexadecimal encoding of a small triangle
TRIANGLE = (
    "70000000000000f03f00000000000000000000000000000000"
    "0000000000000000000000000000f03f0000000000000000"
    "00000000000000000000000000000000000000000000f03f"
)
ID1, ID2, ID3 = (uuid.UUID(int=value) for value in (1, 2, 3))


def registry_data() -> Path:
    """The directory of the exports that lsst-daf-butler ships for its own tests."""
    # the parent first: find_spec raises where that is missing
    spec = importlib.util.find_spec("lsst.daf") and importlib.util.find_spec("lsst.daf.butler")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("lsst-daf-butler, whose export files are read here, is not installed")
    return Path(spec.submodule_search_locations[0]) / "tests" / "registry_data"


def shipped(*names: str) -> ButlerExport:
    return merge_exports(
        [read_export(registry_data() / f"{name}.yaml", UNIVERSE) for name in names], UNIVERSE
    )


def demo() -> ButlerExport:
    if not DEMO_EXPORT.exists():
        pytest.skip(f"the example export {DEMO_EXPORT} is not here")
    return read_export(DEMO_EXPORT, UNIVERSE)


def text(data: str, *, universe: int = 8, version: str = "1.0.2") -> str:
    head = f"description: Butler Data Repository Export\nversion: {version}\nuniverse_version: {universe}\n"
    return f"{head}universe_namespace: daf_butler\ndata:\n{textwrap.dedent(data).strip()}\n"


def parse(data: str, *, universe: int = 8, version: str = "1.0.2") -> ButlerExport:
    return parse_export(text(data, universe=universe, version=version), UNIVERSE, where="x.yaml")


def refusal(data: str, **kwargs: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        parse(data, **kwargs)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return caught.value


def counts(export: ButlerExport) -> dict[str, int]:
    return {name: len(rows) for name, rows in export.dimension_records.items()}


def row(export: ButlerExport, element: str, **key: Any) -> dict[str, Any]:
    (found,) = (r for r in export.dimension_records[element] if all(r[k] == v for k, v in key.items()))
    return found


# --- files that real Butlers wrote ---


def test_reads_every_file_that_the_butler_ships_for_its_tests() -> None:
    names = sorted(path.stem for path in registry_data().glob("*.yaml"))
    assert names == [
        "base",
        "ci_hsc-subset",
        "ci_hsc-subset-skymap",
        "datasets",
        "hsc-rc2-subset-v0",
        "lsstcam-subset",
        "spatial",
    ]
    for name in names:
        export = shipped(name)
        for table in dimension_tables(UNIVERSE):
            for record in export.dimension_records.get(table.name, ()):
                assert tuple(record) == table.column_names
                if record.get("region") is not None:
                    assert isinstance(decode_region(record["region"]), ConvexPolygon)
        assert list(export.dimension_records) == [
            name for name in UNIVERSE.element_names if name in export.dimension_records
        ]


def test_joins_files_that_refer_to_one_another() -> None:
    export = shipped("base", "datasets")
    assert len(export.datasets) == 13
    assert [(c.name, c.type) for c in export.collections] == [
        ("imported_g", CollectionType.RUN),
        ("imported_r", CollectionType.RUN),
    ]
    assert {t.name: (t.dimensions, t.storage_class, t.is_calibration) for t in export.dataset_types} == {
        "flat": (("instrument", "band", "physical_filter", "detector"), "Exposure", True),
        "bias": (("instrument", "detector"), "Exposure", True),
    }
    assert export.datasets[0] == ExportedDataset(
        "bias",
        "imported_g",
        uuid.UUID("e15ab039-bc8b-4135-87c5-90902a7c0b22"),
        {"instrument": "Cam1", "detector": 1},
        "placeholder",
    )
    assert export.universe_version == 6
    groups = {item.name: UNIVERSE.group(item.dimensions) for item in export.dataset_types}
    for dataset in export.datasets:
        DataId.standardize(UNIVERSE, groups[dataset.dataset_type], dataset.data_id)


def test_reads_calexps_and_their_visits() -> None:
    export = shipped("ci_hsc-subset")
    assert [d.dataset_type for d in export.datasets] == ["calexp"] * 33
    assert counts(export) == {
        "instrument": 1,
        "band": 2,
        "physical_filter": 2,
        "detector": 16,
        "day_obs": 2,
        "visit": 11,
        "visit_detector_region": 33,
    }
    visit = row(export, "visit", id=903334)
    assert visit["timespan_begin"] == parse_tai("2013-06-17 13:29:11.039")
    assert (visit["physical_filter"], visit["day_obs"], visit["azimuth"]) == ("HSC-R", 20130617, 157.95888945)
    (dataset,) = (d for d in export.datasets if d.dataset_id.hex.startswith("1b3a4c19"))
    assert dataset.data_id == {"instrument": "HSC", "detector": 23, "visit": 903334}
    assert dataset.path is not None
    assert dataset.path.endswith("_0_26_HSC_runs_ci_hsc_20240806T180642Z.fits")


def test_reads_hashes_as_bytes() -> None:
    (skymap,) = shipped("ci_hsc-subset-skymap").dimension_records["skymap"]
    assert skymap["hash"].hex() == "2adeecc10f5ee735227fb7e8d4e9e3ddecc7f93b"


def test_derives_bands_from_the_filters_that_imply_them() -> None:
    assert shipped("base").dimension_records["band"] == ({"name": "g"}, {"name": "r"})


def test_brings_a_file_of_universe_0_up_to_date() -> None:
    export = shipped("hsc-rc2-subset-v0")
    assert (export.universe_version, export.format_version) == (0, "1.0.0")
    visit = row(export, "visit", id=11690)
    # bare times of old files are UTC, 35 s behind TAI in 2014
    assert visit["timespan_begin"] == parse_tai("2014-11-18 12:57:22.112")
    assert visit["day_obs"] == 20141118
    assert visit["seq_num"] is None
    assert export.dimension_records["visit_system_membership"] == (
        {"instrument": "HSC", "visit": 11690, "visit_system": 0},
        {"instrument": "HSC", "visit": 23868, "visit_system": 0},
    )
    assert export.dimension_records["group"] == ({"instrument": "HSC", "name": "903342"},)
    exposure = row(export, "exposure", id=903342)
    assert (exposure["group"], exposure["can_see_sky"], exposure["has_simulated"]) == ("903342", None, False)
    assert [r["id"] for r in export.dimension_records["day_obs"]] == [20130617, 20141118, 20150318]
    assert all(r["timespan_begin"] is None for r in export.dimension_records["day_obs"])
    assert [w.rpartition(": ")[2] for w in export.warnings] == [
        "day_obs records of HSC made from its observations have no timespan",
        "taken from the TAI date of its begin",
    ]


def test_keeps_nanoseconds() -> None:
    exposure = row(shipped("lsstcam-subset"), "exposure", id=2025120200439)
    assert exposure["timespan_begin"] == parse_tai("2025-12-03 07:59:07.425363958")


def test_reads_chains_tags_and_validity_ranges() -> None:
    export = demo()
    assert len(export.datasets) == 166
    assert {t.name for t in export.dataset_types} == {"bias", "calexp", "camera", "flat", "metrics", "raw"}
    collections = {c.name: c for c in export.collections}
    assert collections["DemoCam/good"] == Collection(
        "DemoCam/good", CollectionType.TAGGED, "raws a person liked"
    )
    assert collections["DemoCam/defaults"].children == (
        "u/alice/test",
        "DemoCam/runs/w02",
        "DemoCam/runs/w01",
        "DemoCam/raw/all",
        "DemoCam/calib",
    )
    change = parse_tai("2026-01-02 01:04:00")
    assert [(v.collection, v.timespan, len(v.dataset_ids)) for v in export.validity] == [
        ("DemoCam/calib", Timespan(parse_tai("2025-06-01"), change), 16),
        ("DemoCam/calib", Timespan(None, None), 1),
        ("DemoCam/calib", Timespan(change, None), 16),
    ]
    assert {name: len(members) for name, members in export.tags.items()} == {"DemoCam/good": 16}
    assert counts(export)["visit_detector_region"] == 48
    assert export.warnings == ()


def butler_rows(butler: Any, element: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The records of an element as a real Butler holds them, in our columns."""
    from lsst.daf.butler.time_utils import TimeConverter

    out = {}
    for record in butler.registry.queryDimensionRecords(element):
        values = record.toDict()
        span = values.pop("timespan", None)
        if UNIVERSE[element].has_region:
            values["region"] = values["region"].encode() if values.get("region") is not None else None
        if UNIVERSE[element].has_timespan:
            for name in ("begin", "end"):
                bound = None if span is None else getattr(span, name)
                tai = None if bound is None else TimeConverter().astropy_to_nsec(bound)
                values[f"timespan_{name}"] = tai
        out[tuple(values[column] for column in UNIVERSE.table_key(element))] = values
    return out


def assert_butler_agrees(export: ButlerExport, files: list[Path], root: Path) -> None:
    """The Butler, given the files, has the same dimension records, datasets and dataset types."""
    from lsst.daf.butler import Butler
    from lsst.daf.butler.transfers import YamlRepoImportBackend

    Butler.makeRepo(str(root))
    butler = Butler.from_config(str(root), writeable=True)
    for file in files:
        with file.open() as stream:
            backend = YamlRepoImportBackend(stream, butler)
            backend.register()
            backend.load(datastore=None)
    for element in UNIVERSE.element_names:
        key = UNIVERSE.table_key(element)
        ours = {tuple(r[c] for c in key): r for r in export.dimension_records.get(element, ())}
        assert ours == butler_rows(butler, element), element
    for dataset_type in export.dataset_types:
        theirs = butler.get_dataset_type(dataset_type.name)
        assert set(dataset_type.dimensions) == set(theirs.dimensions.names)
        assert dataset_type.is_calibration == theirs.isCalibration()
    for dataset in export.datasets:
        ref = butler.get_dataset(dataset.dataset_id)
        assert (ref.datasetType.name, ref.run) == (dataset.dataset_type, dataset.run)
        assert dict(ref.dataId.required).items() <= dataset.data_id.items()


@pytest.mark.parametrize(
    "names",
    [
        ("base", "datasets"),
        ("base", "spatial"),
        ("ci_hsc-subset", "ci_hsc-subset-skymap"),
        ("hsc-rc2-subset-v0",),
        ("lsstcam-subset",),
        ("demo",),
    ],
    ids=lambda names: "+".join(names),
)
@pytest.mark.filterwarnings("ignore")
def test_reads_what_the_butler_itself_reads(names: tuple[str, ...], tmp_path: Path) -> None:
    export = demo() if names == ("demo",) else shipped(*names)
    files = [DEMO_EXPORT] if names == ("demo",) else [registry_data() / f"{name}.yaml" for name in names]
    pytest.importorskip("lsst.daf.butler")
    assert_butler_agrees(export, files, tmp_path)


# --- migrations ---

INSTRUMENT = """
    - type: dimension
      element: instrument
      records:
      - {name: C, visit_max: 9, exposure_max: 9, detector_max: 9, class_name: c.C}
    - type: dimension
      element: physical_filter
      records: [{instrument: C, name: F, band: r}]
"""


def old_observation(version: int) -> str:
    """One exposure and its visit as a Butler of that universe version would have written them."""
    exposure = ["instrument: C", "id: 1", "obs_id: o1", "physical_filter: F", "day_obs: 20200102"]
    visit = ["instrument: C", "id: 2", "name: v2", "physical_filter: F", "day_obs: 20200102"]
    exposure += ["group: g1"] if version >= 6 else ["group_name: g1", "group_id: 17"]
    exposure += ["has_simulated: true"] if version >= 2 else []
    exposure += ["can_see_sky: false"] if version >= 7 else []
    visit += ["seeing: null"] if version < 1 else []
    visit += ["visit_system: 0"] if version < 2 else ["azimuth: 5"]
    time = "datetime_begin: !butler_time/tai/iso '2020-01-02 03:04:05.000000006', datetime_end: null"
    data = INSTRUMENT
    if version >= 6:
        data += """
    - type: dimension
      element: group
      records: [{instrument: C, name: g1}]
    - type: dimension
      element: day_obs
      records: [{instrument: C, id: 20200102}]
"""
    data += f"""
    - type: dimension
      element: visit_system
      records: [{{instrument: C, id: 0, name: s0}}]
    - type: dimension
      element: exposure
      records: [{{{", ".join(exposure)}, {time}}}]
    - type: dimension
      element: visit
      records: [{{{", ".join(visit)}, {time}}}]
"""
    if version >= 2:
        data += """
    - type: dimension
      element: visit_system_membership
      records: [{instrument: C, visit: 2, visit_system: 0}]
"""
    return data


@pytest.mark.parametrize("version", range(9))
def test_reads_one_observation_alike_from_every_universe_version(version: int) -> None:
    export = parse(old_observation(version), universe=version)
    newest = parse(old_observation(8), universe=8)
    assert set(export.dimension_records) == set(newest.dimension_records)
    added = {"has_simulated": 2, "can_see_sky": 7, "azimuth": 2}
    for element, rows in newest.dimension_records.items():
        expected = tuple(
            {
                column: None if column in added and version < added[column] else value
                for column, value in record.items()
            }
            for record in rows
        )
        assert export.dimension_records[element] == expected


@pytest.mark.parametrize("version", range(9))
@pytest.mark.filterwarnings("ignore")
def test_migrates_every_universe_version_as_the_butler_does(version: int, tmp_path: Path) -> None:
    pytest.importorskip("lsst.daf.butler")
    data = old_observation(version)
    if version < 1:
        # the Butler overwrites visit.day_obs in these files by the date of the begin; here both are equal
        assert "day_obs: 20200102" in data
    file = tmp_path / "export.yaml"
    file.write_text(text(data, universe=version))
    assert_butler_agrees(read_export(file, UNIVERSE), [file], tmp_path / "repo")


def test_drops_seeing_and_says_so() -> None:
    export = parse(old_observation(0).replace("seeing: null", "seeing: 0.7"), universe=0)
    assert "x.yaml: visit.seeing left out: it is no column since universe 1" in export.warnings
    assert "seeing" not in export.dimension_records["visit"][0]


def test_finds_visit_system_memberships_in_old_visit_definitions() -> None:
    data = """
        - type: dimension
          element: visit_definition
          records: [{instrument: C, exposure: 1, visit_system: 3, visit: 2}]
        """
    export = parse(data, universe=1)
    assert export.dimension_records["visit_definition"] == ({"instrument": "C", "visit": 2, "exposure": 1},)
    assert export.dimension_records["visit_system_membership"] == (
        {"instrument": "C", "visit": 2, "visit_system": 3},
    )


def test_drops_the_visit_system_that_old_visits_implied_from_types_and_data_ids() -> None:
    data = f"""
        - type: dataset_type
          name: calexp
          dimensions: [instrument, detector, visit, visit_system, band, physical_filter]
          storage_class: ExposureF
        - type: dataset
          dataset_type: calexp
          run: r
          records:
          - dataset_id: !uuid {ID1}
            data_id: {{visit: 2, instrument: C, detector: 3, visit_system: 0}}
        """
    export = parse(data, universe=1)
    assert export.dataset_types[0].dimensions == (
        "instrument",
        "band",
        "physical_filter",
        "detector",
        "day_obs",
        "visit",
    )
    assert export.dataset_types[0].is_calibration is False
    assert export.datasets[0].data_id == {"instrument": "C", "detector": 3, "visit": 2}
    assert export.datasets[0].path is None
    assert "visit_system" in parse(data, universe=2).dataset_types[0].dimensions


def test_a_migration_leaves_alone_what_a_newer_file_says() -> None:
    assert "no column 'group_name'" in str(refusal(old_observation(5), universe=6))
    assert "no column 'seeing'" in str(refusal(old_observation(0), universe=1))
    assert [step.version for step in STEPS] == sorted(step.version for step in STEPS)


def test_a_record_of_the_file_fills_what_a_derived_one_leaves_open() -> None:
    data = """
    - type: dimension
      element: day_obs
      records:
      - {instrument: C, id: 20200102, datetime_begin: !butler_time/tai/iso '2020-01-02 12:00:00'}
    """
    merged = merge_exports([parse(old_observation(5), universe=5), parse(data)], UNIVERSE)
    (day,) = merged.dimension_records["day_obs"]
    assert day["timespan_begin"] == parse_tai("2020-01-02 12:00:00")
    assert merged.universe_version == 8


def test_turns_integer_dataset_ids_into_the_uuids_that_the_butler_gives_them() -> None:
    data = """
        - {type: run, name: r}
        - type: dataset
          dataset_type: bias
          run: r
          records: [{dataset_id: [41], data_id: [{instrument: C, detector: 1}], path: p, formatter: null}]
        - {type: associations, collection: t, collection_type: TAGGED, dataset_ids: [41]}
        """
    export = parse(data, universe=0, version="0")
    expected = uuid.uuid3(uuid.UUID("4d4851f4-2890-4d41-8779-5f38a3f5062b"), "41")
    assert export.datasets[0].dataset_id == expected
    assert export.tags == {"t": (expected,)}


@pytest.mark.parametrize(
    ("written", "tai"),
    [
        ("2016-12-31 23:59:60.5", "2017-01-01 00:00:36.5"),
        ("2017-01-01 00:00:00", "2017-01-01 00:00:37"),
        ("2017-01-01T02:30:00+02:30", "2017-01-01 00:00:37"),
        ("2016-12-31T23:30:00-00:30", "2017-01-01 00:00:37"),
        ("2014-11-18 12:56:47.112000123Z", "2014-11-18 12:57:22.112000123"),
        ("!butler_time/tai/iso '2014-11-18 12:56:47.112000123'", "2014-11-18 12:56:47.112000123"),
    ],
)
def test_reads_bare_times_as_utc_and_tagged_ones_as_tai(written: str, tai: str) -> None:
    data = f"""
        - type: dimension
          element: day_obs
          records:
          - instrument: C
            id: 20200101
            datetime_begin: {written}
            datetime_end: null
        """
    assert parse(data).dimension_records["day_obs"][0]["timespan_begin"] == parse_tai(tai)


def test_reads_old_forms_of_collections_and_associations() -> None:
    data = f"""
        - {{type: run, name: r}}
        - type: collection
          collection_type: CHAINED
          name: chain
          children: [a, [b, "..."], [c, null], [d, [raw]]]
        - {{type: collection, collection_type: CALIBRATION, name: calib}}
        - type: associations
          collection: calib
          collection_type: CALIBRATION
          validity_ranges:
          - {{begin: null, end: 2020-01-01 00:00:00, dataset_ids: [!uuid {ID1}]}}
          - {{timespan: !lsst.daf.butler.Timespan EMPTY, dataset_ids: [!uuid {ID2}]}}
        """
    export = parse(data)
    assert export.collections[1].children == ("a", "b", "c", "d")
    (warning,) = export.warnings
    assert warning.startswith("x.yaml: chain 'chain': the restriction ['raw'] on its child 'd' is left out")
    assert export.validity == (
        ValidityRange("calib", Timespan(None, parse_tai("2020-01-01 00:00:37")), (ID1,)),
        ValidityRange("calib", Timespan.empty(), (ID2,)),
    )


def test_keeps_doc_host_and_timespan_of_a_run() -> None:
    data = """
        - type: collection
          collection_type: RUN
          name: r
          doc: a night
          host: node7
          timespan_begin: !butler_time/tai/iso '2020-01-01 00:00:00'
          timespan_end: null
        - {type: run, name: r}
        """
    assert parse(data).collections == (
        Collection("r", CollectionType.RUN, "a night", (), "node7", Timespan(parse_tai("2020-01-01"), None)),
    )


def test_reads_several_datasets_of_one_file() -> None:
    data = f"""
        - type: dataset
          dataset_type: raw
          run: r
          records:
          - dataset_id: [!uuid {ID1}, !uuid {ID2}]
            data_id:
            - {{exposure: 1, detector: 1, instrument: C}}
            - {{exposure: 1, detector: 2, instrument: C}}
            path: multi.fits
        """
    first, second = parse(data).datasets
    assert (first.path, second.path) == ("multi.fits", "multi.fits")
    assert list(second.data_id.items()) == [("instrument", "C"), ("detector", 2), ("exposure", 1)]


def test_an_instant_lasts_a_nanosecond_and_nan_is_null() -> None:
    time = "!butler_time/tai/iso '2020-01-02 03:04:05'"
    data = f"""
        - type: dimension
          element: visit
          records: [{{instrument: C, id: 1, azimuth: .nan, datetime_begin: {time}, datetime_end: {time}}}]
        """
    export = parse(data)
    (visit,) = export.dimension_records["visit"]
    assert visit["timespan_end"] - visit["timespan_begin"] == 1
    assert visit["azimuth"] is None
    assert export.warnings == ("x.yaml: visit.azimuth: NaN is read as null",)


def test_reads_regions_of_every_kind() -> None:
    data = f"""
        - type: dimension
          element: tract
          records:
          - {{skymap: s, id: 1, region: !<lsst.sphgeom.ConvexPolygon> {{encoded: {TRIANGLE}}}}}
          - {{skymap: s, id: 2, region: null}}
        """
    first, second = parse(data).dimension_records["tract"]
    assert first["region"] == bytes.fromhex(TRIANGLE)
    assert second["region"] is None


# --- refusals ---


def dimension(element: str, record: str) -> str:
    return f"- type: dimension\n  element: {element}\n  records:\n  - {{{record}}}"


def dataset(body: str) -> str:
    return f"- type: dataset\n  dataset_type: bias\n  run: r\n  records:\n  - {{{body}}}"


BIAS = "- {type: dataset_type, name: bias, dimensions: [instrument, detector], storage_class: E}"
TAGGED = "- {type: collection, collection_type: TAGGED, name: t}"
DATA_ID = "data_id: {instrument: C, detector: 1}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("- {type: dataset_tpye}", "x.yaml:6: unknown entry type 'dataset_tpye'"),
        ("- 3", "x.yaml: data entry 3 is not a mapping"),
        ("- {type: run, nam: r}", "x.yaml:6: run has unknown key 'nam'"),
        ("- {type: run}", "x.yaml:6: run lacks name"),
        ("- {type: run, name: 7}", "x.yaml:6: run name 7 is not text"),
        ("- {type: run, name: !wrong r}", "x.yaml:6: unknown tag '!wrong'"),
        ("- {type: run, name: r, name: s}", "x.yaml:6: key 'name' is given twice"),
        ("- {type: run, name: r", "x.yaml:7: not valid YAML: "),
        (
            dimension("vist", "id: 1"),
            "x.yaml:6: element 'vist' has no records in universe daf_butler version 8",
        ),
        (
            dimension("htm7", "id: 1"),
            "x.yaml:6: element 'htm7' has no records in universe daf_butler version 8",
        ),
        (
            dimension("detector", "instrument: C, id: 1, colour: red"),
            "x.yaml:9: detector has no column 'colour' (value 'red')",
        ),
        (dimension("detector", "instrument: C, id: one"), "x.yaml:9: detector.id 'one' is not of type int64"),
        (dimension("detector", "instrument: C, id: true"), "x.yaml:9: detector.id True is not of type int64"),
        (dimension("detector", f"instrument: C, id: {2**63}"), "is not of type int64"),
        (
            dimension("detector", "instrument: C, id: 1, raft: 7"),
            "x.yaml:9: detector.raft 7 is not of type string",
        ),
        (dimension("detector", 'instrument: C, id: 1, raft: "a\\0"'), "is not of type string"),
        (dimension("detector", "instrument: C"), "x.yaml:9: detector record lacks id"),
        (dimension("patch", "skymap: s, tract: 1, id: 1, cell_x: 1"), "x.yaml:9: patch record lacks cell_y"),
        (
            dimension("day_obs", "instrument: C, id: 1, datetime_begin: 7"),
            "day_obs datetime_begin 7 is not a time",
        ),
        (dimension("day_obs", "instrument: C, id: 1, timespan_begin: 7"), "has no column 'timespan_begin'"),
        (dimension("day_obs", "instrument: C, id: 1, timespan: 7"), "day_obs.timespan 7 is not understood"),
        (
            dimension("day_obs", "instrument: C, id: 1, datetime_begin: !butler_time/tai/iso 'now'"),
            "x.yaml:9: 'now' is not a TAI timestamp",
        ),
        (
            dimension("day_obs", "instrument: C, id: 1, datetime_begin: !butler_time/tai/iso '9999-01-01'"),
            "x.yaml:9: time '9999-01-01' is out of range",
        ),
        (dimension("day_obs", "instrument: C, id: 1, datetime_begin: 2020-02-30 00:00:00"), "is not a time"),
        (
            dimension("tract", "skymap: s, id: 1, region: !<lsst.sphgeom.Box> {encoded: zz}"),
            "x.yaml:9: region 'zz'... is not hexadecimal",
        ),
        (
            dimension("tract", "skymap: s, id: 1, region: !<lsst.sphgeom.Box> {encoded: '7000'}"),
            "x.yaml:9: 2 bytes starting 7000 are not a region",
        ),
        (
            dimension("tract", "skymap: s, id: 1, region: !<lsst.sphgeom.Box> {level: 7}"),
            "x.yaml:9: region lsst.sphgeom.Box has ['level']",
        ),
        (dimension("tract", "skymap: s, id: 1, region: !!binary aGk="), "is not of type region"),
        (dimension("skymap", "name: s, hash: abc"), "x.yaml:9: skymap.hash 'abc' is not of type bytes"),
        (
            dimension("detector", "instrument: C, id: 1, raft: A") + "\n  - {instrument: C, id: 1, raft: B}",
            "x.yaml:10: detector ('C', 1) is given twice: raft is 'A' and 'B'",
        ),
        (
            "- {type: dataset_type, name: x, dimensions: [instrument, vist], storage_class: E}",
            "x.yaml:6: dataset_type 'x': unknown dimension 'vist'",
        ),
        (
            "- {type: dataset_type, name: x.y, dimensions: [instrument], storage_class: E}",
            "x.yaml:6: dataset_type 'x.y': dataset type name 'x.y' is not an identifier",
        ),
        (f"{BIAS}\n{BIAS.replace('E}', 'F}')}", "x.yaml:7: dataset type 'bias' is declared again"),
        (
            f"{TAGGED}\n{TAGGED.replace('TAGGED', 'CALIBRATION')}",
            "x.yaml:7: collection 't' is declared again",
        ),
        ("- {type: collection, collection_type: HEAP, name: t}", "x.yaml:6: unknown collection type 'HEAP'"),
        (
            "- {type: collection, collection_type: TAGGED, name: t, children: [a]}",
            "x.yaml:6: TAGGED collection 't' has children",
        ),
        (
            "- {type: collection, collection_type: CHAINED, name: t}",
            "x.yaml:6: CHAINED collection lacks children",
        ),
        (
            "- {type: collection, collection_type: CHAINED, name: t, children: [7]}",
            "x.yaml:6: child 7 of 't' is not a collection name",
        ),
        (dataset(f"dataset_id: abc, {DATA_ID}"), "x.yaml:10: dataset id 'abc' is not an id"),
        (dataset(f"dataset_id: !uuid abc, {DATA_ID}"), "x.yaml:10: !uuid 'abc' is not a UUID"),
        (dataset(f"dataset_id: [1, 2], {DATA_ID}"), "x.yaml:10: bias: 2 dataset_id for 1 data_id"),
        (
            f"{dataset(f'dataset_id: 1, {DATA_ID}')}\n  - {{dataset_id: 1, {DATA_ID}}}",
            "x.yaml:11: dataset id 1 is given twice (first on line 10; keep one)",
        ),
        (
            dataset("dataset_id: 1, data_id: {instrument: C, detector: '1'}"),
            "x.yaml:10: bias: data_id detector '1' is not of type int64",
        ),
        (
            dataset("dataset_id: 1, data_id: {instrument: C, sensor: 1}"),
            "x.yaml:10: bias: data_id: unknown dimension 'sensor'",
        ),
        (
            dataset("dataset_id: 1, data_id: {visit_definition: 1}"),
            "x.yaml:10: bias: data_id: 'visit_definition' is a relation",
        ),
        (
            f"{BIAS}\n{dataset('dataset_id: 1, data_id: {instrument: C}')}",
            "x.yaml:11: bias: data_id {'instrument': 'C'} lacks detector",
        ),
        (
            f"{BIAS}\n{dataset('dataset_id: 1, data_id: {instrument: C, detector: 1, exposure: 2}')}",
            "has exposure, which its type has not",
        ),
        (
            f"{TAGGED.replace('name: t', 'name: r')}\n{dataset(f'dataset_id: 1, {DATA_ID}')}",
            "x.yaml:7: datasets of RUN collection 'r', which is declared TAGGED",
        ),
        (
            TAGGED
            + "\n- {type: associations, collection: t, collection_type: CALIBRATION, validity_ranges: []}",
            "x.yaml:7: associations of CALIBRATION collection 't', which is declared TAGGED",
        ),
        (
            "- {type: associations, collection: t, collection_type: RUN}",
            "x.yaml:6: associations of RUN collection 't'",
        ),
        (
            "- {type: associations, collection: t, collection_type: TAGGED, validity_ranges: []}",
            "x.yaml:6: associations entry has unknown key 'validity_ranges'",
        ),
        (
            "- {type: associations, collection: c, collection_type: CALIBRATION, "
            "validity_ranges: [{timespan: null, dataset_ids: []}]}",
            "x.yaml:6: validity range of 'c': None is not a timespan",
        ),
        (
            "- {type: associations, collection: c, collection_type: CALIBRATION, "
            "validity_ranges: [{timespan: !lsst.daf.butler.Timespan NEVER, dataset_ids: []}]}",
            "x.yaml:6: timespan 'NEVER' is not understood",
        ),
    ],
)
def test_refuses_and_names_the_place(data: str, message: str) -> None:
    assert message in str(refusal(data))


@pytest.mark.parametrize("version", ["2.0.0", "1.1.0", "0.9.9", "1", "[1]", "true"])
def test_refuses_another_format_version(version: str) -> None:
    assert "version" in str(refusal("- {type: run, name: r}", version=version))


@pytest.mark.parametrize("version", ["0", "1.0.0", "1.0.2", "1.0.7"])
def test_reads_every_format_version_that_it_knows(version: str) -> None:
    assert parse("- {type: run, name: r}", version=version).collections[0].name == "r"


def test_refuses_text_that_no_database_stores() -> None:
    # libyaml refuses a lone surrogate itself, PyYAML's own parser does not
    assert not is_of_type("\ud800", LogicalType.STRING)
    assert is_of_type("é", LogicalType.STRING)


def test_refuses_a_newer_universe_and_another_namespace() -> None:
    assert "universe version 9 is newer than the registry's 8" in str(refusal(TAGGED, universe=9))
    other = text(TAGGED).replace("namespace: daf_butler", "namespace: radio")
    with pytest.raises(UserError, match="namespace 'radio' is not the registry's 'daf_butler'"):
        parse_export(other, UNIVERSE)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a Butler export file"),
        (b"- 1", "not a Butler export file"),
        (b"version: 0", "not a Butler export file"),
        (b"version: 0\ndata: 7", "data is not a list"),
        (b"version: 0\ndata: []\nextra: 1", "y.yaml:1: unknown top-level key 'extra'"),
        (b"\x89PNG\r\n", "y.yaml: not valid YAML"),
        (b"SQLite format 3\0", "y.yaml"),
        (b"version: 0\ndata: " + b"[" * 20_000, "y.yaml"),
        (b"version: !!int x\ndata: []", "y.yaml:1: 'x' is not of YAML type int"),
        (b"version: !!python/object/apply:os.getcwd []\ndata: []", "y.yaml:1: unknown tag"),
    ],
)
def test_refuses_what_is_no_export_file(data: bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_export(data, UNIVERSE, where="y.yaml")
    assert message in str(caught.value)


def test_names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read export file .*nowhere\.yaml: No such file"):
        read_export(tmp_path / "nowhere.yaml", UNIVERSE)


def test_leaves_the_global_yaml_loaders_alone() -> None:
    import yaml

    parse("- {type: run, name: r}")
    assert yaml.SafeLoader.yaml_constructors["tag:yaml.org,2002:map"].__module__ == "yaml.constructor"


# --- merging and choosing ---


def test_merging_keeps_once_what_two_files_say_alike() -> None:
    one = parse(INSTRUMENT)
    assert merge_exports([one, one], UNIVERSE) == one


def test_merging_refuses_what_two_files_say_differently() -> None:
    one = parse(INSTRUMENT)
    other = parse(INSTRUMENT.replace("visit_max: 9", "visit_max: 8"))
    with pytest.raises(ConflictError, match=r"instrument {'name': 'C'} differs .*: visit_max is 9 and 8"):
        merge_exports([one, other], UNIVERSE)
    with pytest.raises(ConflictError, match=r"dataset type 'bias' differs .*: storage_class is 'E' and 'F'"):
        merge_exports([parse(BIAS), parse(BIAS.replace("E}", "F}"))], UNIVERSE)
    with pytest.raises(ConflictError, match=r"collection 't' differs .*: type is"):
        merge_exports([parse(TAGGED), parse(TAGGED.replace("TAGGED", "RUN"))], UNIVERSE)
    with pytest.raises(ConflictError, match=r"dataset .* differs .*: path is 'a' and 'b'"):
        merge_exports(
            [parse(dataset(f"dataset_id: 1, {DATA_ID}, path: {path}")) for path in ("a", "b")], UNIVERSE
        )


def test_chooses_collections_with_their_datasets() -> None:
    whole = demo()
    chosen = select(whole, collections=["DemoCam/raw/*", "DemoCam/calib*", "DemoCam/good"])
    assert {d.dataset_type for d in chosen.datasets} == {"raw", "bias", "flat", "camera"}
    assert {t.name for t in chosen.dataset_types} == {"raw", "bias", "flat", "camera"}
    assert chosen.dimension_records == whole.dimension_records
    assert chosen.validity == whole.validity
    assert chosen.tags == whole.tags
    assert "DemoCam/defaults" not in {c.name for c in chosen.collections}


def test_keeps_a_chain_whose_children_are_elsewhere() -> None:
    chosen = select(demo(), collections=["DemoCam/runs/*", "u/*", "DemoCam/defaults"])
    (chain,) = (c for c in chosen.collections if c.type is CollectionType.CHAINED)
    assert len(chain.children) == 5
    assert chosen.tags == {}
    assert chosen.validity == ()


def test_chooses_dataset_types_and_what_is_left_of_associations() -> None:
    chosen = select(demo(), dataset_types=["bias"])
    assert [(t.name, t.is_calibration) for t in chosen.dataset_types] == [("bias", True)]
    assert {d.dataset_type for d in chosen.datasets} == {"bias"}
    assert [len(v.dataset_ids) for v in chosen.validity] == [4, 4]
    assert len(chosen.collections) == 9


def test_keeps_dataset_types_that_never_had_a_dataset() -> None:
    export = parse(f"{BIAS}\n- {{type: run, name: r}}")
    assert select(export, collections=["r"]).dataset_types == (
        DatasetType("bias", ("instrument", "detector"), "E"),
    )


def test_choosing_nothing_is_an_error_that_says_what_there_is() -> None:
    export = parse(f"{BIAS}\n- {{type: run, name: r}}")
    with pytest.raises(NotFoundError, match=r"no collection of the export matches 'x\*' \(it has: r\)"):
        select(export, collections=["x*"])
    with pytest.raises(NotFoundError, match=r"no dataset type of the export matches 'raw' \(it has: bias\)"):
        select(export, dataset_types=["raw"])


# --- damage ---


def damaged(lines: list[str], chance: random.Random) -> str:
    """The lines with one or two small accidents, of the kind that editors and cut transfers make."""
    out = list(lines)
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(1, len(out))
        accident = chance.randrange(5)
        if accident == 0:
            del out[at]
        elif accident == 1:
            value = chance.choice(
                ["7", "null", "[1]", "{a: 1}", "x", ".nan", "2020-01-01", "!uuid x", "''", "*a"]
            )
            out[at] = re.sub(r": .*", f": {value}", out[at])
        elif accident == 2:
            out[at], out[at - 1] = out[at - 1], out[at]
        elif accident == 3:
            cut = chance.randrange(len(out[at]) + 1)
            out[at] = out[at][:cut] + chance.choice("{}[]!&*:'\"\0€-? |>%@\t") + out[at][cut:]
        else:
            out[at] = out[at][2:]
    return "\n".join(out)


def test_reads_or_refuses_a_damaged_file_and_never_breaks() -> None:
    lines = (registry_data() / "hsc-rc2-subset-v0.yaml").read_text().splitlines()
    refusals = []
    for seed in range(300):
        try:
            parse_export(damaged(lines, random.Random(seed)), UNIVERSE, where="x.yaml")
        except UserError as error:
            refusals.append(error)
    assert len(refusals) > 100
    assert all(error.message.startswith("x.yaml") and error.hint for error in refusals)
