"""What a FITS file is, from its header: translated for the instruments that astro_metadata_translator knows."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation.errors import NotFoundError, UserError
from federation.formatters.fits_extent import tai_ns
from federation.model.logical import LogicalType, dimension_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.dimension import DimensionUniverse
    from federation.model.logical import ColumnDef
    from federation.registry.files.header_config import HeaderRules, Rule

__all__ = ["HeaderTranslator"]

_DAY_NS = 86_400_000_000_000
#: the entry points under which packages of instruments bring their translators
_PLUGINS = "astro_metadata_translators"


class HeaderTranslator:
    """Data IDs and dimension records of files by `HeaderRules`; one object serves the files of one ingest.

    Records that it has given once it does not give again: the detectors of an exposure share most of theirs.
    """

    def __init__(self, universe: DimensionUniverse, rules: HeaderRules, *, records: bool = True) -> None:
        self.universe, self.rules = universe, rules
        self._tables = {table.name: table for table in dimension_tables(universe)}
        self._wanted = rules.records if records else {}
        self._given: set[tuple[str, tuple[Any, ...]]] = set()
        _load_plugins()

    def describe(self, path: Path) -> tuple[dict[str, Any], dict[str, tuple[dict[str, Any], ...]]]:
        """(data ID, records by element) of a local FITS file; what its header doesn't tell is left out.

        `NotFoundError` when no translator knows the instrument; `UserError` when the file isn't FITS.
        """
        return self.translate(_header(path), path)

    def translate(
        self, header: Any, path: Path
    ) -> tuple[dict[str, Any], dict[str, tuple[dict[str, Any], ...]]]:
        """`describe` for a header that was read from ``path``."""
        translator = _translator(header, path)
        keys = {
            element: [rules[name] for name in self._tables[element].key]
            for element, rules in self._wanted.items()
        }
        first = [*self.rules.data_id.values(), *(rule for rules in keys.values() for rule in rules)]
        found = _quantities(header, path, translator, first)
        data_id = {}
        for name, rule in self.rules.data_id.items():
            value = _value(rule, found, self.universe[name].key_type, "")
            if value is not None:
                data_id[name] = value
        records: dict[str, tuple[dict[str, Any], ...]] = {}
        for element, rules in self._wanted.items():
            table = self._tables[element]
            key = tuple(
                _value(rule, found, table.column(name).type, "")
                for name, rule in zip(table.key, keys[element], strict=True)
            )
            if None in key or (element, key) in self._given:
                continue
            self._given.add((element, key))
            missing = [rule for rule in rules.values() if not rule.needs <= found.keys()]
            if missing:
                found |= _quantities(header, path, translator, missing)
            row = {
                name: _column_value(rule, found, table.column(name), f"{path}: {element}.{name}")
                for name, rule in rules.items()
            }
            records[element] = ({name: value for name, value in row.items() if value is not None},)
        return data_id, records


def _load_plugins() -> None:
    """Make known the translators of packages that are installed."""
    for entry_point in entry_points(group=_PLUGINS):
        entry_point.load()  # importing them is enough


def _header(path: Path) -> Any:
    """The primary header, completed and overruled by that of the first extension."""
    from astro_metadata_translator import merge_headers
    from astropy.io import fits
    from astropy.io.fits.verify import VerifyError
    from astropy.utils.exceptions import AstropyUserWarning

    try:
        with (
            warnings.catch_warnings(action="ignore", category=AstropyUserWarning),
            fits.open(path, memmap=True) as hdus,
        ):
            headers = [hdus[0].header]
            if len(hdus) > 1:
                headers.append(hdus[1].header)
            return merge_headers(headers, mode="overwrite")
    except (OSError, EOFError, TypeError, ValueError, KeyError, VerifyError, zlib.error) as error:
        reason = " ".join(str(error).split()) or "it cannot be read"
        raise UserError(
            f"{path} is not a whole FITS file: {reason}", hint="copy it again from where it was made"
        ) from error


def _translator(header: Any, path: Path) -> Any:
    from astro_metadata_translator import MetadataTranslator

    try:
        return MetadataTranslator.determine_translator(header, filename=str(path))
    except ValueError as error:
        name = next((str(header[key]) for key in ("INSTRUME", "TELESCOP") if header.get(key)), None)
        what = f"no translator knows the instrument {name!r}" if name else "its header names no instrument"
        known = ", ".join(sorted(MetadataTranslator.translators))
        raise NotFoundError(
            f"nothing says what {path} is: {what}",
            hint=f"write a sidecar, or give a mapping of FITS keywords; instruments known: {known}",
        ) from error


def _quantities(header: Any, path: Path, translator: Any, rules: Iterable[Rule]) -> dict[str, Any]:
    """The quantities that the rules need; None for one that the header doesn't give."""
    from astro_metadata_translator import ObservationInfo

    wanted = {name for rule in rules for name in rule.needs}
    derived = {name for name in wanted if name.startswith("observing_day_")}
    subset = (wanted - derived) | ({"observing_day", "observing_day_offset"} if derived else set())
    try:
        with warnings.catch_warnings(action="ignore"):  # of dates and coordinates that are not exact
            info = ObservationInfo(
                header, filename=str(path), translator_class=translator, subset=subset, quiet=True
            )
    except (KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"{path}: its header can't be translated: {' '.join(str(error).split())}",
            hint="mend the header, or write a sidecar",
        ) from error
    found = {name: getattr(info, name) for name in subset}
    if derived:
        begin = _day_begin(found["observing_day"], found["observing_day_offset"])
        found["observing_day_begin"] = begin
        found["observing_day_end"] = None if begin is None else begin + _DAY_NS
    return found


def _day_begin(day: int | None, offset: Any) -> int | None:
    """TAI nanoseconds at which an observing day YYYYMMDD begins."""
    if day is None or offset is None:
        return None
    from astropy.time import Time

    text = f"{day:08d}"
    begin: int = tai_ns(Time(f"{text[:4]}-{text[4:6]}-{text[6:]}T00:00:00", scale="tai"))
    return begin + round(float(offset.sec) * 1e9)


def _column_value(rule: Rule, found: Mapping[str, Any], column: ColumnDef, where: str) -> Any:
    value = _value(rule, found, column.type, column.unit)
    if value is None and not column.nullable:
        raise UserError(
            f"{where} is not in the header (quantity {rule.quantity})", hint="write a sidecar for this file"
        )
    return value


def _value(rule: Rule, found: Mapping[str, Any], type_: LogicalType, unit: str) -> Any:
    """The value that a rule makes for a column; None when the header doesn't give it."""
    for name, wanted in rule.only_if:
        if found.get(name) != wanted:
            return None
    name, *attributes = rule.quantity.split(".")
    value = found.get(name)
    for attribute in attributes:
        if value is not None and hasattr(value, "icrs") and attribute in ("ra", "dec"):
            value = value.icrs
        value = getattr(value, attribute, None)
    if value is None:
        return None
    value = _plain(value, type_, unit)
    if isinstance(value, str) and rule.patterns:
        value = next(
            (match.expand(new) for pattern, new in rule.patterns if (match := pattern.fullmatch(value))), None
        )
    return value.lower() if isinstance(value, str) and rule.lower else value


def _plain(value: Any, type_: LogicalType, unit: str) -> Any:
    """A quantity as a column of a type holds it; None for numbers that are none."""
    if type_ is LogicalType.TIMESTAMP:
        return value if isinstance(value, int) else tai_ns(value)
    if hasattr(value, "to_value"):
        kind = value.unit.physical_type
        value = value.to_value(unit or {"angle": "deg", "time": "s"}.get(str(kind), value.unit))
    if type_ is LogicalType.FLOAT64:
        value = float(value)
        return value if value - value == 0 else None
    if type_ is LogicalType.STRING:
        return str(value)
    return bool(value) if type_ is LogicalType.BOOL else int(value)
