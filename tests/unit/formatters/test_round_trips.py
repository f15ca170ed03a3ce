"""What is written by a formatter is read back equal, for each format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import QTable, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from federation.formatters import formats

cheap = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
KINDS = ["u1", "i2", "i4", "i8", "u2", "u4", "f4", "f8"]


def there_and_back(content: Any, path: Path, storage_class: str, as_type: Any = None) -> Any:
    known = formats()
    formatter = known.for_name(path.name)
    assert formatter is not None
    known.write(content, path, formatter, storage_class)
    return known.read(path, formatter, storage_class, as_type)


@cheap
@given(content=st.dictionaries(TEXT, PLAIN, max_size=5))
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_nested_mappings(tmp_path: Path, suffix: str, content: dict[str, Any]) -> None:
    assert there_and_back(content, tmp_path / f"a{suffix}", "StructuredDataDict") == content


@cheap
@given(content=TEXT)
def test_texts(tmp_path: Path, content: str) -> None:
    assert there_and_back(content, tmp_path / "a.txt", "Text") == content


@cheap
@given(content=st.binary())
def test_bytes(tmp_path: Path, content: bytes) -> None:
    assert there_and_back(content, tmp_path / "a.bin", "Bytes") == content


@cheap
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_pixels_in_fits(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    array = data.draw(hnp.arrays(kind, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
    found = there_and_back(array, tmp_path / "a.fits", "Image", np.ndarray)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@cheap
@given(data=st.data(), held=st.sampled_from([("u1", ()), ("u2", ()), ("u1", (3,)), ("u1", (4,))]))
def test_pictures(tmp_path: Path, data: st.DataObject, held: tuple[str, tuple[int, ...]]) -> None:
    kind, channels = held
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    array = data.draw(hnp.arrays(kind, (rows, columns, *channels)))
    found = there_and_back(array, tmp_path / "a.png", "Plot")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@cheap
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.floats(allow_nan=False),
            st.none() | TEXT,
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_tables_with_nulls_through_astropy(
    tmp_path: Path, rows: list[tuple[int | None, float | None, str | None, bool]]
) -> None:
    types = {"a": pa.int64(), "b": pa.float64(), "c": pa.string(), "d": pa.bool_()}
    columns = [pa.array([row[n] for row in rows], t) for n, t in enumerate(types.values())]
    arrow = pa.table(dict(zip(types, columns, strict=True)))
    assert there_and_back(arrow, tmp_path / "a.parquet", "ArrowTable") == arrow
    if "\0" in "".join(row[2] or "" for row in rows):
        return  # numpy's texts end at the last character that is not NUL
    astropy = formats().read(tmp_path / "a.parquet", formats().formatter("parquet"), "ArrowAstropy")
    again = there_and_back(astropy, tmp_path / "b.parquet", "ArrowAstropy", pa.Table)
    assert again.to_pylist() == arrow.to_pylist()


@pytest.mark.parametrize("name", ["a.parquet", "a.fits", "a.fits.gz"])
def test_tables_with_units_and_arrays(tmp_path: Path, name: str) -> None:
    table = Table({"flux": [1.5, 2.5] * units.nJy, "id": [1, 2], "name": ["é" if "parquet" in name else "e", "abc"],
                   "shape": np.arange(12.0).reshape(2, 2, 3)})  # fmt: skip
    found = there_and_back(table, tmp_path / name, "ArrowAstropy")
    assert type(found) is Table
    assert (found.colnames, found["flux"].unit, list(found["name"])) == (
        table.colnames,
        units.nJy,
        list(table["name"]),
    )
    np.testing.assert_array_equal(found["shape"], table["shape"])
    quantities = formats().read(tmp_path / name, formats().choose(None, name), "ArrowAstropy", QTable)
    assert quantities["flux"].to_value(units.uJy).tolist() == [0.0015, 0.0025]


def test_frames_keep_their_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, None], "s": ["a", "b"]}, index=pd.Index([7, 9], name="id"))
    pd.testing.assert_frame_equal(there_and_back(frame, tmp_path / "a.parquet", "DataFrame"), frame)


def test_images_keep_unit_and_mask(tmp_path: Path) -> None:
    image = CCDData(np.ones((2, 3)), unit="electron", mask=np.eye(2, 3, dtype=bool))
    found = there_and_back(image, tmp_path / "a.fits", "CCDData")
    assert found.unit == units.electron
    np.testing.assert_array_equal(found.mask, image.mask)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
def test_fits_files_are_read_whole_and_may_then_go(tmp_path: Path, name: str) -> None:
    pixels = np.arange(10_000, dtype="i2").reshape(100, 100)
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels, name="SCI"), fits.CompImageHDU(pixels)])
    found = there_and_back(hdus, tmp_path / name, "Exposure")
    (tmp_path / name).unlink()
    np.testing.assert_array_equal(found["SCI"].data, pixels)
    again = there_and_back(found, tmp_path / f"b{name}", "ExposureF", np.ndarray)
    np.testing.assert_array_equal(again, pixels)
