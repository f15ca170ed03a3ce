"""The converters that come with the package: images among themselves, tables among themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.errors import UserError

if TYPE_CHECKING:
    from federation.formatters.converters import Converters

__all__ = ["add_conversions"]

HDUS, CCD, ARRAY = "astropy.io.fits.HDUList", "astropy.nddata.CCDData", "numpy.ndarray"
TABLE, QTABLE = "astropy.table.Table", "astropy.table.QTable"
ARROW, SCHEMA, FRAME = "pyarrow.Table", "pyarrow.Schema", "pandas.DataFrame"
PICTURE = "PIL.Image.Image"


def add_conversions(converters: Converters) -> None:
    """Register them all."""
    for source, target, convert in (
        (HDUS, ARRAY, array_of_hdus),
        (ARRAY, HDUS, hdus_of_array),
        (PICTURE, ARRAY, _array_of_picture),
        (CCD, ARRAY, lambda ccd: ccd.data),
        (CCD, HDUS, lambda ccd: ccd.to_hdu(as_image_hdu=False)),
        (TABLE, QTABLE, _qtable),
        (QTABLE, TABLE, _table),
        (TABLE, ARROW, arrow_of_table),
        (ARROW, TABLE, table_of_arrow),
        (ARROW, FRAME, lambda table: table.to_pandas()),
        (FRAME, ARROW, arrow_of_frame),
        (ARROW, SCHEMA, lambda table: table.schema),
    ):
        converters.add(source, target, convert)


def array_of_hdus(hdus: Any) -> Any:
    """Pixels of the first image, in this computer's byte order."""
    for hdu in hdus:
        if hdu.is_image and hdu.data is not None:
            return hdu.data.astype(hdu.data.dtype.newbyteorder("="), copy=False)
    raise UserError("no unit of the FITS file has an image", hint="read it as HDUList")


def hdus_of_array(array: Any) -> Any:
    """A FITS file with one image and no more header than it needs."""
    from astropy.io import fits

    try:
        return fits.HDUList([fits.PrimaryHDU(array)])
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"FITS can't hold an array of {array.dtype} with shape {array.shape}",
            hint="use integers or floats, in one axis or more",
        ) from error


def _array_of_picture(picture: Any) -> Any:
    import numpy as np

    return np.array(picture)


def _qtable(table: Any) -> Any:
    from astropy.table import QTable

    return QTable(table)


def _table(table: Any) -> Any:
    from astropy.table import Table

    return Table(table)


def arrow_of_table(table: Any) -> Any:
    """Columns with their units (as metadata of the field); masked values become nulls, arrays lists of one size."""
    import numpy as np
    import pyarrow as pa

    arrays, fields = [], []
    for name in table.colnames:
        column = table[name]
        values = np.asarray(getattr(column, "value", column))
        mask = np.asarray(column.mask) if getattr(column, "mask", None) is not None else None
        if values.dtype.kind == "O":
            array = pa.array(list(column.tolist()))
        else:
            native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
            flat = native.reshape(-1)
            if flat.dtype.kind == "S":
                flat = flat.astype(object)
            array = pa.array(flat, mask=None if mask is None else np.ascontiguousarray(mask).reshape(-1))
            for size in reversed(values.shape[1:]):
                array = pa.FixedSizeListArray.from_arrays(array, size)
        unit = {"unit": str(column.unit)} if column.unit is not None else None
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=unit))
    return pa.table(arrays, schema=pa.schema(fields))


def table_of_arrow(arrow: Any) -> Any:
    """Columns with their units; nulls are masked."""
    import numpy as np
    import pyarrow as pa
    from astropy.table import Column, MaskedColumn, Table

    columns = []
    for field, chunked in zip(arrow.schema, arrow.columns, strict=True):
        array = chunked.combine_chunks()
        unit = (field.metadata or {}).get(b"unit", b"").decode() or None
        shape: tuple[int, ...] = ()
        while pa.types.is_fixed_size_list(array.type) and not array.null_count:
            shape = (*shape, array.type.list_size)
            array = array.flatten()
        if array.null_count and not pa.types.is_nested(array.type):
            mask = array.is_null().to_numpy(zero_copy_only=False)
            filled = array.fill_null(_filling(array.type))
            values = _numpy(filled)
            columns.append(MaskedColumn(values, mask=mask, name=field.name, unit=unit))
            continue
        values = _numpy(array)
        columns.append(
            Column(np.reshape(values, (len(arrow), *shape)) if shape else values, name=field.name, unit=unit)
        )
    return Table(columns, copy=False)


def _numpy(array: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    values = array.to_numpy(zero_copy_only=False)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return values.astype(str) if len(values) else np.array([], dtype="U1")
    return values


def _filling(type_: Any) -> Any:
    """A value that stands where the mask hides it."""
    import pyarrow as pa

    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return ""
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return b""
    if pa.types.is_boolean(type_):
        return False
    return pa.scalar(0, pa.int64()).cast(type_) if pa.types.is_temporal(type_) else pa.scalar(0).cast(type_)


def arrow_of_frame(frame: Any) -> Any:
    """The frame's columns and index, as pandas describes them to Arrow."""
    import pyarrow as pa

    try:
        return pa.Table.from_pandas(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UserError(
            f"a column has values of several types: {' '.join(str(error).split())}",
            hint="give each column one type",
        ) from error
