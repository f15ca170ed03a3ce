"""Choosing formatters, converting between types, and what is said when a type, file or library does not fit."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table

from federation.errors import ConflictError, UserError
from federation.formatters import Formats, Formatter, StorageClass


@pytest.fixture
def known() -> Formats:
    return Formats()


@pytest.mark.parametrize(
    ("name", "formatter"),
    [
        ("a.fits", "fits"), ("night.1/A.FITS.GZ", "fits"), ("a.b.fz", None), ("a.fits.fz", "fits"), ("x.PQ", "parquet"),
        ("a.yml", "yaml"), ("a.json", "json"), ("README", None), ("a.gz", None), ("a.png", "png"), ("d.fits/x", None),
    ],
)  # fmt: skip
def test_a_suffix_says_the_formatter(known: Formats, name: str, formatter: str | None) -> None:
    found = known.for_name(name)
    assert (found and found.name) == formatter


def test_a_formatter_on_record_comes_before_the_suffix(known: Formats) -> None:
    assert known.choose("yaml", "a.json").name == "yaml"
    assert known.choose("lsst.obs.base.formatters.FitsExposureFormatter", "a.fits").name == "fits"
    assert known.choose(None, "a.unknown").name == "bytes"
    with pytest.raises(UserError, match="no formatter 'hdf'"):
        known.formatter("hdf")


def test_what_a_file_cannot_be_read_as_is_said_with_what_it_can(known: Formats, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\n")
    with pytest.raises(UserError, match=r"a\.yaml .*can't be read as DataFrame") as caught:
        known.read(path, known.choose(None, "a.yaml"), "StructuredDataDict", pd.DataFrame)
    assert caught.value.hint == "possible: dict, list, bytes"
    assert known.read(path, known.choose(None, "a.yaml"), "StructuredDataDict", bytes) == b"a: 1\n"
    assert known.read(path, known.choose(None, "a.yaml"), "NobodyKnows") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "storage_class", "message"),
    [
        ({"a": 1}, "Exposure", "a dict is of the wrong storage class: Exposure is a HDUList"),
        (pd.DataFrame({"a": [1]}), "ImageF", "a DataFrame is of the wrong storage class"),
        (np.zeros(3), "ArrowTable", "a ndarray is of the wrong storage class: ArrowTable is a Table"),
        (Fraction(1, 2), "Bytes", "a Fraction is of the wrong storage class"),
    ],
)  # fmt: skip
def test_an_object_of_the_wrong_storage_class_is_refused(
    known: Formats, tmp_path: Path, content: Any, storage_class: str, message: str
) -> None:
    formatter = known.formatter(known.storage_class(storage_class).formatter)  # type: ignore[union-attr]
    with pytest.raises(UserError, match=message):
        known.write(content, tmp_path / "a", formatter, storage_class)
    assert not (tmp_path / "a").exists()


def test_a_file_of_the_wrong_storage_class_is_refused(known: Formats) -> None:
    with pytest.raises(
        UserError, match=r"a\.yaml \(formatter yaml\) is of the wrong storage class: Exposure"
    ):
        known.check_fits(known.formatter("yaml"), "Exposure", "a.yaml")
    known.check_fits(known.formatter("fits"), "ArrowAstropy", "a.fits")
    known.check_fits(known.formatter("yaml"), "SkyMap", "a.yaml")


@pytest.mark.parametrize(
    ("name", "content", "storage_class", "message"),
    [
        ("a.fits", b"SIMPLE", "Exposure", "is not a whole FITS file"),
        ("a.fits", b"", "Exposure", "is not a whole FITS file"),
        ("a.fits.gz", b"no gzip", "Exposure", "is not a whole FITS file"),
        ("a.png", b"\x89PNG\r\n", "Plot", "is not a whole PNG file"),
        ("a.parquet", b"PAR1", "ArrowTable", "is not a whole Parquet file"),
        ("a.yaml", b"a: [", "StructuredDataDict", "is not YAML"),
        ("a.yaml", b"[1]", "StructuredDataDict", "holds list, not dict"),
        ("a.json", b"{", "StructuredDataDict", "is not JSON"),
        ("a.json", b"\xff", "StructuredDataDict", "is not text"),
        ("a.txt", b"\xff", "Text", "is not text"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(
    known: Formats, tmp_path: Path, name: str, content: bytes, storage_class: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        known.read(path, known.choose(None, name), storage_class)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "storage_class", "message"),
    [
        ("a.json", {1: 2}, "StructuredDataDict", "the key 1"),
        ("a.json", {"a": {1}}, "StructuredDataDict", "JSON can't hold"),
        ("a.yaml", {"a": object()}, "StructuredDataDict", "YAML can't hold"),
        ("a.png", np.zeros((2, 2)), "Plot", "PNG can't hold an array of float64"),
        ("a.fits", np.zeros((2, 2), complex), "Image", "FITS can't hold an array of complex128"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_refused(
    known: Formats, tmp_path: Path, name: str, content: Any, storage_class: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        known.write(content, tmp_path / name, known.choose(None, name), storage_class)


class IniFormatter(Formatter):
    """Lines of ``key = value``."""

    name: ClassVar[str] = "ini"
    suffixes: ClassVar[tuple[str, ...]] = (".ini",)
    types: ClassVar[tuple[str, ...]] = ("dict",)

    def read(self, path: Path, type_: str) -> Any:
        return dict(line.split(" = ", 1) for line in path.read_text().splitlines())

    def write(self, content: Any, type_: str, path: Path) -> None:
        path.write_text("".join(f"{key} = {value}\n" for key, value in content.items()))


def test_users_add_formats_classes_and_converters(known: Formats, tmp_path: Path) -> None:
    known.register_formatter(IniFormatter())
    known.register_storage_class(StorageClass("Settings", "dict", "ini"))
    known.register_converter(dict, Fraction, lambda d: Fraction(int(d["a"]), int(d["b"])))
    formatter = known.choose(None, "x.ini")
    known.write({"a": "1", "b": "2"}, tmp_path / "x.ini", formatter, "Settings")
    assert known.read(tmp_path / "x.ini", formatter, "Settings") == {"a": "1", "b": "2"}
    assert known.read(tmp_path / "x.ini", formatter, "Settings", Fraction) == Fraction(1, 2)
    assert known.read(tmp_path / "x.ini", formatter, "Settings", "fractions.Fraction") == Fraction(1, 2)
    with pytest.raises(ConflictError, match="another storage class 'Settings'"):
        known.register_storage_class(StorageClass("Settings", "str", "text"))
    with pytest.raises(UserError, match="no formatter 'hdf'"):
        known.register_storage_class(StorageClass("Cube", "numpy.ndarray", "hdf"))
    with pytest.raises(ConflictError, match="formatter 'ini'"):
        known.register_formatter(IniFormatter())


@pytest.mark.parametrize(
    ("name", "message"),
    [("nolibrary.Thing", "needs the package nolibrary"), ("numpy.Nothing", "no Python type"), ("numpy.pi", "not a")],
)  # fmt: skip
def test_a_type_that_is_not_there_is_named(known: Formats, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        known.read(tmp_path / "a.yaml", known.formatter("yaml"), "StructuredDataDict", name)


def test_quantities_of_a_file_are_read_without_it(known: Formats, tmp_path: Path) -> None:
    header = fits.Header({"EXPTIME": 30.5, "OBJECT": "M 51 ", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
                          "CRVAL1": 0.01, "CRVAL2": -30.0, "CDELT1": -0.001, "CDELT2": 0.001, "CRPIX1": 20.0,
                          "CRPIX2": 10.0,
                          "DATE-BEG": "2026-01-01T00:00:00", "DATE-END": "2026-01-01T00:00:30.5"})  # fmt: skip
    units = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((20, 40), "f4"), header),
        fits.BinTableHDU(Table({"a": [1, 2, 3]})),
    ]
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    names = ["nx", "ny", "nrows", "exptime", "object", "nothing", "timespan_begin", "timespan_end", "region"]
    found = dict(known.formatter("fits").metadata(tmp_path / "a.fits", names))
    region = found.pop("region")
    assert found == {
        "nx": 40, "ny": 20, "nrows": 3, "exptime": 30.5, "object": "M 51",
        "timespan_begin": 1_767_225_637_000_000_000, "timespan_end": 1_767_225_667_500_000_000,
    }  # fmt: skip
    from lsst.sphgeom import LonLat, Region, UnitVector3d

    polygon = Region.decode(region)
    assert polygon.contains(UnitVector3d(LonLat.fromDegrees(0.01, -30.0)))
    assert polygon.contains(UnitVector3d(LonLat.fromDegrees(359.999, -30.0)))
    assert not polygon.contains(UnitVector3d(LonLat.fromDegrees(0.01, -29.9)))
    known.write(pa.table({"a": [1, 2]}), tmp_path / "a.parquet", known.formatter("parquet"), "ArrowTable")
    assert known.formatter("parquet").metadata(tmp_path / "a.parquet", ["nrows", "nx"]) == {"nrows": 2}
    known.write(np.zeros((2, 3), "u1"), tmp_path / "a.png", known.formatter("png"), "Plot")
    assert known.formatter("png").metadata(tmp_path / "a.png", ["nx", "ny"]) == {"nx": 3, "ny": 2}


def test_libraries_that_are_not_wanted_are_not_imported() -> None:
    code = (
        "import sys; from federation.formatters import formats; f = formats(); f.choose(None, 'a.fits');"
        "print([m for m in ('astropy', 'pandas', 'PIL') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("missing", "name", "storage_class", "extra"),
    [("PIL", "a.png", "Plot", "images"), ("pandas", "a.parquet", "DataFrame", "pandas")],
)
def test_a_missing_library_is_named_with_what_installs_it(
    known: Formats,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    name: str,
    storage_class: str,
    extra: str,
) -> None:
    for module in [m for m in sys.modules if m == missing or m.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="is not installed") as caught:
        known.read(tmp_path / name, known.choose(None, name), storage_class)
    assert f"federation[{extra}]" in caught.value.hint
