"""All provenance edges of a registry as arrays, for questions about many datasets at once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from federation.storage import Database

    Ints = npt.NDArray[np.int64]

__all__ = ["ProvenanceGraph"]

#: edges fetched at a time
_BATCH = 100_000


@attrs.frozen(eq=False)
class ProvenanceGraph:
    """Edges in compressed sparse rows.

    ``ids`` (fixed-size binary, n) are the datasets; ``far[offsets[i]:offsets[i + 1]]`` are the numbers of those that
    edges lead to from number i.
    """

    ids: pa.Array
    offsets: Ints
    far: Ints

    @classmethod
    def read(cls, database: Database, tables: Iterable[sa.Table], near: str, far: str) -> ProvenanceGraph:
        """The edges of all ``tables``, from column ``near`` to column ``far``."""
        starts, ends = bytearray(), bytearray()
        for table in tables:
            with database.read((str(table.schema),)) as connection:
                for batch in _batches(connection, table, near, far):
                    starts += b"".join(start for start, _ in batch)
                    ends += b"".join(end for _, end in batch)
        return cls.build(bytes(starts), bytes(ends))

    @classmethod
    def build(cls, near: bytes, far: bytes) -> ProvenanceGraph:
        """From the 16 bytes of each edge's two ids."""
        count = len(near) // 16
        both = pa.Array.from_buffers(pa.binary(16), 2 * count, [None, pa.py_buffer(near + far)])
        coded = both.dictionary_encode()
        numbers: Ints = coded.indices.to_numpy().astype(np.int64)
        starts, ends = numbers[:count], numbers[count:]
        offsets = np.zeros(len(coded.dictionary) + 1, np.int64)
        np.cumsum(np.bincount(starts, minlength=len(coded.dictionary)), out=offsets[1:])
        return cls(coded.dictionary, offsets, ends[np.argsort(starts, kind="stable")])

    def reach(self, seeds: Iterable[uuid.UUID], depth: int | None = None) -> dict[uuid.UUID, int]:
        """Datasets reached, with the fewest steps to each (at most ``depth``); the seeds are left out."""
        if not len(self.ids):
            return {}
        wanted = pa.array([seed.bytes for seed in seeds], pa.binary(16))
        frontier: Ints = pc.index_in(wanted, value_set=self.ids).drop_null().to_numpy().astype(np.int64)
        steps = np.full(len(self.ids), -1, np.int64)
        steps[frontier] = 0
        level = 0
        while len(frontier) and (depth is None or level < depth):
            level += 1
            reached = self._after(frontier)
            frontier = np.unique(reached[steps[reached] < 0])
            steps[frontier] = level
        found = np.flatnonzero(steps > 0)
        ids = self.ids.take(pa.array(found)).to_pylist()
        return {uuid.UUID(bytes=id_): step for id_, step in zip(ids, steps[found].tolist(), strict=True)}

    def _after(self, numbers: Ints) -> Ints:
        """What the edges from ``numbers`` lead to, repeated where several do."""
        starts = self.offsets[numbers]
        counts = self.offsets[numbers + 1] - starts
        total = int(counts.sum())
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        reached: Ints = self.far[np.repeat(starts, counts) + within]
        return reached


def _batches(
    connection: sa.Connection, table: sa.Table, near: str, far: str
) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    """Both ids of every edge, as bytes."""

    def raw(name: str) -> sa.ColumnElement[bytes]:
        column = table.c[name]
        if connection.dialect.name == "postgresql":
            return sa.func.uuid_send(column, type_=sa.LargeBinary)
        return sa.type_coerce(column, sa.LargeBinary)

    result = connection.execution_options(yield_per=_BATCH).execute(sa.select(raw(near), raw(far)))
    for rows in result.partitions():
        yield [(row[0], row[1]) for row in rows]
