"""The structure of FITS files as read from their headers: what astropy writes is whole, and any part of it is not."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.errors import UserError
from federation.formatters.fits_structure import read_structure


def sample() -> fits.HDUList:
    pixels = np.arange(2000, dtype="i2").reshape(40, 50)
    long = fits.Header({f"KEY{number}": number for number in range(80)} | {"NAME": "it's / here"})
    table = Table({"a": np.arange(500), "b": np.ones((500, 3))})
    return fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(pixels, long), fits.CompImageHDU(pixels), fits.BinTableHDU(table)]
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fits") / "whole.fits"
    sample().writeto(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_agrees_with_astropy(tmp_path: Path, whole: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    units = read_structure(path)
    with fits.open(path) as hdus:
        infos = [hdu.fileinfo() for hdu in hdus]
    assert [unit.data_at for unit in units] == [info["datLoc"] for info in infos]
    assert [unit.image_axes for unit in units] == [(), (50, 40), (50, 40), ()]
    assert [unit.is_table for unit in units] == [False, False, False, True]
    assert (units[1].value("KEY79"), units[1].value("name"), units[1].value("KEY99")) == (
        79,
        "it's / here",
        None,
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_part_of_a_file_is_whole(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    # a file cut exactly between two units is one with fewer units
    ends = [unit.data_at + -(-unit.data_bytes // 2880) * 2880 for unit in _units(tmp_path, whole)]
    size = data.draw(
        st.integers(0, len(whole) - 1) | st.integers(0, len(whole) // 2880 - 1).map((2880).__mul__)
    )
    (tmp_path / "part.fits").write_bytes(whole[:size])
    if size in ends:
        assert len(read_structure(tmp_path / "part.fits")) == ends.index(size) + 1
        return
    with pytest.raises(UserError, match=r"part\.fits is not a whole FITS file"):
        read_structure(tmp_path / "part.fits")


def _units(tmp_path: Path, content: bytes) -> tuple[object, ...]:
    (tmp_path / "all.fits").write_bytes(content)
    return read_structure(tmp_path / "all.fits")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 2879), byte=st.binary(min_size=1, max_size=3))
def test_damage_is_an_error_of_one_line_or_none(
    tmp_path: Path, whole: bytes, place: int, byte: bytes
) -> None:
    damaged = whole[:place] + byte + whole[place + len(byte) :]
    (tmp_path / "damaged.fits").write_bytes(damaged)
    message = ""
    try:
        read_structure(tmp_path / "damaged.fits")
    except UserError as error:
        message = error.message
    assert not message or ("damaged.fits" in message and "\n" not in message)


@pytest.mark.parametrize(
    ("keyword", "value"), [("NAXIS", "x"), ("NAXIS", "-1"), ("NAXIS1", "-3"), ("BITPIX", ""), ("NAXIS2", None)]
)  # fmt: skip
def test_a_senseless_header_is_named(tmp_path: Path, keyword: str, value: str | None) -> None:
    cards = {"SIMPLE": "T", "BITPIX": "8", "NAXIS": "2", "NAXIS1": "4", "NAXIS2": "4", keyword: value}
    lines = [f"{key:8}= {text:>20}".ljust(80) for key, text in cards.items() if text is not None]
    header = ("".join(lines) + "END".ljust(80)).ljust(2880)
    (tmp_path / "a.fits").write_bytes(header.encode() + bytes(2880))
    with pytest.raises(UserError, match=f"not a whole FITS file: .*{keyword.rstrip('12')}"):
        read_structure(tmp_path / "a.fits")


def test_a_header_without_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =                    T".ljust(2880))
    with pytest.raises(UserError, match="the header at byte 0 has no end"):
        read_structure(tmp_path / "a.fits")
