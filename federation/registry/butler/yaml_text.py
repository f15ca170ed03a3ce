"""The YAML of Butler export files: text to plain Python values that know their line.

Mappings become `Located` (a dict with ``line``); times become `Moment` (TAI nanoseconds), regions
`RegionBytes`, timespans `Timespan`, ids ``uuid.UUID``. What these values mean is not decided here.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import yaml

from federation.errors import UserError
from federation.model.region import decode_region
from federation.model.timespan import Timespan, parse_tai

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: the same, ten times slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

__all__ = ["INT64_MAX", "INT64_MIN", "Located", "Moment", "RegionBytes", "butler_timespan", "load_yaml"]

_TEXT, _INTEGER, _NULL, _MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "null", "merge"))
#: what YAML 1.1 reads as an integer and Python reads the same way
_DECIMAL = re.compile(r"(?:0|-?[1-9][0-9]{0,18})\Z")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_REGIONS = ("Box", "Circle", "ConvexPolygon", "Ellipse", "IntersectionRegion", "UnionRegion")
_UTC_TIME = re.compile(
    r"""(\d{4}-\d\d?-\d\d?)                             # day
        (?:(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d*))?   # time of day
        (?:[ \t]*(?:Z|([-+])(\d\d?)(?::?(\d\d))?))?)?\Z""",
    re.VERBOSE,
)


class Located(dict[str, Any]):
    """A mapping of the file and the 1-based line on which it starts."""

    __slots__ = ("line",)
    line: int


class Moment(int):
    """TAI nanoseconds since 1970-01-01T00:00:00 TAI; its own type, so that no other number passes for one."""

    __slots__ = ()


class RegionBytes(bytes):
    """The bytes of a region that lsst-sphgeom could decode."""

    __slots__ = ()


class _Loader(_SafeLoader):
    """A safe loader with the tags of export files; the global loaders stay as they are.

    Files have many scalars and few different ones, so the tag of each is found once. Values are made here too, in one
    pass over the nodes: PyYAML's own way through generators takes twice as long.
    """

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._tags: dict[tuple[Any, ...], str] = {}
        self._made: dict[int, Any] = {}

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is not yaml.ScalarNode:
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        try:
            return self._tags[value, implicit]
        except KeyError:
            tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
            self._tags[value, implicit] = tag
            return tag

    def value(self, node: yaml.Node) -> Any:
        """What a node stands for; containers are made once, however many aliases they have."""
        tag = node.tag
        if tag == _TEXT:
            return _scalar(node)
        if tag == _INTEGER and type(node.value) is str and _DECIMAL.match(node.value):
            return int(node.value)
        if tag == _NULL:
            return None
        construct: Callable[[_Loader, Any], Any] = _CONSTRUCT.get(tag, _unknown)
        if type(node) is yaml.ScalarNode:
            return construct(self, node)
        made = self._made.get(id(node))
        if made is None:
            made = self._made[id(node)] = construct(self, node)
        return made


def load_yaml(data: str | bytes, where: str) -> Any:
    """The one document in ``data``; `UserError` names ``where``, the line and what is wrong there."""
    loader = None
    try:
        # the constructor of the loader already reads, and may meet bytes that are no text
        loader = _Loader(data)
        node = loader.get_single_node()
        return None if node is None else loader.value(node)
    except _BadNode as error:
        raise UserError(f"{where}:{error.line}: {error.message}", hint=error.hint) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark is not None else where
        raise UserError(
            f"{place}: not valid YAML: {error.problem or error.context}",
            hint="is the file whole and unedited?",
        ) from error
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{where}: not valid YAML: {first}", hint="export files are UTF-8 text") from error
    except RecursionError as error:
        raise UserError(f"{where}: nested too deeply to be an export file", hint="check the file") from error
    finally:
        if loader is not None:
            loader.dispose()


class _BadNode(Exception):  # noqa: N818 - a way out of the loader, never seen outside this module
    def __init__(self, node: yaml.Node, message: str, hint: str = "check the value") -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1
        self.message = message
        self.hint = hint


def _mapping(loader: _Loader, node: yaml.Node, *, is_merged: bool = False) -> Located:
    if not isinstance(node, yaml.MappingNode):
        raise _BadNode(node, f"{node.tag} is not a mapping here")
    located = Located()
    for key, value in node.value:
        if key.tag != _TEXT:
            if key.tag == _MERGE and not is_merged:
                loader.flatten_mapping(node)
                return _mapping(loader, node, is_merged=True)
            shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "of several values"
            raise _BadNode(node, f"key {shown} is not text", "quote it")
        # most are texts
        is_text = value.tag == _TEXT and type(value) is yaml.ScalarNode
        located[key.value] = value.value if is_text else loader.value(value)
    # a merge key ("<<") may repeat names on purpose
    if len(located) < len(node.value) and not is_merged:
        names = [key.value for key, _ in node.value]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BadNode(node, f"key {twice!r} is given twice", "keep one of them")
    located.line = node.start_mark.line + 1
    return located


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _BadNode(node, f"{node.tag} is not a list here")
    return [loader.value(item) for item in node.value]


def _scalar(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _BadNode(node, f"{node.tag} takes one value")
    return str(node.value)


def _uuid(_loader: _Loader, node: yaml.Node) -> uuid.UUID:
    text = _scalar(node)
    try:
        return uuid.UUID(text)
    except ValueError:
        raise _BadNode(node, f"!uuid {text!r} is not a UUID", "32 hexadecimal digits") from None


def _moment(node: yaml.Node, tai_ns: int) -> Moment:
    if not INT64_MIN <= tai_ns <= INT64_MAX:
        raise _BadNode(node, f"time {node.value!r} is out of range", "times are from 1677 to 2262")
    return Moment(tai_ns)


def _tai_time(_loader: _Loader, node: yaml.Node) -> Moment:
    try:
        return _moment(node, parse_tai(_scalar(node)))
    except UserError as error:
        raise _BadNode(node, error.message, error.hint) from error


def _utc_time(_loader: _Loader, node: yaml.Node) -> Moment | str:
    """A bare timestamp, as old exporters wrote it: UTC unless it has an offset. A bare day stays text."""
    text = _scalar(node)
    match = _UTC_TIME.match(text)
    if match is None:
        raise _BadNode(node, f"{text!r} is not a time", "write YYYY-MM-DD HH:MM:SS.nnnnnnnnn")
    day_text, hour, minute, second, fraction, sign, zone_hour, zone_minute = match.groups()
    if hour is None:
        return text
    year, month, day = map(int, day_text.split("-"))
    try:
        midnight_ns = _utc_midnight_tai_ns(dt.date(year, month, day))
    except ValueError as error:
        raise _BadNode(node, f"{text!r} is not a time: {error}", "check month and day") from error
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        raise _BadNode(node, f"{text!r} is not a time", "check hour, minute and second")
    seconds = (int(hour) * 60 + int(minute)) * 60 + int(second)
    if sign:
        # an offset can move the moment to another day, and over a leap second: name it by its own UTC day
        away = (int(zone_hour) * 60 + int(zone_minute or 0)) * 60
        days, seconds = divmod(seconds - away if sign == "+" else seconds + away, 86_400)
        try:
            midnight_ns = _utc_midnight_tai_ns(dt.date(year, month, day) + dt.timedelta(days))
        except OverflowError as error:
            raise _BadNode(node, f"time {text!r} is out of range", "times are from 1677 to 2262") from error
    nanoseconds = int((fraction or "0")[:9].ljust(9, "0"))
    return _moment(node, midnight_ns + seconds * 1_000_000_000 + nanoseconds)


@lru_cache(maxsize=4096)
def _utc_midnight_tai_ns(day: dt.date) -> int:
    """TAI nanoseconds of 00:00 UTC: a day has one offset, and its last second may be a leap second."""
    from astropy.time import Time  # only old files need it, and its import takes a second

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # "dubious year": leap seconds of the future aren't known, which is fine
        offset_s = Time(f"{day.isoformat()}T00:00:00", scale="utc").unix_tai
        since = Time("1970-01-01T00:00:00", scale="tai").unix_tai
    return round((float(offset_s) - float(since)) * 1_000_000) * 1000


def _timespan(loader: _Loader, node: yaml.Node) -> Timespan:
    if isinstance(node, yaml.ScalarNode):
        if node.value != "EMPTY":
            raise _BadNode(
                node, f"timespan {node.value!r} is not understood", "EMPTY, or a mapping of begin and end"
            )
        return Timespan.empty()
    bounds = _mapping(loader, node)
    if set(bounds) != {"begin", "end"}:
        raise _BadNode(node, f"timespan has {sorted(bounds)}", "it needs begin and end, and nothing else")
    for name, bound in bounds.items():
        if bound is not None and not isinstance(bound, Moment):
            raise _BadNode(
                node, f"timespan {name} {bound!r} is not a time", "a !butler_time/tai/iso time or null"
            )
    return butler_timespan(bounds["begin"], bounds["end"])


def butler_timespan(begin: Moment | None, end: Moment | None) -> Timespan:
    """The timespan of two bounds as the Butler makes it: an instant lasts 1 ns; end before begin is empty."""
    if begin is None or end is None or begin < end:
        return Timespan(None if begin is None else int(begin), None if end is None else int(end))
    return Timespan(int(begin), int(end) + 1) if begin == end else Timespan.empty()


def _region(loader: _Loader, node: yaml.Node) -> RegionBytes:
    parts = _mapping(loader, node)
    encoded = parts.get("encoded")
    if set(parts) != {"encoded"} or not isinstance(encoded, str):
        raise _BadNode(
            node, f"region {node.tag} has {sorted(parts)}", "it needs encoded, as hexadecimal text"
        )
    try:
        region = RegionBytes.fromhex(encoded)
    except ValueError as error:
        raise _BadNode(
            node, f"region {encoded[:16]!r}... is not hexadecimal", "check that the line is whole"
        ) from error
    try:
        decode_region(region)
    except UserError as error:
        raise _BadNode(node, error.message, error.hint) from error
    return region


def _plain(name: str) -> Callable[[_Loader, yaml.Node], Any]:
    """PyYAML's own constructor of a plain scalar, with its bare Python errors turned into ours."""
    construct = getattr(yaml.constructor.SafeConstructor, f"construct_yaml_{name}")

    def construct_plain(loader: _Loader, node: yaml.Node) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, LookupError, OverflowError) as error:
            raise _BadNode(node, f"{node.value!r} is not of YAML type {name}", "check the value") from error

    return construct_plain


def _unknown(_loader: _Loader, node: yaml.Node) -> Any:
    known = sorted(str(tag) for tag in _TAGS if not str(tag).startswith("tag:"))
    raise _BadNode(node, f"unknown tag {node.tag!r}", "known: " + ", ".join(known))


_TAGS: dict[str, Callable[[_Loader, Any], Any]] = {
    "tag:yaml.org,2002:map": _mapping,
    "tag:yaml.org,2002:seq": _sequence,
    "tag:yaml.org,2002:timestamp": _utc_time,
    **{f"tag:yaml.org,2002:{name}": _plain(name) for name in ("bool", "int", "float", "binary")},
    "!uuid": _uuid,
    "!butler_time/tai/iso": _tai_time,
    "!lsst.daf.butler.Timespan": _timespan,
    **{f"lsst.sphgeom.{name}": _region for name in _REGIONS},
}
#: with the scalars that PyYAML knows and that are met too rarely to be looked at first
_CONSTRUCT: dict[str, Callable[[_Loader, Any], Any]] = {
    **_TAGS,
    "tag:yaml.org,2002:null": lambda _loader, _node: None,
    "tag:yaml.org,2002:str": lambda _loader, node: _scalar(node),
}
