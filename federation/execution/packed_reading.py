"""Reads a packed scan of a SQLite table, as Arrow batches."""

from __future__ import annotations

import itertools
import sqlite3
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from federation.errors import QueryError
from federation.execution.packed_scan import Packing
from federation.model.logical import LogicalType
from federation.wire.arrow import column_array, rows_to_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.execution.packed_scan import PackedColumn, PackedScan

__all__ = ["lies_in_order", "packed_rows"]

#: with fewer rows in a group, packing takes longer than it saves
_GROUP_ROWS_MIN = 8
#: bytes of the longest text of a group; a group with a longer one is read row by row
_TEXT_BYTES_MAX = 4 << 20
_ROWS_OF_LONG_GROUPS = 2_000
#: rows that are taken apart together
_PACKED_ROWS = 16_384


def lies_in_order(cursor: sqlite3.Cursor, scan: PackedScan) -> bool:
    """Whether SQLite reads this scan along the table's key, so that nothing is sorted before the first row."""
    details = [row[3] for row in cursor.execute("EXPLAIN QUERY PLAN " + scan.ordered)]
    return "PRIMARY KEY" in details[0] and not any("TEMP B-TREE" in one for one in details)


def packed_rows(
    cursor: sqlite3.Cursor, scan: PackedScan, schema: pa.Schema, first_rows: int, fetch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of the scan's rows: the first ``first_rows`` at once, others about ``fetch_rows`` at a time.

    Rows are read one by one until a group has followed another, which tells how large groups are. Where they are large
    they come packed from there; one that is too long for that, and all behind it, one by one.
    """
    is_decided = False
    size = first_rows
    prefix = itemgetter(*scan.prefix_places)
    cursor.execute(scan.ordered)
    while rows := cursor.fetchmany(size):
        if not is_decided and len(rows) == size:
            groups = [len(list(group)) for _, group in itertools.groupby(map(prefix, rows))]
            is_decided = len(groups) > 1
            if is_decided and len(rows) >= _GROUP_ROWS_MIN * len(groups):
                whole = rows[: -groups[-1]]  # the last group may go on
                yield rows_to_batch(whole, schema, scan.hidden_count)
                last = [whole[-1][place] for place in scan.prefix_places]
                yield from _packed_behind(cursor, scan, schema, last)
                return
        yield rows_to_batch(rows, schema, scan.hidden_count)
        size = fetch_rows


def _packed_behind(
    cursor: sqlite3.Cursor, scan: PackedScan, schema: pa.Schema, last: Sequence[Any]
) -> Iterator[pa.RecordBatch]:
    """What comes behind the group ``last``."""
    connection = cursor.connection
    limit = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _TEXT_BYTES_MAX)
    try:
        cursor.execute(scan.packed_rest, last)
        while groups := _next_groups(cursor):
            yield _unpacked(groups, scan, schema)
            last = groups[-1][1 : 1 + len(scan.prefix_places)]
    except sqlite3.DataError as error:
        if "too big" not in str(error):
            raise
    else:
        return
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)
    cursor.execute(scan.ordered_rest, last)
    while rows := cursor.fetchmany(_ROWS_OF_LONG_GROUPS):
        yield rows_to_batch(rows, schema, scan.hidden_count)


def _next_groups(cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    """Groups of about `_PACKED_ROWS` rows together."""
    groups = []
    row_count = 0
    for group in cursor:
        groups.append(group)
        row_count += group[0]
        if row_count >= _PACKED_ROWS:
            break
    return groups


def _unpacked(groups: Sequence[tuple[Any, ...]], scan: PackedScan, schema: pa.Schema) -> pa.RecordBatch:
    """The rows of some groups."""
    counts, *values = zip(*groups, strict=True)
    row_count = sum(counts)
    arrays = []
    for column, field in zip(scan.columns, schema, strict=True):
        packed = values[column.number - 1]
        try:
            array = _array(packed, counts, column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, msgspec.DecodeError) as error:
            raise _no_value(field.name, column) from error
        if len(array) != row_count:
            raise _no_value(field.name, column)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _no_value(name: str, column: PackedColumn) -> QueryError:
    return QueryError(
        f"column {name!r} holds a value that is no {column.type}",
        hint="a number may be out of the range of 64 bits",
    )


def _array(packed: Sequence[Any], counts: Sequence[int], column: PackedColumn) -> pa.Array:
    match column.packing:
        case Packing.SHARED:
            which = np.repeat(np.arange(len(counts)), counts)
            return column_array(packed, column.type).take(pa.array(which))
        case Packing.NUMBERS:
            return _numbers(",".join(packed), column.type)
        case Packing.HEX:
            digits = pa.py_buffer(bytes.fromhex("".join(packed)))
            storage = pa.Array.from_buffers(pa.binary(16), len(digits) // 16, [None, digits])
            return pa.ExtensionArray.from_storage(pa.uuid(), storage)
        case Packing.JSON:
            inner = ",".join(text[1:-1] for text in packed)
            return column_array(msgspec.json.decode(f"[{inner}]", type=list), column.type)


def _numbers(text: str, kind: LogicalType) -> pa.Array:
    array = pa.array(np.fromstring(text, np.int64, sep=","))
    return array.cast(pa.timestamp("ns")) if kind is LogicalType.TIMESTAMP else array
