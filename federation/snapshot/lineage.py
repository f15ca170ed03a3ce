"""What lies upstream or downstream of datasets over all sites, found in rounds of set-wise lookups.

A pure state machine, used as `ClosureState` is: `LineageWalk.start` and `LineageWalk.receive` say what to look up
next. No dataset is asked for twice, so a cycle ends, and there are as many rounds as the longest way has steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pyarrow as pa

from federation.errors import LimitError, UserError
from federation.model.lineage import Direction
from federation.snapshot.lookup import RowsByIds

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable, Mapping

    from federation.snapshot.lookup import Answer, Requests

__all__ = ["Lineage", "LineageDataset", "LineageEdge", "LineageWalk"]

#: edges beyond which a walk is given up
EDGES_MAX = 5_000_000


@attrs.frozen
class LineageDataset:
    """A dataset reached; ``depth`` is the least number of steps, 0 for one that was asked about.

    ``dataset_type`` and ``run`` are empty where no site that answered knows the dataset.
    """

    dataset_id: uuid.UUID
    dataset_type: str
    run: str
    depth: int


@attrs.frozen
class LineageEdge:
    """``dataset_id`` was made from ``input_id`` by ``task``; ``depth`` is the step that led over it, from 1."""

    dataset_id: uuid.UUID
    input_id: uuid.UUID
    task: str | None
    depth: int


@attrs.frozen
class Lineage:
    """What was reached, nearest first, and the edges that led there; ``missing`` are sites that did not answer."""

    direction: Direction
    datasets: tuple[LineageDataset, ...]
    edges: tuple[LineageEdge, ...]
    missing: tuple[str, ...] = ()

    def datasets_table(self) -> pa.Table:
        """Columns dataset_id, dataset_type, run, depth."""
        return pa.table(
            {
                "dataset_id": _uuids(one.dataset_id for one in self.datasets),
                "dataset_type": pa.array([one.dataset_type for one in self.datasets], pa.string()),
                "run": pa.array([one.run for one in self.datasets], pa.string()),
                "depth": pa.array([one.depth for one in self.datasets], pa.int64()),
            }
        )

    def edges_table(self) -> pa.Table:
        """Columns dataset_id, input_id, task, depth."""
        return pa.table(
            {
                "dataset_id": _uuids(edge.dataset_id for edge in self.edges),
                "input_id": _uuids(edge.input_id for edge in self.edges),
                "task": pa.array([edge.task for edge in self.edges], pa.string()),
                "depth": pa.array([edge.depth for edge in self.edges], pa.int64()),
            }
        )


def _uuids(ids: Iterable[uuid.UUID]) -> pa.Array:
    return pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([dataset_id.bytes for dataset_id in ids], pa.binary(16))
    )


class LineageWalk:
    """A walk from ``seeds`` in one direction.

    ``depth`` is the greatest number of steps (None: any). Datasets of the types ``stop_at`` are reached but not gone
    beyond, unless they are seeds.
    """

    def __init__(
        self,
        direction: Direction,
        seeds: Iterable[uuid.UUID],
        *,
        depth: int | None = None,
        stop_at: Collection[str] = (),
        edges_max: int = EDGES_MAX,
    ) -> None:
        if depth is not None and depth < 0:
            raise UserError(f"depth {depth} is negative", hint="0 gives nothing, 1 the direct neighbours")
        self._direction = direction
        self._depth = depth
        self._stop_at = frozenset(stop_at)
        self._edges_max = edges_max
        self._level = 0
        self._frontier = frozenset(seeds)
        self._depths: dict[uuid.UUID, int] = dict.fromkeys(self._frontier, 0)
        self._described: dict[uuid.UUID, tuple[str, str]] = {}
        self._edges: dict[tuple[uuid.UUID, uuid.UUID], tuple[str | None, int]] = {}

    def start(self) -> Requests:
        """The lookups of the first round."""
        return self._requests()

    def receive(self, answers: Iterable[Answer]) -> Requests:
        """Take in the answers to the lookups of one round; the lookups of the next, or nothing."""
        edges: list[Mapping[str, Any]] = []
        for answer in sorted(answers, key=lambda answer: (answer.table, answer.source)):
            if answer.table == "dataset":
                for row in answer.mappings():
                    self._described.setdefault(row["dataset_id"], (row["dataset_type"], row["run"]))
            else:
                edges.extend(answer.mappings())
        self._level += 1
        reached = set()
        for row in edges:
            near, far = row[self._direction.near], row[self._direction.far]
            if self._level > 1 and self._described.get(near, ("", ""))[0] in self._stop_at:
                continue
            key = (row["dataset_id"], row["input_id"])
            task, level = self._edges.get(key, (None, self._level))
            self._edges[key] = (task or row["task"], level)
            if far not in self._depths:
                self._depths[far] = self._level
                reached.add(far)
        if len(self._edges) > self._edges_max:
            raise LimitError(
                f"more than {self._edges_max} provenance edges lie {self._direction}",
                hint="give a smaller depth, or dataset types to stop at",
            )
        self._frontier = frozenset(reached)
        return self._requests()

    def _requests(self) -> Requests:
        if not self._frontier:
            return ()
        described = RowsByIds("dataset", "dataset_id", self._frontier)
        if self._depth is not None and self._level >= self._depth:
            return (described,)
        return (described, RowsByIds("provenance", self._direction.near, self._frontier, self._direction.far))

    def unknown_seeds(self) -> list[uuid.UUID]:
        """Seeds that no site knows and that no edge leads from."""
        ends = {end for edge in self._edges for end in edge}
        return sorted(
            dataset_id
            for dataset_id, depth in self._depths.items()
            if depth == 0 and dataset_id not in self._described and dataset_id not in ends
        )

    def lineage(self, dataset_types: Collection[str] = ()) -> Lineage:
        """What was found; with ``dataset_types`` only datasets of these, and the edges that lead to them."""
        reached = [
            LineageDataset(dataset_id, *self._described.get(dataset_id, ("", "")), depth)
            for dataset_id, depth in self._depths.items()
            if depth
        ]
        wanted = frozenset(dataset_types)
        chosen = [one for one in reached if not wanted or one.dataset_type in wanted]
        kept = {one.dataset_id for one in chosen}
        place = 1 if self._direction is Direction.UPSTREAM else 0
        edges = [
            LineageEdge(*pair, task, level)
            for pair, (task, level) in self._edges.items()
            if not wanted or pair[place] in kept
        ]
        return Lineage(
            self._direction,
            tuple(sorted(chosen, key=lambda one: (one.depth, one.dataset_type, one.dataset_id))),
            tuple(sorted(edges, key=lambda edge: (edge.depth, edge.dataset_id, edge.input_id))),
        )
