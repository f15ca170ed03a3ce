"""What is upstream or downstream of datasets over all sites, in as few rounds as the graph crosses between sites.

Every site goes as far as the schemas lead that are read at it, before anything is shipped; what one site reached and
others may continue is sent to these in the next round. A schema is read at home where the replica there equals its
owner, so that a site with replicas of all answers in one round.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import attrs
import numpy as np

from federation.errors import LimitError, UserError
from federation.model.lineage import Direction
from federation.registry.dataset_numbers import DatasetNumbers, ids_of, packed_ids
from federation.request_context import RequestPool
from federation.snapshot.lookup import Answer
from federation.snapshot.packed_ids import PackedIds
from federation.wire.walks import WalkCall

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from federation.execution.gathering import QueryableSite
    from federation.model.catalog import FederationCatalog
    from federation.model.position import Position, SchemaId
    from federation.wire.walks import WalkAnswer

    Ints = npt.NDArray[np.int32]

__all__ = ["EDGES_MAX", "Reach", "SiteWalks", "walk_readers"]

#: edges beyond which a walk is given up
EDGES_MAX = 50_000_000
#: ids sent in one call, and bytes of each
_IDS_MAX, _ID_BYTES = 400_000, 16
#: edges that are made Python values at a time
_ANSWER_ROWS = 2000
_NEVER = np.iinfo(np.int32).max


@attrs.frozen(eq=False)
class Reach:
    """n datasets, seeds among them, by ``ids`` (16 bytes each, end to end), and m edges between places in these.

    ``steps`` (n) are the fewest from a seed; ``near`` and ``far`` (m) are in the direction of the walk, ``labels`` (m)
    places in ``label_names``: the schema that has the edge, and the task. ``positions`` are what was read, ``rounds``
    how many times sites were asked that had to wait for others.
    """

    ids: bytes
    steps: Ints
    near: Ints
    far: Ints
    labels: npt.NDArray[np.int16]
    label_names: tuple[tuple[SchemaId, str | None], ...]
    positions: tuple[Position, ...]
    rounds: int

    def __len__(self) -> int:
        return len(self.steps)

    def answers(self, direction: Direction) -> Iterator[Answer]:
        """The edges as rows of table ``provenance``, some thousand an answer, schema by schema."""
        made, used = (self.near, self.far) if direction is Direction.UPSTREAM else (self.far, self.near)
        columns = ("dataset_id", "input_id", "task")
        order = sorted(range(len(self.label_names)), key=lambda label: self.label_names[label][0])
        for label in order:
            schema, task = self.label_names[label]
            places = np.flatnonzero(self.labels == label)
            for start in range(0, len(places), _ANSWER_ROWS):
                some = places[start : start + _ANSWER_ROWS]
                rows = tuple(
                    (self._id(dataset), self._id(source), task)
                    for dataset, source in zip(made[some].tolist(), used[some].tolist(), strict=True)
                )
                yield Answer("provenance", schema, columns, rows, followed=True)

    def _id(self, place: int) -> uuid.UUID:
        return uuid.UUID(bytes=self.ids[_ID_BYTES * place : _ID_BYTES * (place + 1)])


def walk_readers(catalog: FederationCatalog) -> dict[str, tuple[SchemaId, ...]]:
    """Which schemas' edges are read at which site: at home where its copy is all that the owner has, else at the owner.

    Where the owner does not answer, at the replica that has come furthest.
    """
    readers: dict[str, list[SchemaId]] = {}
    for schema in catalog.schemas:
        holders = catalog.holders(schema)
        owner = next((held for site, held in holders if site == schema.site), None)
        whole = [(site, held) for site, held in holders if "provenance" not in held.partial_tables]
        if owner is None:
            site = max(whole or holders, key=lambda one: one[1].lsn)[0]
        else:
            equal = [site for site, held in whole if (held.epoch, held.lsn) == (owner.epoch, owner.lsn)]
            site = catalog.home if catalog.home in equal else schema.site
        readers.setdefault(site, []).append(schema)
    return {site: tuple(schemas) for site, schemas in readers.items()}


class SiteWalks:
    """Walks over the sites of ``readers``; ``describe`` gives dataset types by id, of those that some site knows."""

    def __init__(
        self,
        clients: Mapping[str, QueryableSite],
        readers: Mapping[str, tuple[SchemaId, ...]],
        *,
        user: str = "",
        describe: Callable[[list[uuid.UUID]], dict[bytes, str]],
        workers: int = 8,
    ) -> None:
        self._clients, self._readers, self._user = clients, readers, user
        self._describe = describe
        self._workers = workers

    def walk(
        self,
        direction: Direction,
        seeds: Iterable[uuid.UUID],
        *,
        depth: int | None = None,
        stop_at: Collection[str] = (),
        edges_max: int = EDGES_MAX,
    ) -> Reach:
        """All that lies in one direction of ``seeds``, at most ``depth`` steps away.

        Datasets of the types ``stop_at`` are reached and not gone beyond, unless they are seeds. `LimitError` beyond
        ``edges_max`` edges, and what the sites raise.
        """
        if depth is not None and depth < 0:
            raise UserError(f"depth {depth} is negative", hint="0 gives nothing, 1 the direct neighbours")
        packed = ids_of(seeds.data) if isinstance(seeds, PackedIds) else packed_ids(dict.fromkeys(seeds))
        state = _Walk(direction, packed, depth, tuple(sorted(stop_at)), edges_max)
        rounds = 0
        while calls := self._calls(state):
            rounds += 1
            with RequestPool(min(self._workers, len(calls)), "walk") as pool:
                try:
                    answers = list(pool.map(lambda one: self._clients[one[0]].walk(one[1]), calls))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)  # the first failure ends the round
                    raise
            for (site, call), answer in zip(calls, answers, strict=True):
                state.take(site, call, answer)
            state.settle()
            untyped = state.untyped()
            if len(untyped):
                rounds += 1
                state.describe(untyped, self._describe)
        return state.reach(rounds)

    def _calls(self, state: _Walk) -> list[tuple[str, WalkCall]]:
        calls = []
        for site, schemas in self._readers.items():
            todo = state.todo(site)
            for start in range(0, len(todo), _IDS_MAX):
                part = todo[start : start + _IDS_MAX]
                ids = state.numbers.ids[part].tobytes()
                steps = None if state.depth is None else state.steps[part]
                calls.append(
                    (
                        site,
                        WalkCall(
                            state.direction, ids, schemas, steps, state.depth, state.stop_at, self._user
                        ),
                    )
                )
        return calls


class _Walk:
    """What is known between the rounds of one walk."""

    def __init__(
        self,
        direction: Direction,
        seeds: npt.NDArray[np.void],
        depth: int | None,
        stop_at: tuple[str, ...],
        edges_max: int,
    ) -> None:
        self.direction, self.depth, self.stop_at = direction, depth, stop_at
        self._edges_max = edges_max
        self.numbers = DatasetNumbers.of(seeds)
        self._seed_count = len(seeds)
        self.steps = np.zeros(len(seeds), np.int32)
        #: whether a dataset is gone on from: 1 yes, 0 no, -1 not known
        self._passes = np.ones(len(seeds), np.int8)
        #: by site, the steps from which it has gone on from a dataset
        self._done: dict[str, Ints] = {}
        self._near: list[Ints] = []
        self._far: list[Ints] = []
        self._label: list[npt.NDArray[np.int16]] = []
        self._names: dict[tuple[SchemaId, str | None], int] = {}
        self._positions: dict[SchemaId, Position] = {}

    def todo(self, site: str) -> Ints:
        """What a site has still to go on from."""
        done = self._done_at(site)
        wanted = (self._passes == 1) & (self.steps < done)
        if self.depth is not None:
            wanted &= self.steps < self.depth
        found: Ints = np.flatnonzero(wanted).astype(np.int32)
        return found

    def _done_at(self, site: str) -> Ints:
        done = self._done.get(site, np.zeros(0, np.int32))
        if len(done) < len(self.numbers):
            done = np.concatenate([done, np.full(len(self.numbers) - len(done), _NEVER, np.int32)])
            self._done[site] = done
        return done

    def take(self, site: str, call: WalkCall, answer: WalkAnswer) -> None:
        """What a site found."""
        self.numbers, places = self.numbers.extended(ids_of(answer.ids))
        added = len(self.numbers) - len(self.steps)
        self.steps = np.concatenate([self.steps, np.full(added, _NEVER, np.int32)])
        self._passes = np.concatenate([self._passes, np.full(added, -1 if self.stop_at else 1, np.int8)])
        if answer.dataset_types:
            self._note_types(places, answer.dataset_types)
        sent = self.numbers.find(ids_of(call.ids))
        done = self._done_at(site)
        # without a depth it does not matter how many steps led there
        done[sent] = 0 if self.depth is None else self.steps[sent]
        gone = places[answer.expanded]
        done[gone] = 0 if self.depth is None else np.minimum(done[gone], answer.steps[answer.expanded])
        codes = np.array(
            [self._names.setdefault(name, len(self._names)) for name in answer.label_names], np.int16
        )
        self._near.append(places[answer.near])
        self._far.append(places[answer.far])
        self._label.append(codes[answer.labels] if len(codes) else np.zeros(0, np.int16))
        for position in answer.positions:
            self._positions.setdefault(position.schema_id, position)

    def _note_types(self, places: Ints, types: tuple[str | None, ...]) -> None:
        known = np.array([name is not None for name in types], np.bool_)
        stops = np.array([name in self.stop_at for name in types], np.bool_)
        fresh = known & (self._passes[places] < 0)
        self._passes[places[fresh]] = np.where(stops[fresh], 0, 1)

    def settle(self) -> None:
        """Join the edges, each once, and count the steps anew."""
        near, far = np.concatenate(self._near), np.concatenate(self._far)
        label = np.concatenate(self._label)
        if len(self._near) > 1:
            order = np.lexsort((label, far, near))
            near, far, label = near[order], far[order], label[order]
            first = np.ones(len(near), np.bool_)
            first[1:] = (near[1:] != near[:-1]) | (far[1:] != far[:-1]) | (label[1:] != label[:-1])
            near, far, label = near[first], far[first], label[first]
        self._near, self._far, self._label = [near], [far], [label]
        if len(near) > self._edges_max:
            raise LimitError(
                f"more than {self._edges_max} provenance edges lie {self.direction}",
                hint="give a smaller depth, or dataset types to stop at",
            )
        self.steps = _fewest_steps(len(self.numbers), self._seed_count, near, far)

    def untyped(self) -> Ints:
        """Reached datasets of which no site that was asked knows the type."""
        unknown = self._passes < 0
        if self.depth is not None:
            unknown &= self.steps < self.depth
        found: Ints = np.flatnonzero(unknown).astype(np.int32)
        return found

    def describe(self, numbers: Ints, describe: Callable[[list[uuid.UUID]], dict[bytes, str]]) -> None:
        """Ask for the types of datasets; those of none are gone on from."""
        data = self.numbers.ids[numbers].tobytes()
        ids = [data[place : place + _ID_BYTES] for place in range(0, len(data), _ID_BYTES)]
        known = describe([uuid.UUID(bytes=one) for one in ids])
        self._passes[numbers] = [0 if known.get(one) in self.stop_at else 1 for one in ids]

    def reach(self, rounds: int) -> Reach:
        """The result, edges by the steps that led to them."""
        none = np.zeros(0, np.int32)
        near, far = (parts[0] if parts else none for parts in (self._near, self._far))
        label = self._label[0] if self._label else np.zeros(0, np.int16)
        return Reach(
            self.numbers.ids.tobytes(), self.steps, near, far, label, tuple(self._names),
            tuple(self._positions[schema] for schema in sorted(self._positions)), rounds,
        )  # fmt: skip


def _fewest_steps(count: int, seed_count: int, near: Ints, far: Ints) -> Ints:
    """Steps to each of ``count`` datasets, of which the first are the seeds."""
    steps = np.full(count, _NEVER, np.int32)
    steps[:seed_count] = 0
    order = np.argsort(near, kind="stable")
    ends = far[order]
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(near, minlength=count), out=offsets[1:])
    frontier, level = np.arange(seed_count), 0
    while len(frontier):
        level += 1
        starts = offsets[frontier]
        counts = offsets[frontier + 1] - starts
        at = np.arange(int(counts.sum())) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        reached = ends[at]
        reached = np.unique(reached[steps[reached] == _NEVER])
        steps[reached] = level
        frontier = reached
    return steps
