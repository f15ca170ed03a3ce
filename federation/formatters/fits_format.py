"""FITS files: images with their headers, and tables, through astropy."""

from __future__ import annotations

import warnings
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from federation.errors import UserError
from federation.formatters.fits_extent import fits_region, fits_timespan
from federation.formatters.fits_structure import FITS_SUFFIXES, read_structure
from federation.formatters.formatter import Formatter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["FitsFormatter"]

_HDUS, _CCD = "astropy.io.fits.HDUList", "astropy.nddata.CCDData"
_TABLE, _HEADER = "astropy.table.Table", "astropy.io.fits.Header"


class FitsFormatter(Formatter):
    """Images and tables.

    Its quantities are ``nx`` and ``ny`` of the first image, ``nrows`` of the first table, ``region`` from the first
    image's WCS, ``timespan_begin`` and ``timespan_end`` from DATE-BEG and DATE-END; any other name is that of a
    keyword, in upper case, of the first header that has it.
    """

    name: ClassVar[str] = "fits"
    suffixes: ClassVar[tuple[str, ...]] = FITS_SUFFIXES
    types: ClassVar[tuple[str, ...]] = (_HDUS, _CCD, _TABLE, _HEADER)
    reads_only: ClassVar[tuple[str, ...]] = (_HEADER,)

    def read(self, path: Path, type_: str) -> Any:
        from astropy.io import fits

        with _damaged(path):
            if type_ == _HEADER:
                return fits.getheader(path)
            if type_ == _TABLE:
                return _read_table(path)
            if type_ == _CCD:
                return _read_ccd(path)
            with fits.open(path, memmap=False, lazy_load_hdus=False) as hdus:
                for hdu in hdus:
                    _ = hdu.data  # read now: the file may be gone later
                return hdus

    def write(self, content: Any, type_: str, path: Path) -> None:
        from astropy.io.fits.verify import VerifyError

        try:
            if type_ == _TABLE:
                content.write(path, format="fits", overwrite=True)
            elif type_ == _CCD:
                content.to_hdu(as_image_hdu=False).writeto(path, overwrite=True)
            else:
                content.writeto(path, overwrite=True)
        except (VerifyError, TypeError, ValueError, KeyError) as error:
            raise UserError(
                f"FITS can't hold this {type(content).__name__}: {' '.join(str(error).split())}",
                hint="change its type, columns or header",
            ) from error

    def check(self, path: Path) -> None:
        read_structure(path)

    def metadata(self, path: Path, names: Collection[str]) -> Mapping[str, Any]:
        if not names:
            return {}
        units = read_structure(path)
        found: dict[str, Any] = {}
        image = next((unit for unit in units if len(unit.image_axes) >= 2), None)
        table = next((unit for unit in units if unit.is_table), None)
        for name in names:
            value: Any
            if name in ("nx", "ny"):
                value = image and image.image_axes[name == "ny"]
            elif name == "nrows":
                value = table and table.axes[1]
            elif name == "region":
                value = fits_region(path) if image else None
            elif name in ("timespan_begin", "timespan_end"):
                value = fits_timespan(units)[name == "timespan_end"]
            else:
                values = (unit.value(name) for unit in units)
                value = next((value for value in values if value is not None), None)
            if value is not None:
                found[name] = value
        return found


def _read_table(path: Path) -> Any:
    from astropy.io import fits
    from astropy.table import Table

    number = next((n for n, unit in enumerate(read_structure(path)) if unit.is_table), None)
    if number is None:
        raise UserError(f"{path} has no table", hint="read it as HDUList")
    with fits.open(path, memmap=False) as hdus:
        table = Table.read(hdus, hdu=number, format="fits")
    table.convert_bytestring_to_unicode()
    return table


def _read_ccd(path: Path) -> Any:
    from astropy.nddata import CCDData

    units = read_structure(path)
    number = next((n for n, unit in enumerate(units) if len(unit.image_axes) >= 2), None)
    if number is None:
        raise UserError(f"{path} has no image", hint="read it as HDUList")
    # of an image that doesn't tell its unit, counts are the only safe guess
    unit = None if units[number].value("BUNIT") else "adu"
    return CCDData.read(path, hdu=number, unit=unit)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    from astropy.io.fits.verify import VerifyError
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with warnings.catch_warnings(action="ignore", category=AstropyUserWarning):
            read_structure(path)
            yield
    except (OSError, EOFError, TypeError, ValueError, KeyError, VerifyError, zlib.error) as error:
        reason = " ".join(str(error).split()) or "it cannot be read"
        raise UserError(f"{path} can't be read: {reason}", hint="read it as bytes") from error
