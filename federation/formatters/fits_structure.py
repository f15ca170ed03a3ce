"""The units of a FITS file and where their bytes are, from the headers alone and without a FITS library.

Opening a file with astropy takes a millisecond or more; a night has a hundred thousand files. The rules are those of
the FITS standard 4.0, sections 3 and 4. Values of keywords are left to astropy's cards.
"""

from __future__ import annotations

import gzip
import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import attrs

from federation.errors import UserError

__all__ = ["FITS_SUFFIXES", "HeaderUnit", "read_structure"]

FITS_SUFFIXES = (".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")
_BLOCK = 2880
_CARD = 80
_END = b"END".ljust(_CARD)
#: a header longer than this is no header (it would hold 25,000 cards)
_HEADER_BYTES_MAX = 2_000_000


@attrs.define
class HeaderUnit:
    """One header, and the place and size of the data that follow it; ``axes`` are NAXIS1, NAXIS2, ..."""

    text: bytes = attrs.field(repr=False)
    axes: tuple[int, ...]
    data_at: int
    data_bytes: int

    @property
    def is_table(self) -> bool:
        """Whether rows and columns follow, and not the tiles of a compressed image."""
        return self._plain("XTENSION").startswith(("'BINTABLE", "'TABLE")) and self._plain("ZIMAGE") != "T"

    @cached_property
    def image_axes(self) -> tuple[int, ...]:
        """Axes of the image that follows, compressed or not; ``()`` when there is none."""
        if self._plain("ZIMAGE") == "T":
            count = int(self._plain("ZNAXIS") or 0)
            return tuple(int(self._plain(f"ZNAXIS{n}") or 0) for n in range(1, count + 1))
        return () if self.is_table else self.axes

    def value(self, keyword: str) -> Any:
        """Value of a keyword: bool, int, float or text; None where it is not, or is empty."""
        card = _card(self.text, keyword.upper())
        if not card:
            return None
        from astropy.io.fits import Card

        value = Card.fromstring(card).value
        if isinstance(value, str):
            return value.strip()
        return value if isinstance(value, bool | int | float) else None

    def _plain(self, keyword: str) -> str:
        """The text of a value of fixed form."""
        return _card(self.text, keyword)[10:].partition("/")[0].strip()


def _card(text: bytes, keyword: str) -> str:
    """The first card with this keyword and a value; ``""`` where there is none."""
    wanted = keyword.encode("latin-1", "replace").ljust(8) + b"= "
    at = text.find(wanted)
    while at % _CARD and at >= 0:
        at = text.find(wanted, at + 1)
    return text[at : at + _CARD].decode("latin-1") if at >= 0 else ""


def read_structure(path: Path) -> tuple[HeaderUnit, ...]:
    """Every unit of a local FITS file, packed by gzip or not.

    `UserError` when it isn't FITS, or has not all the bytes that its headers announce.
    """
    try:
        if path.name.lower().endswith(".gz"):
            with gzip.open(path) as packed:
                return _units(cast("IO[bytes]", packed), None)
        with path.open("rb", buffering=0) as file:
            return _units(file, os.fstat(file.fileno()).st_size)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split()) or "it cannot be read"
        raise UserError(
            f"{path} is not a whole FITS file: {reason}", hint="copy it again from where it was made"
        ) from error


def _units(file: IO[bytes], size_bytes: int | None) -> tuple[HeaderUnit, ...]:
    units: list[HeaderUnit] = []
    at = 0
    while size_bytes is None or at < size_bytes:
        file.seek(at)
        first = file.read(_BLOCK)
        if not first and units:
            break
        if not first.startswith(b"XTENSION" if units else b"SIMPLE  ="):
            if units and len(first) == _BLOCK:
                break  # records after the last unit, which the standard allows
            raise ValueError(f"what is at byte {at} is no header")
        unit = _unit(file, first, at)
        units.append(unit)
        at = unit.data_at + -(-unit.data_bytes // _BLOCK) * _BLOCK
    if not units:
        raise ValueError("it is empty")
    if size_bytes is None:  # of a packed file, reading to the end tells, and checks, its size
        file.seek(at)
        size_bytes = file.tell() + sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))
    if size_bytes < at or size_bytes % _BLOCK:
        raise ValueError(f"it has {size_bytes} bytes, its headers announce {at}")
    return tuple(units)


def _unit(file: IO[bytes], first: bytes, at: int) -> HeaderUnit:
    text = first
    while len(text) % _BLOCK == 0:
        # cards after END are blank, so that END stands in the last block if anywhere
        last = max(len(text) - _BLOCK, 0)
        end = text.find(_END, last)
        while end % _CARD and end >= 0:
            end = text.find(_END, end + 1)
        if end >= 0:
            return _sized(text[:end], at + len(text))
        block = file.read(_BLOCK)
        if not block or len(text) > _HEADER_BYTES_MAX:
            break
        text += block
    raise ValueError(f"the header at byte {at} has no end")


def _sized(text: bytes, data_at: int) -> HeaderUnit:
    def number(keyword: str, default: int | None = None) -> int:
        card = _card(text, keyword)
        if not card:
            if default is None:
                raise ValueError(f"the header that ends at byte {data_at} lacks {keyword}")
            return default
        try:
            return int(card[10:].partition("/")[0])
        except ValueError:
            raise ValueError(f"{keyword} is {card[10:].strip()!r}, not a number") from None

    count = number("NAXIS")
    if not 0 <= count <= 999:
        raise ValueError(f"NAXIS is {count}")
    axes = tuple(number(f"NAXIS{n}") for n in range(1, count + 1))
    if min(axes, default=0) < 0:
        raise ValueError(f"NAXIS has a negative length in {axes}")
    groups = bool(axes) and axes[0] == 0 and _card(text, "GROUPS")[10:].partition("/")[0].strip() == "T"
    elements = 1 if axes else 0
    for length in axes[1:] if groups else axes:
        elements *= length
    factor = number("GCOUNT", 1) * abs(number("BITPIX")) // 8
    size = factor * (number("PCOUNT", 0) + elements) if axes else 0
    if size < 0:
        raise ValueError(f"the header that ends at byte {data_at} announces {size} bytes")
    return HeaderUnit(text, axes, data_at, size)
