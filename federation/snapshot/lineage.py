"""What lies upstream or downstream of datasets, as people see it: datasets by steps, and the edges between them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import attrs
import pyarrow as pa

from federation.model.lineage import Direction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from federation.snapshot.reach import Reach

__all__ = ["Lineage", "LineageDataset", "LineageEdge", "lineage_of", "unknown_seeds", "unpacked"]

#: edges beyond which an answer for people is given up
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


def lineage_of(
    reach: Reach,
    direction: Direction,
    described: Mapping[uuid.UUID, tuple[str, str]],
    dataset_types: Collection[str] = (),
) -> Lineage:
    """What a walk found; with ``dataset_types`` only datasets of these, and the edges that lead to them.

    ``described`` gives type and run of the datasets that some site knows.
    """
    ids = unpacked(reach.ids)
    steps = reach.steps.tolist()
    wanted = frozenset(dataset_types)
    chosen = [
        LineageDataset(dataset_id, *described.get(dataset_id, ("", "")), step)
        for dataset_id, step in zip(ids, steps, strict=True)
        if step and (not wanted or described.get(dataset_id, ("", ""))[0] in wanted)
    ]
    kept = {one.dataset_id for one in chosen}
    tasks: dict[tuple[int, int], str | None] = {}
    for near, far, label in zip(reach.near.tolist(), reach.far.tolist(), reach.labels.tolist(), strict=True):
        tasks[near, far] = tasks.get((near, far)) or reach.label_names[label][1]
    edges = []
    for (near, far), task in tasks.items():
        pair = (ids[near], ids[far]) if direction is Direction.UPSTREAM else (ids[far], ids[near])
        if not wanted or ids[far] in kept:
            edges.append(LineageEdge(*pair, task, steps[near] + 1))
    return Lineage(
        direction,
        tuple(sorted(chosen, key=lambda one: (one.depth, one.dataset_type, one.dataset_id))),
        tuple(sorted(edges, key=lambda edge: (edge.depth, edge.dataset_id, edge.input_id))),
    )


def unknown_seeds(reach: Reach, described: Mapping[uuid.UUID, tuple[str, str]]) -> list[uuid.UUID]:
    """Seeds that no site knows and that no edge leads from."""
    going = set(reach.near.tolist())
    return sorted(
        dataset_id
        for place, (dataset_id, step) in enumerate(
            zip(unpacked(reach.ids), reach.steps.tolist(), strict=True)
        )
        if step == 0 and dataset_id not in described and place not in going
    )


def unpacked(data: bytes) -> list[uuid.UUID]:
    """UUIDs whose bytes lie end to end."""
    return [uuid.UUID(bytes=data[place : place + 16]) for place in range(0, len(data), 16)]
