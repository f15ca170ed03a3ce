"""Ingesting files: stored whole, registered once, or neither."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from federation.datastore import Datastore
from federation.errors import ConfigError, ConflictError, NotFoundError, UserError
from federation.model.dataset import DatasetType
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.registry.dataset_types import declare
from federation.registry.dimensions import insert_records
from federation.registry.files.ingest import (
    FileToIngest,
    IngestReport,
    Mode,
    ingest_files,
    load_header_mapping,
    read_data_id,
)
from federation.registry.registry import Registry

SITE = "base"


@pytest.fixture
def store(tmp_path: Path) -> Datastore:
    return Datastore(str(tmp_path / "store"))


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    with registry.transaction(SITE) as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        metadata = (Field("taken", LogicalType.TIMESTAMP), Field("level", LogicalType.FLOAT64))
        declare(tx, DatasetType("bias", ("detector",), "Exposure", metadata=metadata))
    return registry


def make(tmp_path: Path, detector: int, content: bytes = b"bytes") -> FileToIngest:
    path = tmp_path / f"in{detector}.dat"
    path.write_bytes(content)
    return FileToIngest(
        str(path),
        {"instrument": "C", "detector": detector},
        {"taken": "2026-01-01 00:00:37", "level": 1},
        {"detector": ({"instrument": "C", "id": detector, "full_name": f"d{detector}"},)},
    )


def ingest(
    registry: Registry,
    store: Datastore,
    *files: FileToIngest,
    mode: Mode = "copy",
    once: bool = False,
    run: str = "r",
) -> IngestReport:
    return ingest_files(
        registry, store, schema=SITE, run=run, dataset_type="bias", files=files, mode=mode, once=once
    )


def stored_files(store: Datastore) -> list[Path]:
    assert store.local_root is not None
    return [path for path in store.local_root.rglob("*") if path.is_file()]


def artifact(registry: Registry, report: IngestReport) -> dict[str, object]:
    with registry.transaction(SITE) as tx:
        (row,) = tx.select("artifact", ("dataset_id",), [(i,) for i in report.new])
    return row


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("mode", ["copy", "link", "direct"])
def test_the_same_file_twice_changes_nothing(
    stocked: Registry, store: Datastore, tmp_path: Path, mode: Mode, once: bool
) -> None:
    files = [make(tmp_path, detector) for detector in range(3)]
    first = ingest(stocked, store, *files, mode=mode, once=once)
    assert (len(first.new), first.known, first.files, first.bytes) == (3, (), 3, 15)
    again = ingest(stocked, store, *files, mode=mode, once=once)
    assert (again.new, again.known, again.files) == ((), first.new, 0)
    assert len(stored_files(store)) == (0 if mode == "direct" else 3)


def test_a_moved_file_is_gone_from_its_place(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    file = make(tmp_path, 0)
    report = ingest(stocked, store, file, mode="move")
    assert not Path(file.path).exists()
    row = artifact(stocked, report)
    with store.open(str(row["uri"])) as stored:
        assert stored.read() == b"bytes"


def test_a_file_left_where_it_is_has_an_absolute_url(
    stocked: Registry, store: Datastore, tmp_path: Path
) -> None:
    file = make(tmp_path, 0)
    assert artifact(stocked, ingest(stocked, store, file, mode="direct"))["uri"] == f"file://{file.path}"


@pytest.mark.parametrize("once", [True, False])
def test_other_content_for_one_identity_is_a_conflict(
    stocked: Registry, store: Datastore, tmp_path: Path, once: bool
) -> None:
    ingest(stocked, store, make(tmp_path, 0), once=once)
    with pytest.raises(ConflictError, match="other content"):
        ingest(stocked, store, make(tmp_path, 0, b"other"), once=once)
    assert [path.read_bytes() for path in stored_files(store)] == [b"bytes"]


@pytest.mark.parametrize("mode", ["copy", "move", "link"])
def test_a_failure_leaves_neither_files_nor_rows(
    stocked: Registry, store: Datastore, tmp_path: Path, mode: Mode
) -> None:
    good, bad = make(tmp_path, 0), make(tmp_path, 1)
    bad = FileToIngest(bad.path, bad.data_id)  # nobody knows its detector
    with pytest.raises(UserError, match="no detector record"):
        ingest(stocked, store, good, bad, mode=mode)
    assert stored_files(store) == []
    assert Path(good.path).exists()
    with stocked.transaction(SITE) as tx:
        assert tx.select("collection", ("name",), [("r",)]) == []


def test_a_failure_keeps_files_that_were_there(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    good, bad = make(tmp_path, 0), make(tmp_path, 1)
    ingest(stocked, store, good, once=True)
    with pytest.raises(UserError, match="no detector record"):
        ingest(stocked, store, good, FileToIngest(bad.path, bad.data_id), once=True)
    assert len(stored_files(store)) == 1


def test_two_files_may_not_have_one_data_id(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    one, other = make(tmp_path, 0), make(tmp_path, 1)
    with pytest.raises(UserError, match="have one data ID"):
        ingest(stocked, store, one, FileToIngest(other.path, one.data_id))


def test_a_missing_file_is_named(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.dat"):
        ingest(stocked, store, FileToIngest(str(tmp_path / "gone.dat"), {"instrument": "C", "detector": 0}))


def test_a_value_of_the_wrong_type_is_named(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    file = make(tmp_path, 0)
    with pytest.raises(UserError, match=r"in0\.dat: bias\.level = 'high' is not of type float64"):
        ingest(stocked, store, FileToIngest(file.path, file.data_id, {"level": "high"}, file.records))


# -- what a file is -----------------------------------------------------------------------------------------------


def test_a_sidecar_says_what_a_file_is(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    file = make(tmp_path, 2)
    text = "data_id: {instrument: C, detector: 2}\nmetadata: {taken: 2026-01-01 00:00:37}\n"
    Path(file.path + ".yaml").write_text(text + "records: {detector: [{instrument: C, id: 2}]}\n")
    found = read_data_id(file.path)
    assert found.metadata == {"taken": "2026-01-01 00:00:37"}
    Path(file.path + ".json").write_text(json.dumps({"data_id": {"instrument": "C", "detector": 3}}))
    assert read_data_id(file.path).data_id["detector"] == 3
    assert len(ingest(stocked, store, found).new) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot read"), ("[]", "no mapping data_id"), ('{"data_id": {}, "x": 1}', "unknown key 'x'"),
     ('{"data_id": {}, "records": {"visit": 1}}', "records not lists")],
)  # fmt: skip
def test_a_sidecar_that_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.dat.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_data_id(tmp_path / "a.dat")


def write_fits(path: Path) -> None:
    header = fits.Header({"INSTRUME": "C ", "CCD": 2, "LEVEL": 1.5})
    fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.zeros((100, 100), "f4"))]).writeto(path)


def test_a_header_says_what_a_file_is_through_a_mapping(tmp_path: Path) -> None:
    write_fits(tmp_path / "a.fits")
    (tmp_path / "map.toml").write_text(
        '[header]\ndetector = "CCD"\n[metadata]\nlevel = "LEVEL"\nother = "NONE"\n[constant]\ninstrument = "C"\n'
    )
    mapping = load_header_mapping(tmp_path / "map.toml")
    found = read_data_id(tmp_path / "a.fits", mapping)
    assert (found.data_id, found.metadata) == ({"instrument": "C", "detector": 2}, {"level": 1.5})
    with pytest.raises(NotFoundError, match="nothing says what"):
        read_data_id(tmp_path / "a.fits")


def test_a_mapping_names_keywords_only(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text("[header]\ndetector = 7\n")
    with pytest.raises(ConfigError, match=r"header\.detector = 7"):
        load_header_mapping(tmp_path / "map.toml")


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_a_whole_fits_file_is_ingested_and_a_cut_one_is_not(
    stocked: Registry, store: Datastore, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    write_fits(path)
    file = FileToIngest(str(path), {"instrument": "C", "detector": 2}, records=make(tmp_path, 2).records)
    whole = path.read_bytes()
    for size in (len(whole) - 2880, len(whole) - 7, len(whole) // 2, 100, 0):
        if size > 0 or name == "a.fits":
            path.write_bytes(whole[:size])
            with pytest.raises(UserError, match="is not a whole FITS file"):
                ingest(stocked, store, file)
    assert stored_files(store) == []
    path.write_bytes(whole)
    assert len(ingest(stocked, store, file).new) == 1
