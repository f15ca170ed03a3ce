"""Keys that travel beside a fragment's SQL: tables of them as Arrow IPC streams, and Bloom filters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from federation.errors import CorruptionError, QueryError
from federation.model.key_filter import FILTER_VERSION, KeyFilter
from federation.wire.arrow import logical_columns
from federation.wire.v1 import query_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COLUMNS_MAX", "decode_keys", "encode_keys", "filters_in", "filters_out"]

#: columns of one table of keys
COLUMNS_MAX = 16
#: filters of one fragment
_FILTERS_MAX = 16

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")


def encode_keys(name: str, keys: pa.Table) -> bytes:
    """Keys as an IPC stream; `QueryError` for columns that `decode_keys` would refuse."""
    if reason := _obstacle(keys.schema):
        raise QueryError(f"keys {name!r} {reason}", hint="name columns in lower-case letters, digits and _")
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, keys.schema, options=options) as writer:
        writer.write_table(keys)
    return bytes(sink.getvalue())


def decode_keys(name: str, data: bytes) -> pa.Table:
    """Keys from their IPC stream; `CorruptionError` for what is none, or has columns that no key has."""
    try:
        table = pa.ipc.open_stream(pa.py_buffer(data)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise CorruptionError(
            f"keys {name!r}: {' '.join(str(error).split())}", hint="ask again; check both sites' versions"
        ) from error
    if reason := _obstacle(table.schema):
        raise CorruptionError(f"keys {name!r} {reason}", hint="bring both sites to one version")
    logical_columns(table.schema)
    return table


def _obstacle(schema: pa.Schema) -> str | None:
    names = schema.names
    if not 1 <= len(names) <= COLUMNS_MAX:
        return f"have {len(names)} columns, not 1 to {COLUMNS_MAX}"
    wrong = next((name for name in names if not _NAME.match(name)), None)
    if wrong is not None:
        return f"have a column {wrong!r}"
    return "have a column twice" if len(set(names)) < len(names) else None


def filters_out(filters: Sequence[KeyFilter]) -> list[Any]:
    """Filters as messages."""
    return [
        query_pb2.KeyFilter(
            version=FILTER_VERSION, columns=one.columns, hash_count=one.hash_count, bits=one.bits
        )
        for one in filters
    ]


def filters_in(messages: Sequence[Any]) -> tuple[KeyFilter, ...]:
    """Filters from their messages, without those whose hash only later versions know; `QueryError` for what is none."""
    if len(messages) > _FILTERS_MAX:
        raise QueryError(f"{len(messages)} filters for one fragment", hint=f"at most {_FILTERS_MAX}")
    if any(one.version < 1 for one in messages):
        raise QueryError("a filter of no version", hint="bring both sites to one version")
    return tuple(
        KeyFilter(tuple(one.columns), one.hash_count, one.bits)
        for one in messages
        if one.version <= FILTER_VERSION
    )
