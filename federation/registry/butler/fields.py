"""Typed access to the mappings of one export file, with errors that name file, line and value."""

from __future__ import annotations

import uuid
from typing import Any

import attrs

from federation.errors import UserError
from federation.model.logical import LogicalType
from federation.model.timespan import Timespan
from federation.registry.butler.yaml_text import INT64_MAX, INT64_MIN, Located, Moment, butler_timespan
from federation.registry.columns import is_storable_text

__all__ = ["Fields", "is_of_type", "short"]

#: namespace of the ids that stand for the integers of old files: the Butler's own
INTEGER_ID_NAMESPACE = uuid.UUID("4d4851f4-2890-4d41-8779-5f38a3f5062b")

# types are compared exactly: a bool is an int to Python, and so is a Moment
_PYTHON_TYPES: dict[LogicalType, tuple[type, ...]] = {
    LogicalType.INT64: (int,),
    LogicalType.FLOAT64: (float, int),
    LogicalType.BOOL: (bool,),
    LogicalType.STRING: (str,),
    LogicalType.BYTES: (bytes,),
    LogicalType.UUID: (uuid.UUID,),
    LogicalType.TIMESTAMP: (Moment,),
}


def is_of_type(value: Any, type_: LogicalType) -> bool:
    """Whether every database can store ``value`` as the type: 64-bit integers, text without NUL."""
    if type(value) not in _PYTHON_TYPES[type_]:
        return False
    if isinstance(value, str):
        return is_storable_text(value)
    return type(value) is not int or INT64_MIN <= value <= INT64_MAX


def short(value: Any) -> str:
    """The value as an error shows it, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@attrs.frozen
class Fields:
    """Reads fields of mappings; ``where`` names the file."""

    where: str

    def error(self, at: Located | int, message: str, hint: str) -> UserError:
        """An error at a mapping, or at a line."""
        line = at if isinstance(at, int) else at.line
        return UserError(f"{self.where}:{line}: {message}", hint=hint)

    def check(self, entry: Located, what: str, required: set[str], optional: set[str] | None = None) -> None:
        """Refuse an unknown key, or the lack of a required one (``type`` is known everywhere)."""
        known = required | (optional or set())
        for name in entry:
            if name not in known and name != "type":
                hint = "known: " + ", ".join(sorted(known))
                raise self.error(entry, f"{what} has unknown key {name!r}", hint)
        for name in sorted(required):
            if name not in entry:
                hint = "it needs " + ", ".join(sorted(required))
                raise self.error(entry, f"{what} lacks {name}", hint)

    def text(self, entry: Located, what: str, name: str) -> str:
        """A text that is not empty."""
        value = entry[name]
        if not value or not is_of_type(value, LogicalType.STRING):
            raise self.error(entry, f"{what} {name} {short(value)} is not text", "quote it, if meant as text")
        return str(value)

    def optional_text(self, entry: Located, what: str, name: str) -> str | None:
        """A text, or None where it is null or absent."""
        return None if entry.get(name) is None else self.text(entry, what, name)

    def items(self, entry: Located, what: str, name: str) -> list[Any]:
        """A list."""
        value = entry[name]
        if not isinstance(value, list):
            raise self.error(entry, f"{what} {name} {short(value)} is not a list", "write it as a YAML list")
        return value

    def mappings(self, entry: Located, what: str, name: str) -> list[Located]:
        """A list of mappings."""
        items = self.items(entry, what, name)
        for item in items:
            if not isinstance(item, Located):
                raise self.error(
                    entry, f"{what} {name}: {short(item)} is not a mapping", "is the file whole?"
                )
        return items

    def bounds(self, entry: Located, what: str, begin: str, end: str) -> Timespan:
        """The timespan of two times, each null or absent where it is unbounded."""
        for name in (begin, end):
            value = entry.get(name)
            if value is not None and type(value) is not Moment:
                hint = "a time is !butler_time/tai/iso 'YYYY-MM-DD HH:MM:SS.nnnnnnnnn', or null"
                raise self.error(entry, f"{what} {name} {short(value)} is not a time", hint)
        return butler_timespan(entry.get(begin), entry.get(end))

    def dataset_id(self, entry: Located, raw: Any) -> uuid.UUID:
        """A UUID; an integer of an old file gets the UUID that the Butler gives it."""
        if isinstance(raw, uuid.UUID):
            return raw
        if type(raw) is int:
            return uuid.uuid3(INTEGER_ID_NAMESPACE, str(raw))
        hint = "!uuid and 32 hexadecimal digits; an integer in old files"
        raise self.error(entry, f"dataset id {short(raw)} is not an id", hint)

    def dataset_ids(self, entry: Located, what: str) -> dict[uuid.UUID, None]:
        """The ids of ``dataset_ids``, each once, in order."""
        return dict.fromkeys(self.dataset_id(entry, raw) for raw in self.items(entry, what, "dataset_ids"))
