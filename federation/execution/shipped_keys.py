"""The keys that a fragment is asked with, taken from the rows of others that are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from federation.execution.key_filters import filter_of
from federation.execution.result import KeyUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.key_filter import KeyFilter
    from federation.planner import Fragment
    from federation.planner.plan import KeyInput

__all__ = ["Asked", "asked_with", "distinct_keys"]

#: bytes of keys that one request takes, uncompressed
_KEY_BYTES_MAX = 24 << 20


@attrs.frozen
class Asked:
    """What a site is asked: the statement, its keys, and filters of its rows.

    With ``is_empty`` it need not be: there can be no rows.
    """

    sql: str
    keys: dict[str, pa.Table]
    uses: tuple[KeyUse, ...]
    is_empty: bool = False
    filters: tuple[KeyFilter, ...] = ()


def asked_with(fragment: Fragment, rows: Mapping[str, pa.Table]) -> Asked:
    """How to ask for a fragment when ``rows`` are those of the fragments that it waits for.

    Where there are more keys than the plan allows, a Bloom filter of them is sent, or, with still more, nothing: then
    more rows come than are needed.
    """
    uses, keys, filters, dropped = [], {}, [], []
    for key in fragment.keys:
        values = distinct_keys(key, rows)
        is_plain = values.num_rows <= key.key_count_max and values.nbytes <= _KEY_BYTES_MAX
        is_filter = not is_plain and values.num_rows <= key.filter_count_max
        uses.append(KeyUse(key.name, values.num_rows, is_plain or is_filter, is_filter))
        if is_plain:
            keys[key.name] = values
        else:
            dropped.append(key.name)
        if is_filter:
            filters.append(filter_of(values, key.outputs))
    is_empty = any(values.num_rows == 0 for values in keys.values())
    return Asked(fragment.sql_without(dropped), keys, tuple(uses), is_empty, tuple(filters))


def distinct_keys(key: KeyInput, rows: Mapping[str, pa.Table]) -> pa.Table:
    """The different rows of the sources' columns together, without those that have a NULL."""
    parts = []
    for source in key.sources:
        part = rows[source.fragment].select(list(source.columns)).rename_columns(list(key.columns))
        parts.append(pa.table({name: _storage(part.column(name)) for name in key.columns}))
    together = pa.concat_tables(parts)
    for name in key.columns:
        if together.column(name).null_count:
            together = together.filter(pc.is_valid(together.column(name)))
    if len(key.columns) == 1:
        (name,) = key.columns
        different = pa.table({name: together.column(name).unique()})
    else:
        different = together.group_by(list(key.columns), use_threads=False).aggregate([])
    first = rows[key.sources[0].fragment]
    types = [first.schema.field(column).type for column in key.sources[0].columns]
    columns = [_typed(different.column(name), type_) for name, type_ in zip(key.columns, types, strict=True)]
    return pa.Table.from_arrays(columns, names=list(key.columns))


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """What an extension type, as that of UUIDs, is made of: kernels know nothing else."""
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)


def _typed(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    if not isinstance(type_, pa.BaseExtensionType):
        return column
    return pa.chunked_array([pa.ExtensionArray.from_storage(type_, chunk) for chunk in column.chunks], type_)
