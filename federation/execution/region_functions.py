"""The functions on regions as DuckDB calls them: Arrow columns in, Arrow columns out; NULL in, NULL out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from federation.errors import FederationError
from federation.execution.spatial_join import containing_pairs, meeting, overlapping_pairs
from federation.model.polygon_overlaps import OPEN, OVERLAPPING, decided_overlaps
from federation.model.region import circle
from federation.model.region_arrays import PackedRegions, bounding_cones, decode_all, unit_vectors
from federation.model.skypix import pixel_region, skypix_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Column: TypeAlias = pa.ChunkedArray | pa.Array

__all__ = ["matching_rows", "pack_arrow", "pair_table", "register_region_functions", "uses_region_functions"]


def pack_arrow(column: Column) -> PackedRegions:
    """The regions of a binary column."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = array.cast(pa.large_binary())
    if array.null_count:
        # bytes below a NULL are undefined
        array = pc.fill_null(array, b"")
    _, offsets, data = array.buffers()
    if not len(array) or data is None:
        return PackedRegions(np.zeros(0, np.uint8), np.zeros(len(array) + 1, np.int64))
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return PackedRegions(np.frombuffer(data, np.uint8), bounds)


def pair_table(kind: str, left: pa.Table, right: pa.Table, tick: Callable[[], object]) -> pa.Table:
    """The pairs that a `PairTable` of the plan asks for; ``tick`` may raise to stop the search."""
    rows, others = matching_rows(kind, pack_arrow(left["l"]), right, tick)
    columns = {"l": _chosen(left["l"], rows)}
    columns |= {name: _chosen(right[name], others) for name in right.column_names}
    return pa.table(columns)


def matching_rows(
    kind: str, regions: PackedRegions, right: Mapping[str, Column] | pa.Table, tick: Callable[[], object]
) -> tuple[Any, Any]:
    """Rows of all pairs, (P) and (P), of ``regions`` and what they overlap or contain.

    ``right`` has regions ``r`` where ``kind`` is ``"overlap"``, else degrees ``ra`` and ``dec``.
    """
    if kind == "overlap":
        return overlapping_pairs(regions, pack_arrow(right["r"]), tick)
    return containing_pairs(regions, _floats(right["ra"]), _floats(right["dec"]), tick)


def _chosen(values: pa.ChunkedArray, rows: Any) -> pa.Array:
    """``values[rows]``; of bytes each is kept once however often it is chosen."""
    array = values.combine_chunks()
    if not pa.types.is_binary(array.type):
        return array.take(pa.array(rows))
    return pa.DictionaryArray.from_arrays(pa.array(rows, pa.int32()), array)


def uses_region_functions(sql: str) -> bool:
    """Whether ``sql`` may name one of the functions."""
    text = sql.lower()
    return any(name in text for name in _FUNCTIONS)


def register_region_functions(connection: Any, sql: str, failures: list[FederationError]) -> None:
    """Register the functions that ``sql`` names; an error of federation that one raises is put into ``failures``."""
    for name, (function, arguments, returns) in _FUNCTIONS.items():
        if name in sql.lower():
            wrapped = _noting(function, len(arguments), failures)
            connection.create_function(
                name, wrapped, list(arguments), returns, type="arrow", null_handling="special"
            )


def _noting(
    function: Callable[..., pa.Array], count: int, failures: list[FederationError]
) -> Callable[..., pa.Array]:
    """``function`` of ``count`` columns, which leaves its error where the engine does not rewrite it."""

    def noted(*columns: Column) -> pa.Array:
        try:
            return function(*columns)
        except FederationError as error:
            failures.append(error)
            raise

    # DuckDB counts the parameters and reads their annotations, if there are any, as types of SQL
    slots = [inspect.Parameter(f"c{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(count)]
    noted.__signature__ = inspect.Signature(slots)  # type: ignore[attr-defined]
    return noted


def _floats(column: Column) -> Any:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(array.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)


def _region_overlaps(left: Column, right: Column) -> pa.Array:
    a, b = pack_arrow(left), pack_arrow(right)
    rows = np.flatnonzero(meeting(bounding_cones(a), bounding_cones(b)))
    decided = decided_overlaps(a, b, rows, rows)
    found = np.zeros(len(a), np.bool_)
    found[rows] = decided == OVERLAPPING
    rows = rows[decided == OPEN]
    first, second = decode_all(a, rows), decode_all(b, rows)
    found[rows] = [first[row].overlaps(second[row]) is not False for row in rows.tolist()]
    return pa.array(found, mask=(a.lengths == 0) | (b.lengths == 0))


def _region_contains(region: Column, ra_deg: Column, dec_deg: Column) -> pa.Array:
    packed, ra, dec = pack_arrow(region), _floats(ra_deg), _floats(dec_deg)
    unknown = (packed.lengths == 0) | ~np.isfinite(ra) | ~np.isfinite(dec)
    x, y, z = unit_vectors(np.where(unknown, 0.0, ra), np.where(unknown, 0.0, dec))
    found = np.zeros(len(packed), np.bool_)
    for distinct, rows in _groups(packed, np.flatnonzero(~unknown)):
        region_ = decode_all(packed, np.array([distinct]))[distinct]
        found[rows] = region_.contains(x[rows], y[rows], z[rows])
    return pa.array(found, mask=unknown)


def _groups(packed: PackedRegions, rows: Any) -> list[tuple[int, Any]]:
    """(first row, all rows) of each distinct region among ``rows``."""
    groups: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(packed.encoded(row), []).append(row)
    return [(members[0], np.array(members)) for members in groups.values()]


def _rowwise(function: Callable[..., Any], kind: pa.DataType) -> Callable[..., pa.Array]:
    """A function of single values over columns; NULL where an argument is."""

    def over_columns(*columns: Column) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([None if None in row else function(*row) for row in rows], kind)

    return over_columns


_FUNCTIONS: dict[str, tuple[Callable[..., pa.Array], tuple[str, ...], str]] = {
    "region_overlaps": (_region_overlaps, ("BLOB", "BLOB"), "BOOLEAN"),
    "region_contains": (_region_contains, ("BLOB", "DOUBLE", "DOUBLE"), "BOOLEAN"),
    "circle": (_rowwise(circle, pa.binary()), ("DOUBLE", "DOUBLE", "DOUBLE"), "BLOB"),
    "skypix_id": (_rowwise(skypix_id, pa.int64()), ("VARCHAR", "DOUBLE", "DOUBLE"), "BIGINT"),
    "skypix_region": (_rowwise(pixel_region, pa.binary()), ("VARCHAR", "BIGINT"), "BLOB"),
}
