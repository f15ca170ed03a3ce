"""Activities: what was run, with which inputs and outputs; written in bulk with their provenance edges."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.timespan import Timespan
from federation.registry.provenance import check_acyclic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.registry.transaction import Transaction

__all__ = ["INPUT", "OUTPUT", "Activity", "Recorded", "record_activities"]

#: roles in table ``activity_dataset``
INPUT, OUTPUT = "input", "output"


def _distinct(ids: Iterable[uuid.UUID]) -> tuple[uuid.UUID, ...]:
    return tuple(dict.fromkeys(ids))


@attrs.frozen
class Activity:
    """One execution of a task that made ``outputs`` from ``inputs``, as a quantum of a pipeline is.

    ``run`` is the RUN collection of the outputs; ``timespan`` says when it ran (TAI). ``parameters`` is its
    configuration, of JSON values.
    """

    id: uuid.UUID
    task: str
    version: str | None = None
    run: str | None = None
    timespan: Timespan = Timespan()
    host: str | None = None
    status: str | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    inputs: tuple[uuid.UUID, ...] = attrs.field(default=(), converter=_distinct)
    outputs: tuple[uuid.UUID, ...] = attrs.field(default=(), converter=_distinct)

    def __attrs_post_init__(self) -> None:
        if not self.task:
            raise UserError(f"activity {self.id} has no task", hint="say what was run")
        if self.timespan.is_empty and self.timespan.begin != self.timespan.end:
            raise UserError(
                f"activity {self.id} ends before it begins: {self.timespan}", hint="correct its times"
            )
        both = set(self.inputs) & set(self.outputs)
        if both:
            raise UserError(
                f"activity {self.id} ({self.task}) has dataset {min(both)} as input and as output",
                hint="a dataset can't be made from itself",
            )

    def to_row(self) -> dict[str, Any]:
        """As a row of table ``activity``."""
        return {
            "activity_id": self.id,
            "task": self.task,
            "version": self.version,
            "run": self.run,
            "timespan_begin": self.timespan.begin,
            "timespan_end": self.timespan.end,
            "host": self.host,
            "status": self.status,
            "parameters": self._parameters_text(),
        }

    def _parameters_text(self) -> str | None:
        if not self.parameters:
            return None
        try:
            # keys become texts first, so that their order is the one they have when they are read again
            plain = json.loads(json.dumps(self.parameters, allow_nan=False))
            return json.dumps(plain, sort_keys=True, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"parameters of activity {self.id} ({self.task}) are not JSON: {error}",
                hint="use texts, finite numbers, true and false, null, lists and objects",
            ) from error

    @classmethod
    def from_rows(cls, row: Mapping[str, Any], datasets: Iterable[Mapping[str, Any]]) -> Activity:
        """From its row and the rows of its datasets in table ``activity_dataset``."""
        by_role: dict[str, list[uuid.UUID]] = {INPUT: [], OUTPUT: []}
        for dataset in datasets:
            by_role.setdefault(dataset["role"], []).append(dataset["dataset_id"])
        return cls(
            row["activity_id"],
            row["task"],
            row["version"],
            row["run"],
            Timespan(row["timespan_begin"], row["timespan_end"]),
            row["host"],
            row["status"],
            json.loads(row["parameters"]) if row["parameters"] else {},
            sorted(by_role[INPUT]),
            sorted(by_role[OUTPUT]),
        )


@attrs.frozen
class Recorded:
    """How much was new: activities, and provenance edges."""

    activities: int
    edges: int


def record_activities(tx: Transaction, activities: Sequence[Activity]) -> Recorded:
    """Record activities, their datasets, and a provenance edge from every output to every input.

    The same activity again changes nothing. Outputs must be known to the registry, inputs may live anywhere.
    `ConflictError` for an id that stands for another activity, an output that two activities (or another task)
    made, an output that is not in the activity's RUN, and one that is upstream of its own input; `NotFoundError` for
    an unknown output. Everything is checked before anything is written.
    """
    given = _by_id(activities)
    fresh = _not_recorded(tx, given)
    makers = _makers(fresh)
    _check_made_once(tx, makers)
    _check_outputs(tx, makers)
    edges = _new_edges(tx, fresh)
    check_acyclic(tx, edges)
    tx.put("activity", [activity.to_row() for activity in fresh])
    pairs = [
        (activity.id, dataset_id, role)
        for activity in fresh
        for role, ids in ((INPUT, activity.inputs), (OUTPUT, activity.outputs))
        for dataset_id in ids
    ]
    _put(tx, "activity_dataset", ("activity_id", "dataset_id", "role"), pairs, fresh=True)
    rows = [(dataset_id, input_id, task) for (dataset_id, input_id), task in edges.items()]
    _put(tx, "provenance", ("dataset_id", "input_id", "task"), rows, fresh=False)
    return Recorded(len(fresh), len(edges))


def _put(
    tx: Transaction, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], *, fresh: bool
) -> None:
    if rows:
        tx.put_columns(table, dict(zip(columns, zip(*rows, strict=True), strict=True)), fresh=fresh)


def _by_id(activities: Sequence[Activity]) -> dict[uuid.UUID, Activity]:
    given: dict[uuid.UUID, Activity] = {}
    for activity in activities:
        other = given.setdefault(activity.id, activity)
        if other is not activity:
            _check_same(activity, other)
    return given


def _check_same(activity: Activity, known: Activity) -> None:
    old, new = known.to_row(), activity.to_row()
    differing = [name for name in new if new[name] != old[name]]
    differing += [
        name for name in ("inputs", "outputs") if set(getattr(activity, name)) != set(getattr(known, name))
    ]
    if differing:
        name = differing[0]
        shown = f": {name} {old[name]!r} is not {new[name]!r}" if name in new else f": its {name} differ"
        raise ConflictError(
            f"activity {activity.id} is recorded otherwise{shown}",
            hint="an identity is never given twice; use a new id",
        )


def _not_recorded(tx: Transaction, given: Mapping[uuid.UUID, Activity]) -> list[Activity]:
    """The activities that this schema lacks; one that is known anywhere must be the same."""
    keys = [(activity_id,) for activity_id in given]
    known = tx.known("activity", ("activity_id",), keys)
    here = {row["activity_id"] for row in tx.select("activity", ("activity_id",), list(known))}
    datasets = defaultdict(list)
    seen: set[tuple[Any, ...]] = set()
    for row in (
        *tx.select("activity_dataset", ("activity_id",), list(known)),
        *tx.registry.rows_elsewhere(tx.held, "activity_dataset", ("activity_id",), list(known)),
    ):
        key = (row["activity_id"], row["dataset_id"], row["role"])
        if key not in seen:
            seen.add(key)
            datasets[row["activity_id"]].append(row)
    for (activity_id,), row in known.items():
        _check_same(given[activity_id], Activity.from_rows(row, datasets[activity_id]))
    return [activity for activity in given.values() if activity.id not in here]


def _makers(activities: Iterable[Activity]) -> dict[uuid.UUID, Activity]:
    """The activity that made each output."""
    makers: dict[uuid.UUID, Activity] = {}
    for activity in activities:
        for dataset_id in activity.outputs:
            other = makers.setdefault(dataset_id, activity)
            if other is not activity:
                raise _made_twice(dataset_id, activity, other.id)
    return makers


def _made_twice(dataset_id: uuid.UUID, activity: Activity, other: uuid.UUID) -> ConflictError:
    return ConflictError(
        f"dataset {dataset_id} is an output of activity {activity.id} ({activity.task}) and of activity {other}",
        hint="a dataset is made once; record it with the activity that made it",
    )


def _check_made_once(tx: Transaction, makers: Mapping[uuid.UUID, Activity]) -> None:
    keys = [(dataset_id, OUTPUT) for dataset_id in makers]
    known = tx.known("activity_dataset", ("dataset_id", "role"), keys)
    for (dataset_id, _), row in known.items():
        if row["activity_id"] != makers[dataset_id].id:
            raise _made_twice(dataset_id, makers[dataset_id], row["activity_id"])


def _check_outputs(tx: Transaction, makers: Mapping[uuid.UUID, Activity]) -> None:
    known = tx.known("dataset", ("dataset_id",), [(dataset_id,) for dataset_id in makers])
    for dataset_id, activity in makers.items():
        row = known.get((dataset_id,))
        where = f"output {dataset_id} of activity {activity.id} ({activity.task})"
        if row is None:
            raise NotFoundError(
                f"{where} is no dataset at {tx.registry.site}", hint="register the dataset first"
            )
        if activity.run is not None and row["run"] != activity.run:
            raise ConflictError(
                f"{where} is in RUN {row['run']!r}, not {activity.run!r}", hint="correct the activity's run"
            )


def _new_edges(tx: Transaction, activities: Sequence[Activity]) -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """Tasks by (output, input), of the edges that are not there or say no task yet."""
    edges = {
        (output, input_): activity.task
        for activity in activities
        for output in activity.outputs
        for input_ in activity.inputs
    }
    outputs = {output for output, _ in edges}
    for row in tx.select("provenance", ("dataset_id",), [(output,) for output in outputs]):
        edge = (row["dataset_id"], row["input_id"])
        if edge not in edges or row["task"] is None:
            continue
        if row["task"] != edges[edge]:
            raise ConflictError(
                f"dataset {edge[0]} was made from {edge[1]} by {row['task']!r}, not by {edges[edge]!r}",
                hint="a dataset is made once; correct the activity's task",
            )
        del edges[edge]
    return edges
