"""Reads all provenance edges of a schema, or those that its log has added since, as bytes for a graph."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import psycopg
import pyarrow as pa

from federation.changelog.codec import decode_changes
from federation.changelog.entries import read_entries
from federation.garbage import no_cycle_search
from federation.model.change import Operation
from federation.storage import PostgresDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    import sqlalchemy as sa

    from federation.model.change import Change
    from federation.storage import Database

__all__ = ["EdgeBytes", "edges_in_changes", "edges_since", "read_edges"]

#: rows that sqlite3 makes Python objects of at a time: with many more they fall out of the processor's cache
_FETCH_ROWS = 2_000
_BATCH_BYTES = 1 << 20
_ENTRIES_BYTES = 16 << 20
TABLE = "provenance"


@attrs.define(eq=False)
class EdgeBytes:
    """Edges as they are collected: ids of datasets and inputs end to end, and the number of each edge's task."""

    near: bytearray = attrs.field(factory=bytearray)
    far: bytearray = attrs.field(factory=bytearray)
    tasks: dict[str | None, int] = attrs.field(factory=dict)
    _codes: list[npt.NDArray[np.int16]] = attrs.field(factory=list)

    def add(self, near: Iterable[bytes], far: Iterable[bytes], tasks: Sequence[str | None]) -> None:
        """More edges, by column."""
        self.near += b"".join(near)
        self.far += b"".join(far)
        names = set(tasks)
        places = {name: self.tasks.setdefault(name, len(self.tasks)) for name in names}
        if len(places) == 1:
            self._codes.append(np.full(len(tasks), next(iter(places.values())), np.int16))
        elif places:
            self._codes.append(np.fromiter(map(places.__getitem__, tasks), np.int16, len(tasks)))

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """More edges, as PostgreSQL's driver gives them."""
        for column, data in zip(batch.columns[:2], (self.near, self.far), strict=True):
            plain = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
            data += _bytes_of(plain)
        coded = batch.column(2).dictionary_encode(null_encoding="encode")
        places = [self.tasks.setdefault(name, len(self.tasks)) for name in coded.dictionary.to_pylist()]
        if places:
            self._codes.append(np.array(places, np.int16)[coded.indices.to_numpy()])

    @property
    def codes(self) -> npt.NDArray[np.int16]:
        """The number of each edge's task."""
        return np.concatenate(self._codes) if self._codes else np.zeros(0, np.int16)

    def __len__(self) -> int:
        return len(self.near) // 16


def _bytes_of(column: pa.Array) -> memoryview:
    if column.type != pa.binary(16):
        column = column.cast(pa.binary(16))
    return memoryview(column.buffers()[1])[16 * column.offset : 16 * (column.offset + len(column))]


def read_edges(database: Database, connection: sa.Connection, physical: str) -> EdgeBytes:
    """All edges of a physical schema, in the snapshot of ``connection``."""
    statement = f'SELECT dataset_id, input_id, task FROM "{physical}".{TABLE}'
    found = EdgeBytes()
    raw: Any = connection.connection.dbapi_connection
    if isinstance(database, PostgresDatabase):
        assert isinstance(raw, psycopg.Connection)
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        with database.arrow(snapshot) as arrow, arrow.query(statement, _BATCH_BYTES) as batches:
            for batch in batches:
                found.add_batch(batch)
        return found
    cursor = raw.execute(statement)
    with no_cycle_search():
        while rows := cursor.fetchmany(_FETCH_ROWS):
            flat = list(itertools.chain.from_iterable(rows))
            found.add(flat[::3], flat[1::3], flat[2::3])
    return found


def edges_since(connection: sa.Connection, physical: str, after_lsn: int, head_lsn: int) -> EdgeBytes | None:
    """The edges that entries after ``after_lsn`` up to ``head_lsn`` added; None where the log can't tell.

    It can't where entries have been trimmed, or edges were removed.
    """
    found = EdgeBytes()
    while after_lsn < head_lsn:
        entries = read_entries(connection, physical, after_lsn, _ENTRIES_BYTES)
        if not entries or entries[0].lsn != after_lsn + 1:
            return None
        for entry in entries:
            if not edges_in_changes(decode_changes(entry.body), found):
                return None
        after_lsn = entries[-1].lsn
    return found


def edges_in_changes(changes: Iterable[Change], found: EdgeBytes) -> bool:
    """Add the edges that changes put; False where they remove some."""
    for change in changes:
        if change.table != TABLE or not change.row_count:
            continue
        if change.operation is not Operation.PUT:
            return False
        columns = dict(zip(change.columns, change.values, strict=True))
        tasks = columns.get("task") or [None] * change.row_count
        found.add(columns["dataset_id"], columns["input_id"], list(tasks))
    return True
