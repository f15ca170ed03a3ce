"""Storage classes: what a dataset is in memory, and how one is written unless its file says otherwise."""

from __future__ import annotations

import attrs

__all__ = ["STORAGE_CLASSES", "StorageClass"]


@attrs.frozen
class StorageClass:
    """``type`` is the dotted name of what `get` gives; ``formatter`` names what `put` writes with."""

    name: str
    type: str
    formatter: str
    doc: str = ""


def _many(names: str, type_: str, formatter: str, doc: str) -> tuple[StorageClass, ...]:
    return tuple(StorageClass(name, type_, formatter, doc) for name in names.split())


#: names as the Rubin Data Butler has them, so that dataset types carry over
STORAGE_CLASSES: tuple[StorageClass, ...] = (
    *_many(
        "Exposure ExposureF ExposureI ExposureD ExposureU MaskedImage MaskedImageF MaskedImageI",
        "astropy.io.fits.HDUList",
        "fits",
        "an image with its mask, variance and headers",
    ),
    *_many(
        "Image ImageF ImageI ImageD ImageU ImageL Mask MaskX",
        "astropy.io.fits.HDUList",
        "fits",
        "an image with its header",
    ),
    StorageClass("CCDData", "astropy.nddata.CCDData", "fits", "an image with unit, mask and WCS"),
    StorageClass("NumpyImage", "numpy.ndarray", "fits", "pixels alone"),
    StorageClass("Plot", "numpy.ndarray", "png", "a picture: rows, columns, channels"),
    StorageClass("ArrowTable", "pyarrow.Table", "parquet", "a table"),
    StorageClass("ArrowAstropy", "astropy.table.Table", "parquet", "a table with units"),
    StorageClass("AstropyTable", "astropy.table.Table", "fits", "a table with units"),
    StorageClass("AstropyQTable", "astropy.table.QTable", "fits", "a table of quantities"),
    StorageClass("DataFrame", "pandas.DataFrame", "parquet", "a table with an index"),
    StorageClass("ArrowSchema", "pyarrow.Schema", "parquet", "the columns of a table"),
    *_many(
        "StructuredDataDict StructuredData TaskMetadata PackagesDict",
        "dict",
        "yaml",
        "nested mappings, lists and plain values",
    ),
    StorageClass("StructuredDataList", "list", "yaml", "a list of plain values"),
    StorageClass("Text", "str", "text", "a text"),
    StorageClass("Bytes", "bytes", "bytes", "bytes, as they are"),
)
