"""Datasets as Python objects and as files, over the command line, between two sites, and when a process is killed."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from forked import ForkedProcess
from free_ports import free_port

import federation
from federation.cli.main import main
from federation.collection_verbs import certify_datasets, create_collection
from federation.config import find_site
from federation.errors import ConflictError, NotFoundError, UnavailableError, UsageError
from federation.model.collection import CollectionType
from federation.model.dataset import deterministic_id
from federation.model.timespan import Timespan, parse_tai
from federation.services.site_server import SiteServer

TYPES = """
[dataset_type.flat]
dimensions = ["detector"]
storage_class = "Image"
metadata = [{ name = "nx", type = "int" }, { name = "lamp", type = "string", header = "LAMPNAME" }]

[dataset_type.sources]
dimensions = ["detector"]
storage_class = "ArrowAstropy"
is_calibration = true
metadata = [{ name = "nrows", type = "int" }]
"""
ONE = {"instrument": "C", "detector": 1}


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Sites summit, with one flat, and base, which follows it."""
    directory = tmp_path / "sites"
    federation.init_site("summit", sites=directory, listen=f"127.0.0.1:{free_port()}")
    federation.init_site("base", sites=directory, listen=f"127.0.0.1:{free_port()}", follow={"summit": ["*"]})
    (tmp_path / "types.toml").write_text(TYPES)
    header = fits.Header({"LAMPNAME": "quartz"})
    fits.PrimaryHDU(np.arange(12, dtype="f4").reshape(3, 4), header).writeto(tmp_path / "flat.fits")
    records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": 1}]}
    (tmp_path / "flat.fits.json").write_text(json.dumps({"data_id": ONE, "records": records}))
    what = ["--run", "flats", "--dataset-type", "flat", "--declare-from", str(tmp_path / "types.toml")]
    assert (
        main(["ingest", "--sites", str(directory), "--site", "summit", *what, str(tmp_path / "flat.fits")])
        == 0
    )
    return directory


@contextlib.contextmanager
def served(sites: Path, name: str) -> Iterator[None]:
    server = SiteServer(find_site(name, sites))
    server.start()
    try:
        yield
    finally:
        server.stop()


def test_an_ingested_file_comes_back_as_any_type(sites: Path, tmp_path: Path) -> None:
    where = {"site": "summit", "sites": sites}
    identity = deterministic_id("flat", "flats", ONE)
    hdus = federation.get("flat", ONE, collections="flats", **where)
    assert hdus[0].header["LAMPNAME"] == "quartz"
    assert federation.get(identity, as_type=np.ndarray, **where).sum() == 66
    assert federation.get(str(identity), as_type=bytes, **where) == (tmp_path / "flat.fits").read_bytes()
    with served(sites, "summit"), federation.connect("summit", sites) as session:
        (row,) = session.query(
            "SELECT f.nx, f.lamp, a.formatter FROM summit.flat f JOIN summit.artifact a USING (dataset_id)"
        )
    assert tuple(row.values()) == (4, "quartz", "fits")


def test_the_command_copies_a_file(sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [
        "get",
        "flat",
        "instrument=C",
        "detector=1",
        "--collection",
        "flats",
        "--sites",
        str(sites),
        "--site",
        "summit",
    ]
    assert main([*base, "-o", str(tmp_path / "copy.fits")]) == 0
    assert capsys.readouterr().out.endswith(f"detector=1 of flats: {tmp_path / 'copy.fits'}\n")
    assert (tmp_path / "copy.fits").read_bytes() == (tmp_path / "flat.fits").read_bytes()
    (tmp_path / "new").mkdir()
    assert main([*base, "--json", "-o", str(tmp_path / "new")]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(next((tmp_path / "new").iterdir()))
    assert main(["get", "flat", "--sites", str(sites), "--site", "summit"]) == 2
    assert "not a dataset id" in capsys.readouterr().err
    assert main([*base[:4], "--sites", str(sites), "--site", "summit"]) == 2
    assert "no collections to search" in capsys.readouterr().err


def test_what_is_put_is_got_and_queried(sites: Path) -> None:
    where = {"site": "summit", "sites": sites}
    raw = deterministic_id("flat", "flats", ONE)
    table = Table({"id": [1, 2], "flux": [0.5, 1.5]})
    ref = federation.put(table, "sources", ONE, run="mine", inputs=[raw], task="detect", **where)
    assert federation.get(ref, **where)["flux"].tolist() == [0.5, 1.5]
    with served(sites, "summit"), federation.connect("summit", sites) as session:
        (row,) = session.query(
            "SELECT s.nrows, p.input_id, p.task FROM summit.sources s JOIN summit.provenance p USING (dataset_id)"
        )
    assert tuple(row.values()) == (2, raw, "detect")
    with pytest.raises(ConflictError, match="already"):
        federation.put(table, "sources", ONE, run="mine", **where)
    with pytest.raises(UsageError, match="needs a data ID"):
        federation.get("sources", **where)


def test_a_dataset_is_found_by_what_determines_it(
    sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"site": "summit", "sites": sites}
    hdus = federation.get("flat", {"detector": 1}, collections=["flats"], **where)  # of the only instrument
    assert hdus[0].header["LAMPNAME"] == "quartz"
    with pytest.raises(NotFoundError, match=r"no sources {instrument='C', detector=1} in flats at summit"):
        federation.get("sources", ONE, collections="flats", **where)
    with pytest.raises(NotFoundError, match="no collection 'nosuch' at summit"):
        federation.get("flat", ONE, collections="nosuch", **where)
    command = [
        "get",
        "flat",
        "detector=one",
        "--collection",
        "flats",
        "--sites",
        str(sites),
        "--site",
        "summit",
    ]
    assert main(command) == 3
    assert "no detector has full_name 'one'" in capsys.readouterr().err


def test_a_calibration_is_got_for_a_moment(
    sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"site": "summit", "sites": sites}
    tables = [Table({"id": [number]}) for number in (1, 2)]
    noon = parse_tai("2026-01-01 12:00:00")
    for table, run, span in zip(
        tables, ("old", "new"), (Timespan(None, noon), Timespan(noon, None)), strict=True
    ):
        ref = federation.put(table, "sources", ONE, run=run, **where)
        if run == "old":
            create_collection("valid", CollectionType.CALIBRATION, **where)
        certify_datasets("valid", span, [ref.id], **where)
    for moment, number in ((noon - 1, 1), (noon, 2)):
        found = federation.get("sources", ONE, collections="valid", timespan=Timespan.at(moment), **where)
        assert found["id"].tolist() == [number]
    with pytest.raises(ConflictError, match="ambiguous"):
        federation.get("sources", ONE, collections="valid", timespan=Timespan(0, noon + 1), **where)
    command = ["get", "sources", "instrument=C", "detector=1", "--collection", "valid", "--sites", str(sites)]
    command += ["--site", "summit", "-o", str(tmp_path / "got.parq")]
    assert main([*command, "--at", "2026-01-01 12:00:00"]) == 0
    assert capsys.readouterr().out.startswith("sources instrument='C', detector=1 of new: ")
    assert Table.read(tmp_path / "got.parq", format="parquet")["id"].tolist() == [2]
    assert main(command) == 3
    assert "no timespan is given" in capsys.readouterr().err
    assert main([*command, "--at", "noon"]) == 3
    assert "'noon' is not a TAI timestamp" in capsys.readouterr().err


def test_a_file_that_only_another_site_has_is_named_or_fetched(sites: Path) -> None:
    here = {"site": "base", "sites": sites}
    with pytest.raises(NotFoundError, match="'flat' is not declared at base"):
        federation.get("flat", ONE, collections="flats", **here)
    with served(sites, "summit"):
        federation.replicate("base", sites=sites, once=True)
        with pytest.raises(NotFoundError, match="is at summit, not at base"):
            federation.get("flat", ONE, collections="flats", **here)
        found = federation.get("flat", ONE, collections="flats", fetch=True, as_type="numpy.ndarray", **here)
        assert found.shape == (3, 4)
    with pytest.raises(UnavailableError):
        federation.get("flat", ONE, collections="flats", fetch=True, **here)
    assert not list(find_site("base", sites).root.rglob("*.fits"))


def put_note(sites: Path, kill: str = "") -> int:
    """The exit code of a process that puts a note at the summit."""
    put = functools.partial(federation.put, run="notes", once=True, site="summit", sites=sites)
    process = ForkedProcess(put, {"n": 1}, "note", {"instrument": "C"}, kill=kill)
    try:
        return process.wait()
    finally:
        process.end()


@pytest.mark.parametrize("point", ["before_append", "before_commit"])
def test_a_killed_put_leaves_no_row_and_can_be_repeated(sites: Path, tmp_path: Path, point: str) -> None:
    from federation.model.dataset import DatasetType
    from federation.registry.dataset_types import declare
    from federation.registry.registry import Registry

    config = find_site("summit", sites)
    with Registry.open(config) as registry, registry.transaction("summit") as tx:
        declare(tx, DatasetType("note", ("instrument",), "StructuredDataDict"))
    assert put_note(sites, kill=f"transaction.{point}") == -signal.SIGKILL
    identity = deterministic_id("note", "notes", {"instrument": "C"})
    with pytest.raises(NotFoundError, match="is not known"):
        federation.get(identity, site="summit", sites=sites)
    assert len(list(config.root.rglob("note_*.yaml"))) == 1
    assert put_note(sites) == 0
    assert federation.get(identity, site="summit", sites=sites) == {"n": 1}
    assert len(list(config.root.rglob("note_*.yaml"))) == 1
