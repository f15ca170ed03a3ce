"""Values and entries of Butler export files as YAML text, written directly: rows are many, and their shapes few."""

from __future__ import annotations

import base64
import json
import re
import uuid
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from federation.model.logical import LogicalType
from federation.model.region import decode_region
from federation.model.timespan import Timespan, format_tai

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from federation.model.collection import Collection
    from federation.model.dataset import DatasetType
    from federation.model.logical import ColumnDef

__all__ = [
    "associations_entry",
    "collection_entry",
    "dataset_record",
    "dataset_type_entry",
    "file_head",
    "record_writer",
    "text",
]

#: what the Butler's own exporter writes
FORMAT_VERSION = "1.0.2"
#: texts that every YAML 1.1 reader takes for themselves, in flow collections too
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+-]*\Z")
_NOT_PLAIN = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})


@lru_cache(maxsize=65_536)
def text(value: str) -> str:
    """A text, quoted where YAML could take it for something else.

    >>> text("LSSTCam/raw/all"), text("no"), text('say "x"')
    ('LSSTCam/raw/all', '"no"', '"say \\\\"x\\\\""')
    """
    if _PLAIN.match(value) and value.lower() not in _NOT_PLAIN:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    if quoted.isprintable():
        return quoted
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def _float(value: float) -> str:
    """A number that YAML 1.1 takes for one: with a point, even before an exponent."""
    if value != value or value in (float("inf"), float("-inf")):
        return ".nan" if value != value else (".inf" if value > 0 else "-.inf")
    digits = repr(float(value))
    mantissa, e, exponent = digits.partition("e")
    return digits if not e or "." in mantissa else f"{mantissa}.0e{exponent}"


def _moment(tai_ns: int | None) -> str:
    if tai_ns is None:
        return "null"
    whole, _, fraction = format_tai(tai_ns).partition(".")
    return f"!butler_time/tai/iso '{whole}.{fraction or '000000000'}'"


def _timespan(span: Timespan) -> str:
    if span.is_empty:
        return "!lsst.daf.butler.Timespan EMPTY"
    return f"!lsst.daf.butler.Timespan {{begin: {_moment(span.begin)}, end: {_moment(span.end)}}}"


def _region(encoded: bytes) -> str:
    # the verbatim tag without "!" is how lsst-sphgeom registers its types
    return f'!<lsst.sphgeom.{type(decode_region(encoded)).__name__}> {{encoded: "{encoded.hex()}"}}'


def _bytes(value: bytes) -> str:
    return f'!!binary "{base64.b64encode(value).decode()}"'


_WRITERS: dict[LogicalType, Callable[[Any], str]] = {
    LogicalType.INT64: str,
    LogicalType.FLOAT64: _float,
    LogicalType.BOOL: lambda value: "true" if value else "false",
    LogicalType.STRING: text,
    LogicalType.BYTES: _bytes,
    LogicalType.UUID: lambda value: f"!uuid '{value}'",
    LogicalType.TIMESTAMP: _moment,
}


def file_head(namespace: str, version: int) -> str:
    """The beginning of a file, up to its entries."""
    return (
        "description: Butler Data Repository Export\n"
        f"version: {FORMAT_VERSION}\nuniverse_version: {version}\nuniverse_namespace: {text(namespace)}\ndata:\n"
    )


def record_writer(columns: Sequence[ColumnDef]) -> Callable[[Mapping[str, Any]], str]:
    """A function that writes a dimension record with these columns as one line; NULL columns are left out."""
    writers = [
        (column.name, _region if column.name == "region" else _WRITERS[column.type])
        for column in columns
        if column.name not in ("timespan_begin", "timespan_end")
    ]
    has_timespan = len(writers) < len(columns)

    def write(row: Mapping[str, Any]) -> str:
        parts = [f"{name}: {write(row[name])}" for name, write in writers if row[name] is not None]
        if has_timespan:
            begin, end = row["timespan_begin"], row["timespan_end"]
            if Timespan(begin, end).is_empty:
                parts.append(f"timespan: {_timespan(Timespan.empty())}")
            elif (begin, end) != (None, None):
                parts += [f"datetime_begin: {_moment(begin)}", f"datetime_end: {_moment(end)}"]
        return f"  - {{{', '.join(parts)}}}\n"

    return write


def dataset_type_entry(dataset_type: DatasetType) -> str:
    """A dataset type."""
    dimensions = ", ".join(map(text, dataset_type.dimensions))
    return (
        f"- type: dataset_type\n  name: {text(dataset_type.name)}\n  dimensions: [{dimensions}]\n"
        f"  storage_class: {text(dataset_type.storage_class)}\n"
        f"  is_calibration: {'true' if dataset_type.is_calibration else 'false'}\n"
    )


def collection_entry(collection: Collection) -> str:
    """A collection of any type."""
    lines = [
        "- type: collection",
        f"collection_type: {collection.type.value}",
        f"name: {text(collection.name)}",
    ]
    if collection.doc is not None:
        lines.append(f"doc: {text(collection.doc)}")
    if collection.type == "RUN":
        lines.append(f"host: {'null' if collection.host is None else text(collection.host)}")
        lines.append(f"timespan_begin: {_moment(collection.timespan.begin)}")
        lines.append(f"timespan_end: {_moment(collection.timespan.end)}")
    elif collection.type == "CHAINED":
        lines.append(f"children: [{', '.join(map(text, collection.children))}]")
    return "\n  ".join(lines) + "\n"


def dataset_record(
    ids: Iterable[uuid.UUID], data_ids: Iterable[str], path: str | None, formatter: str | None
) -> str:
    """The datasets of one file, or one without file; ``data_ids`` as `record_writer` would write them in braces."""
    lines = [
        f"  - dataset_id: [{', '.join(f'!uuid {i}' for i in ids)}]",
        f"data_id: [{', '.join(data_ids)}]",
    ]
    if path is not None:
        lines.append(f"path: {text(path)}")
    if formatter is not None:
        lines.append(f"formatter: {text(formatter)}")
    return "\n    ".join(lines) + "\n"


def associations_entry(
    collection: str,
    members: Iterable[uuid.UUID] | Mapping[Timespan, Sequence[uuid.UUID]],
    *,
    calibration: bool,
) -> str:
    """Members of a TAGGED collection, or those of a CALIBRATION collection by validity range."""
    kind = "CALIBRATION" if calibration else "TAGGED"
    head = f"- type: associations\n  collection: {text(collection)}\n  collection_type: {kind}\n"
    if not calibration:
        return head + "  dataset_ids:\n" + "".join(f"  - !uuid '{member}'\n" for member in members)
    ranges = "".join(
        f"  - timespan: {_timespan(span)}\n    dataset_ids:\n" + "".join(f"    - !uuid '{i}'\n" for i in ids)
        for span, ids in members.items()  # type: ignore[union-attr]
    )
    return head + "  validity_ranges:\n" + ranges
