"""Provenance edges of a registry as arrays, for walks from many datasets at once.

Datasets are numbers (`DatasetNumbers`), edges lie in compressed sparse rows, once for each direction. A walk expands
all of one level at once: with 4 million edges, 10,000 seeds take a tenth of a second.
"""

from __future__ import annotations

import threading
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pyarrow as pa

from federation.model.lineage import Direction
from federation.registry.dataset_numbers import ID_DTYPE, DatasetNumbers, ids_of, packed_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from federation.registry.dataset_numbers import Ids

    Ints = npt.NDArray[np.int32]
    Flags = npt.NDArray[np.bool_]

__all__ = ["EdgeLabel", "ProvenanceGraph", "Walked", "numbered"]

#: a frontier of this part of all datasets is made unique by marking rather than by sorting
_DENSE = 16
#: edges added one by one are merged with the others from this part of them on, and this number
_MERGE_PART, _MERGE_MIN = 8, 50_000


@attrs.frozen
class EdgeLabel:
    """What edges have in common: the physical schema that they are in, and the task."""

    schema: str
    task: str | None


@attrs.frozen(eq=False)
class Walked:
    """Where a walk came: datasets in the order of their ``steps``, and the edges it went over, by numbers.

    ``far``, ``near`` and ``labels`` are of the edges, in the walk's direction; empty where they were not asked for.
    """

    datasets: Ints
    steps: Ints
    near: Ints
    far: Ints
    labels: npt.NDArray[np.int16]


@attrs.frozen(eq=False)
class _Rows:
    """Edges of one direction: those from number i are ``[offsets[i], offsets[i + 1])`` of ``far`` and ``labels``."""

    offsets: npt.NDArray[np.int64]
    far: Ints
    labels: npt.NDArray[np.int16]

    @classmethod
    def build(cls, near: Ints, far: Ints, labels: npt.NDArray[np.int16], count: int) -> _Rows:
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(near, minlength=count), out=offsets[1:])
        if (near[1:] < near[:-1]).any():
            order = np.argsort(near, kind="stable")
            far, labels = far[order], labels[order]
        return cls(offsets, far, labels)

    def after(self, numbers: Ints) -> tuple[Ints, Ints, npt.NDArray[np.int16]]:
        """(near, far, labels) of the edges from ``numbers``."""
        known = numbers[numbers < len(self.offsets) - 1]
        starts = self.offsets[known]
        counts = self.offsets[known + 1] - starts
        total = int(counts.sum())
        at = np.arange(total) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return np.repeat(known, counts), self.far[at], self.labels[at]

    @property
    def nbytes(self) -> int:
        return self.offsets.nbytes + self.far.nbytes + self.labels.nbytes


class _Layer:
    """The same edges in both directions; the way down is made when it is first asked for."""

    def __init__(self, upstream: _Rows) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()

    def rows(self, direction: Direction) -> _Rows:
        if direction is Direction.UPSTREAM:
            return self._upstream
        with self._lock:
            return self._downstream

    @cached_property
    def _downstream(self) -> _Rows:
        near, far, labels = self.edges()
        return _Rows.build(far, near, labels, len(self._upstream.offsets) - 1)

    def edges(self) -> tuple[Ints, Ints, npt.NDArray[np.int16]]:
        """(dataset, input, label) of all edges."""
        rows = self._upstream
        counts = np.diff(rows.offsets)
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts), rows.far, rows.labels

    @property
    def edge_count(self) -> int:
        return len(self._upstream.far)

    @property
    def nbytes(self) -> int:
        return self._upstream.nbytes + (self._downstream.nbytes if "_downstream" in self.__dict__ else 0)


class ProvenanceGraph:
    """A value: `with_edges` and `without_schema` give another graph, so that walks go on undisturbed."""

    def __init__(
        self, numbers: DatasetNumbers, labels: tuple[EdgeLabel, ...], layers: tuple[_Layer, ...]
    ) -> None:
        self.numbers, self.labels, self._layers = numbers, labels, layers

    @classmethod
    def empty(cls) -> ProvenanceGraph:
        return cls(DatasetNumbers.of(ids_of(b"")), (), ())

    @classmethod
    def build(cls, near: bytes, far: bytes) -> ProvenanceGraph:
        """From the 16 bytes of each edge's two ids: dataset and input."""
        labels = np.zeros(len(near) // 16, np.int16)
        return cls.empty().with_edges(near, far, (EdgeLabel("", None),), labels)

    def with_edges(
        self,
        near: bytes | bytearray,
        far: bytes | bytearray,
        labels: Sequence[EdgeLabel],
        of_edges: npt.NDArray[np.int16],
    ) -> ProvenanceGraph:
        """With more edges: ids of datasets and of inputs end to end, and which of ``labels`` each has."""
        every = (*self.labels, *(label for label in labels if label not in self.labels))
        place = np.array([every.index(label) for label in labels], np.int16)
        coded = place[of_edges] if len(labels) else of_edges
        if not len(self.numbers):
            numbers, starts, ends = numbered(near, far)
        else:
            numbers, both = self.numbers.extended(np.concatenate([ids_of(near), ids_of(far)]))
            starts, ends = both[: len(coded)], both[len(coded) :]
        layers = (*self._layers, _Layer(_Rows.build(starts, ends, coded, len(numbers))))
        base = self._layers[0].edge_count if self._layers else 0
        added = sum(layer.edge_count for layer in layers[1:])
        if added > max(base // _MERGE_PART, _MERGE_MIN):
            layers = (_merged(layers, len(numbers)),)
        elif len(layers) > 2:
            layers = (layers[0], _merged(layers[1:], len(numbers)))
        return ProvenanceGraph(numbers, every, layers)

    def without_schema(self, schema: str) -> ProvenanceGraph:
        """Without the edges of one physical schema."""
        keep = np.array([label.schema != schema for label in self.labels], np.bool_)
        if keep.all():
            return self
        layer = _merged(self._layers, len(self.numbers), keep)
        return ProvenanceGraph(self.numbers, self.labels, (layer,))

    def edge_count(self, schema: str) -> int:
        """Edges of one physical schema."""
        which = [place for place, label in enumerate(self.labels) if label.schema == schema]
        return sum(int(np.isin(layer.edges()[2], which).sum()) for layer in self._layers)

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.numbers.nbytes + sum(layer.nbytes for layer in self._layers)

    def has_edges(self, near: Ids, far: Ids, schema: str) -> Flags:
        """Which of these (dataset, input) edges are here as edges of a physical schema."""
        starts, ends = self.numbers.find(near), self.numbers.find(far)
        allowed = np.array([label.schema == schema for label in self.labels], np.bool_)
        found, to, _ = self._after(Direction.UPSTREAM, np.unique(starts[starts >= 0]), allowed)
        there = found.astype(np.int64) << 32 | to
        flags: Flags = (
            np.isin(starts.astype(np.int64) << 32 | ends.astype(np.int64), there)
            & (starts >= 0)
            & (ends >= 0)
        )
        return flags

    def walk(
        self,
        direction: Direction,
        seeds: Ints,
        *,
        steps: Ints | None = None,
        depth: int | None = None,
        passes: Callable[[Ints], Flags] | None = None,
        schemas: Iterable[str] | None = None,
        with_edges: bool = False,
    ) -> Walked:
        """All that is reached from ``seeds``, themselves included; ``steps`` are what led to each of them so far.

        No more than ``depth`` steps are gone, and over no dataset, but for seeds, for which ``passes`` is false.
        ``schemas`` names the physical schemas whose edges count.
        """
        allowed = None
        if schemas is not None:
            chosen = set(schemas)
            allowed = np.array([label.schema in chosen for label in self.labels], np.bool_)
            allowed = None if allowed.all() else allowed
        levels = _Levels(len(self.numbers), seeds, steps)
        edges = []
        while (frontier := levels.frontier(passes)) is not None:
            if depth is not None and levels.level >= depth:
                if not levels.waiting:
                    break
                levels.reach(np.zeros(0, np.int32))
                continue
            found = self._after(direction, frontier, allowed)
            if with_edges:
                edges.append(found)
            levels.reach(found[1])
        reached, counted = levels.reached()
        if not edges:
            none = np.zeros(0, np.int32)
            return Walked(reached, counted, none, none, np.zeros(0, np.int16))
        near, far, labels = (np.concatenate(parts) for parts in zip(*edges, strict=True))
        return Walked(reached, counted, near, far, labels)

    def _after(
        self, direction: Direction, numbers: Ints, allowed: Flags | None
    ) -> tuple[Ints, Ints, npt.NDArray[np.int16]]:
        parts = [layer.rows(direction).after(numbers) for layer in self._layers]
        if not parts:
            none = np.zeros(0, np.int32)
            return none, none, np.zeros(0, np.int16)
        near, far, labels = (
            parts[0] if len(parts) == 1 else (np.concatenate(p) for p in zip(*parts, strict=True))
        )
        if allowed is not None:
            kept = allowed[labels]
            near, far, labels = near[kept], far[kept], labels[kept]
        return near, far, labels

    def reach(
        self, seeds: Iterable[uuid.UUID], depth: int | None = None, direction: Direction = Direction.UPSTREAM
    ) -> dict[uuid.UUID, int]:
        """Datasets reached, with the fewest steps to each (at most ``depth``); the seeds are left out."""
        numbers = self.numbers.find(packed_ids(seeds))
        walked = self.walk(direction, numbers[numbers >= 0], depth=depth)
        beyond = walked.steps > 0
        ids = self.numbers.ids[walked.datasets[beyond]].tobytes()
        steps = walked.steps[beyond].tolist()
        return {uuid.UUID(bytes=ids[16 * place : 16 * place + 16]): step for place, step in enumerate(steps)}


class _Levels:
    """The levels of one walk; a dataset belongs to the first that reaches it."""

    def __init__(self, count: int, seeds: Ints, steps: Ints | None) -> None:
        #: steps + 1, 0 for what has not been reached; memory that is not touched costs nothing
        self._seen = np.zeros(count, np.int32)
        self._all_seeds = seeds
        if steps is None:
            self.waiting = {0: seeds}
        else:
            self.waiting = {int(step): seeds[steps == step] for step in np.unique(steps)}
        self.level = min(self.waiting, default=0)
        self._fresh = np.zeros(0, np.int32)
        self._reached: list[tuple[Ints, int]] = []

    def frontier(self, passes: Callable[[Ints], Flags] | None) -> Ints | None:
        """What is to be expanded now; None at the end."""
        if not len(self._fresh):
            if not self.waiting:
                return None
            self.level = min(self.waiting)
        frontier = self._fresh
        if passes is not None and len(frontier):
            frontier = frontier[passes(frontier) | np.isin(frontier, self._all_seeds)]
        starting = self.waiting.pop(self.level, None)
        if starting is not None:
            starting = np.unique(starting[self._seen[starting] == 0])
            self._mark(starting, self.level)
            frontier = np.concatenate([frontier, starting])
        return frontier

    def reach(self, far: Ints) -> None:
        """What the edges from the frontier lead to."""
        self.level += 1
        fresh = far[self._seen[far] == 0]
        if len(fresh) * _DENSE > len(self._seen):
            self._seen[fresh] = self.level + 1
            self._fresh = np.flatnonzero(self._seen == self.level + 1).astype(np.int32)
            self._reached.append((self._fresh, self.level))
        else:
            self._fresh = np.unique(fresh)
            self._mark(self._fresh, self.level)

    def _mark(self, numbers: Ints, level: int) -> None:
        if len(numbers):
            self._seen[numbers] = level + 1
            self._reached.append((numbers, level))

    def reached(self) -> tuple[Ints, Ints]:
        """(numbers, steps)."""
        if not self._reached:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        numbers = np.concatenate([part for part, _ in self._reached])
        return numbers, np.repeat(
            np.array([level for _, level in self._reached], np.int32),
            [len(part) for part, _ in self._reached],
        )


def numbered(near: bytes | bytearray, far: bytes | bytearray) -> tuple[DatasetNumbers, Ints, Ints]:
    """Numbers for all ids of edges, and those of each edge's two ends."""
    count = len(near) // 16
    both = pa.Array.from_buffers(pa.binary(16), 2 * count, [None, pa.py_buffer(b"".join((near, far)))])
    coded = both.dictionary_encode()
    codes: Any = coded.indices.to_numpy().astype(np.int32, copy=False)
    held = coded.dictionary
    ids = np.frombuffer(held.buffers()[1], ID_DTYPE)[held.offset : held.offset + len(held)]
    return DatasetNumbers.of(ids), codes[:count], codes[count:]


def _merged(layers: Sequence[_Layer], count: int, keep: Flags | None = None) -> _Layer:
    if not layers:
        return _Layer(_Rows.build(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int16), count))
    near, far, labels = (np.concatenate(p) for p in zip(*(layer.edges() for layer in layers), strict=True))
    if keep is not None:
        kept = keep[labels]
        near, far, labels = near[kept], far[kept], labels[kept]
    return _Layer(_Rows.build(near, far, labels, count))
