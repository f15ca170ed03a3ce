"""Files whose headers say what they are: data IDs, the records that come with them, and columns of metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from federation.datastore import Datastore
from federation.errors import ConfigError, ConflictError, NotFoundError, UserError
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.model.timespan import format_tai
from federation.registry.conflicts import list_open
from federation.registry.dataset_types import declare
from federation.registry.dimensions import insert_records
from federation.registry.files.dataset_type_file import load_dataset_types
from federation.registry.files.file_data_ids import FileToIngest, read_data_id
from federation.registry.files.header_config import load_header_rules, shipped_header_rules
from federation.registry.files.header_translation import HeaderTranslator
from federation.registry.files.ingest import IngestReport, ingest_files
from federation.registry.registry import Registry

SITE = "base"
HEADERS = Path(__file__).parents[1] / "data" / "headers"
METADATA = (
    Field("nx", LogicalType.INT64),
    Field("ny", LogicalType.INT64),
    Field("exptime", LogicalType.FLOAT64),
    Field("observer", LogicalType.STRING),
    Field("region", LogicalType.BYTES),
)


@pytest.fixture
def translator(universe: DimensionUniverse) -> HeaderTranslator:
    rules = shipped_header_rules(universe)
    assert rules is not None
    return HeaderTranslator(universe, rules)


@pytest.fixture
def declared(registry: Registry) -> Registry:
    with registry.transaction(SITE) as tx:
        declare(tx, DatasetType("raw", ("exposure", "detector"), "Exposure", metadata=METADATA))
    return registry


def write(path: Path, camera: str, **changed: Any) -> Path:
    cards = {**json.loads((HEADERS / f"{camera}.json").read_text()), **changed}
    header = fits.Header({key: value for key, value in cards.items() if value is not None})
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((4, 6), "i2"), header)]).writeto(path)
    return path


def ingest(registry: Registry, tmp_path: Path, *files: FileToIngest, **options: Any) -> IngestReport:
    options = {"run": "raw/all", "dataset_type": "raw", "once": True, **options}
    return ingest_files(registry, Datastore(str(tmp_path / "store")), schema=SITE, files=files, **options)


def rows(registry: Registry, table: str, **wanted: Any) -> list[dict[str, Any]]:
    with registry.transaction(SITE) as tx:
        return tx.select(table, tuple(wanted), [tuple(wanted.values())])


def test_a_known_camera_needs_no_sidecar(
    declared: Registry, translator: HeaderTranslator, tmp_path: Path
) -> None:
    first = read_data_id(write(tmp_path / "a.fits", "decam"), None, translator)
    second = read_data_id(write(tmp_path / "b.fits", "decam", CCDNUM=26, DETPOS="S2"), None, translator)
    third = read_data_id(write(tmp_path / "c.fits", "hsc"), None, translator)
    assert len(ingest(declared, tmp_path, first, second, third).new) == 3
    (raw,) = rows(declared, "raw", detector=26)
    assert (raw["instrument"], raw["exposure"], raw["physical_filter"], raw["band"], raw["day_obs"]) == (
        "DECam", 300123, "r DECam SDSS c0002 6415.0 1480.0", "r", 20140131,
    )  # fmt: skip
    assert (raw["nx"], raw["ny"], raw["exptime"], raw["observer"], raw["region"]) == (6, 4, 90.0, None, None)
    (exposure,) = rows(declared, "exposure", id=300123)
    assert (exposure["obs_id"], exposure["observation_type"], exposure["exposure_time"]) == (
        "ct4m20140201t013000", "science", 90.0,
    )  # fmt: skip
    assert format_tai(exposure["timespan_begin"]) == "2014-02-01 01:30:35.250000000"  # UTC is 35 s behind TAI
    assert (exposure["tracking_ra"], exposure["zenith_angle"]) == (pytest.approx(60.0), pytest.approx(30.25))
    (night,) = rows(declared, "day_obs", id=20140131)
    assert format_tai(night["timespan_begin"]) == "2014-01-31 12:00:00"
    assert [row["full_name"] for row in rows(declared, "detector", instrument="DECam")] == ["S1", "S2"]
    assert rows(declared, "detector", instrument="HSC")[0]["id"] == 50


def test_records_that_are_there_are_left_as_they_are(
    declared: Registry, translator: HeaderTranslator, tmp_path: Path
) -> None:
    with declared.transaction(SITE) as tx:
        insert_records(tx, "instrument", [{"name": "DECam", "class_name": "lsst.obs.decam.DarkEnergyCamera"}])
        insert_records(tx, "detector", [{"instrument": "DECam", "id": 25, "full_name": "S29"}])
    ingest(declared, tmp_path, read_data_id(write(tmp_path / "a.fits", "decam"), None, translator))
    assert rows(declared, "detector", id=25)[0]["full_name"] == "S29"


def test_without_records_those_of_the_site_must_do(
    declared: Registry, universe: DimensionUniverse, tmp_path: Path
) -> None:
    rules = shipped_header_rules(universe)
    assert rules is not None
    quiet = HeaderTranslator(universe, rules, records=False)
    with pytest.raises(UserError, match="no instrument record"):
        ingest(declared, tmp_path, read_data_id(write(tmp_path / "a.fits", "decam"), None, quiet))
    assert not list((tmp_path / "store").rglob("*.fits"))


def test_a_sidecar_comes_before_the_header(translator: HeaderTranslator, tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", "decam")
    (tmp_path / "a.fits.json").write_text('{"data_id": {"exposure": 1}}')
    assert read_data_id(path, None, translator).data_id == {"exposure": 1}


def test_an_unknown_instrument_is_named(translator: HeaderTranslator, tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", "decam", INSTRUME="Mirror-O-Scope", TELESCOP="shed", FILTER="r")
    with pytest.raises(
        NotFoundError, match=r"a\.fits is: no translator knows the instrument 'Mirror-O-Scope'"
    ) as e:
        read_data_id(path, None, translator)
    assert "DECam" in e.value.hint
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "b.fits")
    with pytest.raises(NotFoundError, match="its header names no instrument"):
        read_data_id(tmp_path / "b.fits", None, translator)


def test_a_header_without_the_needed_keywords_is_named(
    declared: Registry, translator: HeaderTranslator, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.fits", "decam", CCDNUM=None)
    with pytest.raises(UserError, match=r"a\.fits: data ID .* lacks detector"):
        ingest(declared, tmp_path, read_data_id(path, None, translator))
    assert rows(declared, "instrument", name="DECam") == []


def test_a_truncated_file_is_named_by_its_header_too(translator: HeaderTranslator, tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", "decam")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.fits is not a whole FITS file"):
        read_data_id(path, None, translator)


def test_two_files_for_one_data_id_are_named(
    declared: Registry, translator: HeaderTranslator, tmp_path: Path
) -> None:
    files = [read_data_id(write(tmp_path / name, "hsc"), None, translator) for name in ("a.fits", "b.fits")]
    with pytest.raises(UserError, match=r"a\.fits and .*b\.fits have one data ID"):
        ingest(declared, tmp_path, *files)


def test_a_file_of_the_wrong_storage_class_is_named(declared: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\n")
    with pytest.raises(
        UserError, match=r"a\.yaml \(formatter yaml\) is of the wrong storage class: Exposure"
    ):
        ingest(
            declared,
            tmp_path,
            FileToIngest(str(tmp_path / "a.yaml"), {"instrument": "C", "exposure": 1, "detector": 1}),
        )
    wrong = FileToIngest(
        str(tmp_path / "a.yaml"), {"instrument": "C", "exposure": 1, "detector": 1}, formatter="hdf"
    )
    with pytest.raises(UserError, match="no formatter 'hdf'"):
        ingest(declared, tmp_path, wrong)


# -- other content --------------------------------------------------------------------------------------------------


@pytest.fixture
def two_contents(
    declared: Registry, translator: HeaderTranslator, tmp_path: Path
) -> tuple[FileToIngest, FileToIngest]:
    """A file that is ingested, and another content of the same dataset."""
    first = read_data_id(write(tmp_path / "a.fits", "decam"), None, translator)
    other = read_data_id(write(tmp_path / "b.fits", "decam", COMMENT="new"), None, translator)
    return first, other


Contents = tuple[FileToIngest, FileToIngest]


def test_another_content_is_refused_ignored_or_recorded(
    declared: Registry, two_contents: Contents, translator: HeaderTranslator, tmp_path: Path
) -> None:
    first, other = two_contents
    (old,) = ingest(declared, tmp_path, first).new
    with pytest.raises(ConflictError, match=r"b\.fits has other content"):
        ingest(declared, tmp_path, other)
    ignored = ingest(declared, tmp_path, other, on_conflict="ignore")
    assert (ignored.new, ignored.known, ignored.conflicts) == ((), (), (other.path,))
    assert list_open(declared) == []
    third = read_data_id(write(tmp_path / "c.fits", "hsc"), None, translator)
    for _ in range(2):
        report = ingest(declared, tmp_path, other, third, on_conflict="record")
        assert report.conflicts == (other.path,)
    (conflict,) = list_open(declared)
    assert (conflict.dataset_id, conflict.kind, conflict.uri) == (old, "checksum", f"file://{other.path}")
    assert len(list((tmp_path / "store").rglob("*.fits"))) == 2


def test_another_content_of_what_another_schema_has_is_noticed(
    declared: Registry, two_contents: Contents, tmp_path: Path
) -> None:
    first, other = two_contents
    ingest(declared, tmp_path, first)
    declared.create_schema("alice")
    with declared.transaction("alice") as tx:
        declare(tx, DatasetType("raw", ("exposure", "detector"), "Exposure", metadata=METADATA))
    store = Datastore(str(tmp_path / "alice"))
    again = {"schema": "alice", "run": "raw/all", "dataset_type": "raw", "once": True}
    with pytest.raises(ConflictError, match="has other content"):
        ingest_files(declared, store, files=[other], **again)
    report = ingest_files(declared, store, files=[other], on_conflict="record", **again)
    assert (report.new, report.conflicts) == ((), (other.path,))
    assert not list((tmp_path / "alice").rglob("*.fits"))
    assert len(list_open(declared)) == 1


def test_another_content_may_replace_a_dataset(
    declared: Registry, two_contents: Contents, tmp_path: Path
) -> None:
    first, other = two_contents
    (old,) = ingest(declared, tmp_path, first, once=False).new
    with pytest.raises(UserError, match="can't be replaced"):
        ingest(declared, tmp_path, other, on_conflict="replace")
    report = ingest(declared, tmp_path, other, once=False, on_conflict="replace")
    (new,) = report.new
    assert new != old
    assert rows(declared, "dataset", dataset_id=old) == rows(declared, "artifact", dataset_id=old) == []
    (kept,) = (tmp_path / "store").rglob("*.fits")
    assert kept.read_bytes() == Path(other.path).read_bytes()


# -- configuration ----------------------------------------------------------------------------------------------------


def test_dataset_types_of_a_file_name_the_keywords_of_their_columns(
    registry: Registry, universe: DimensionUniverse, translator: HeaderTranslator, tmp_path: Path
) -> None:
    (tmp_path / "types.toml").write_text(
        '[dataset_type.raw]\ndimensions = ["exposure", "detector"]\nstorage_class = "Exposure"\n'
        'metadata = [{ name = "shutter", type = "float", header = "EXPTIME", unit = "s" }]\n'
        '[dataset_type.bias]\ndimensions = ["detector"]\nstorage_class = "Exposure"\nis_calibration = true\n'
    )
    raw, bias = load_dataset_types(tmp_path / "types.toml", universe)
    assert (bias.dataset_type.is_calibration, raw.keywords) == (True, {"shutter": "EXPTIME"})
    with registry.transaction(SITE) as tx:
        declare(tx, raw.dataset_type)
    file = read_data_id(write(tmp_path / "a.fits", "decam"), None, translator)
    ingest(registry, tmp_path, file, keywords=raw.keywords)
    assert rows(registry, "raw", detector=25)[0]["shutter"] == 90.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x", "cannot read dataset types"),
        ("", "no table"),
        ("a = 1", "unknown key 'a'"),
        ("[dataset_type]\nraw = 1", "is not a table"),
        ('[dataset_type.raw]\ndimensions = "visit"\nstorage_class = "A"', "is not a list of names"),
        ('[dataset_type.raw]\ndimensions = ["vist"]\nstorage_class = "A"', "vist"),
        ('[dataset_type.raw]\ndimensions = ["visit"]', "storage_class = None"),
        ('[dataset_type.raw]\ndimensions = []\nstorage_class = "A"\nx = 1', "unknown key 'x'"),
        ('[dataset_type.raw]\ndimensions = []\nstorage_class = "A"\nis_calibration = 1', "is not a bool"),
        ('[dataset_type."r-w"]\ndimensions = []\nstorage_class = "A"', "r-w"),
        ('[dataset_type.raw]\ndimensions = []\nstorage_class = "A"\nmetadata = [{name = "a", type = "x"}]', "'x'"),
        ('[dataset_type.raw]\ndimensions = []\nstorage_class = "A"\nmetadata = [{name = "run", type = "int"}]', "run"),
        ('[dataset_type.raw]\ndimensions = []\nstorage_class = "A"\n'
         'metadata = [{name = "a", type = "int", header = 1}]', "is not a keyword"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_named(
    universe: DimensionUniverse, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "types.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_dataset_types(tmp_path / "types.toml", universe)
    assert "types.toml" in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "TOML|Expected|Invalid"),
        ("[records.visit]", "no .data_id."),
        ('x = 1\n[data_id]\n', "unknown key 'x'"),
        ('namespace = "other"\n[data_id]\n', "universe 'other'"),
        ('[data_id]\nvist = "visit_id"', "vist"),
        ('[data_id]\nvisit = "vist_id"', "no quantity 'vist_id'"),
        ('[data_id]\nvisit = { quantity = "visit_id", x = 1 }', "unknown key 'x'"),
        ('[data_id]\nvisit = 1', "names no quantity"),
        ('[data_id]\n[records.instrument]\nsize = "object"', "size"),
        ('[data_id]\n[records.detector]\nid = "detector_num"', "lacks the key instrument"),
        ('[data_id]\nvisit = { quantity = "visit_id", patterns = [["(", "x"]] }', "patterns"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_named(universe: DimensionUniverse, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_header_rules(tmp_path / "rules.toml", universe)
    assert "rules.toml" in caught.value.message


def test_real_headers_are_translated(shared_data: Path, translator: HeaderTranslator) -> None:
    from astro_metadata_translator.tests import read_test_file

    files = sorted((shared_data / "data" / "headers").glob("fitsheader-*.yaml"))
    if not files:
        pytest.skip("no real headers")
    found = [translator.translate(read_test_file(str(file)), file)[0] for file in files]
    assert all(
        {"instrument", "exposure", "detector", "physical_filter"} <= data_id.keys() for data_id in found
    )
