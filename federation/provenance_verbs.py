"""The verbs of ``federation provenance`` and ``federation metrics``, for programs and notebooks."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.config import find_site
from federation.errors import NotFoundError
from federation.model.lineage import Direction
from federation.registry import activities as activity_records
from federation.registry import grants
from federation.registry import metrics as metric_records
from federation.registry.activities import OUTPUT, Activity, Recorded
from federation.registry.activity_files import read_activities
from federation.registry.metric_files import read_metrics
from federation.registry.metrics import Metric
from federation.registry.registry import Registry
from federation.snapshot.lineage import (
    EDGES_MAX,
    Lineage,
    LineageDataset,
    lineage_of,
    unknown_seeds,
    unpacked,
)
from federation.snapshot.lookup import RowsByIds
from federation.snapshot.source import FederatedSource

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from federation.model.logical import LogicalType
    from federation.registry.transaction import Transaction
    from federation.session import Session
    from federation.snapshot.lookup import Answer

__all__ = [
    "DatasetProvenance",
    "MetricName",
    "dataset_provenance",
    "downstream",
    "metric_names",
    "put_metrics",
    "record_activities",
    "upstream",
]


# -- writing ------------------------------------------------------------------------------------------------------


@contextmanager
def _transaction(site: str, sites: str | Path, schema: str | None, user: str | None) -> Iterator[Transaction]:
    with Registry.open(find_site(site, Path(sites))) as registry:
        name = schema or registry.site
        grants.check(registry, user, grants.Privilege.WRITE, name)
        with registry.transaction(name) as tx:
            yield tx


def record_activities(
    activities: Iterable[Activity | str | Path],
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    user: str | None = None,
) -> Recorded:
    """Record activities, given as such or as files of them, with their provenance edges: all of them or none.

    The same again changes nothing. ``user`` is on whose behalf it is done; without it, the operator.
    """
    given: list[Activity] = []
    for one in activities:
        given.extend([one] if isinstance(one, Activity) else read_activities(Path(one)))
    with _transaction(site, sites, schema, user) as tx:
        return activity_records.record_activities(tx, given)


def put_metrics(
    metrics: Iterable[Metric | str | Path],
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    user: str | None = None,
) -> int:
    """Record metrics, given as such or as files of them, each in place of the one before; returns how many.

    ``user`` is on whose behalf it is done; without it, the operator.
    """
    given: list[Metric] = []
    for one in metrics:
        given.extend([one] if isinstance(one, Metric) else read_metrics(Path(one)))
    with _transaction(site, sites, schema, user) as tx:
        return metric_records.put_metrics(tx, given)


# -- reading ------------------------------------------------------------------------------------------------------


def upstream(
    session: Session,
    ids: Iterable[uuid.UUID],
    *,
    depth: int | None = None,
    dataset_types: Collection[str] = (),
    stop_at: Collection[str] = (),
    edges_max: int = EDGES_MAX,
    partial: bool = False,
) -> Lineage:
    """What datasets were made from, over all sites, at any depth or at most ``depth`` steps away.

    With ``dataset_types`` only datasets of these types are in the answer, though others are passed through; datasets
    of the types ``stop_at`` are reached and not passed. `NotFoundError` for a dataset that no site knows,
    `LimitError` beyond ``edges_max`` edges, `UnavailableError` when a site does not answer, unless ``partial``.
    """
    return _lineage(
        session, Direction.UPSTREAM, ids, depth, dataset_types, stop_at, edges_max, partial=partial
    )


def downstream(
    session: Session,
    ids: Iterable[uuid.UUID],
    *,
    depth: int | None = None,
    dataset_types: Collection[str] = (),
    stop_at: Collection[str] = (),
    edges_max: int = EDGES_MAX,
    partial: bool = False,
) -> Lineage:
    """What was made from datasets, over all sites; as `upstream`."""
    return _lineage(
        session, Direction.DOWNSTREAM, ids, depth, dataset_types, stop_at, edges_max, partial=partial
    )


def _lineage(
    session: Session,
    direction: Direction,
    ids: Iterable[uuid.UUID],
    depth: int | None,
    dataset_types: Collection[str],
    stop_at: Collection[str],
    edges_max: int,
    *,
    partial: bool,
) -> Lineage:
    source = _source(session, partial)
    reach = source.reach(direction, ids, depth=depth, stop_at=stop_at, edges_max=edges_max)
    described = source.describe(unpacked(reach.ids))
    unknown = unknown_seeds(reach, described)
    if unknown:
        raise _unknown(unknown)
    return attrs.evolve(lineage_of(reach, direction, described, dataset_types), missing=source.missing)


def _source(session: Session, partial: bool = False) -> FederatedSource:
    remedy = "try again when it is back; --partial answers without it"
    return FederatedSource(session.coordinator, partial=partial, purpose="answer", remedy=remedy)


def _unknown(ids: Sequence[uuid.UUID]) -> NotFoundError:
    more = f", nor {len(ids) - 1} others" if len(ids) > 1 else ""
    return NotFoundError(
        f"no site knows dataset {ids[0]}{more}",
        hint="ids of datasets: federation query 'SELECT dataset_id FROM dataset'",
    )


@attrs.frozen
class DatasetProvenance:
    """One dataset, what made it, and its direct neighbours.

    ``inputs`` are what it was made from, ``outputs`` what else the activity made, ``used_by`` what was made from it,
    ``missing`` sites that did not answer.
    """

    dataset: LineageDataset
    activity: Activity | None
    inputs: tuple[LineageDataset, ...]
    outputs: tuple[LineageDataset, ...]
    used_by: tuple[LineageDataset, ...]
    missing: tuple[str, ...] = ()


def dataset_provenance(
    session: Session, dataset_id: uuid.UUID, *, partial: bool = False
) -> DatasetProvenance:
    """How one dataset was made and what for; `NotFoundError` when no site knows it."""
    source = _source(session, partial)
    asked = frozenset({dataset_id})
    rows = _rows(
        source.lookup(
            (
                RowsByIds("dataset", "dataset_id", asked),
                RowsByIds("activity_dataset", "dataset_id", asked),
                RowsByIds("provenance", "dataset_id", asked),
                RowsByIds("provenance", "input_id", asked),
            )
        )
    )
    edges = rows.get("provenance", [])
    if "dataset" not in rows and not edges:
        raise _unknown([dataset_id])
    makers = sorted({row["activity_id"] for row in rows.get("activity_dataset", []) if row["role"] == OUTPUT})
    made = _rows(
        source.lookup(
            (
                RowsByIds("activity", "activity_id", frozenset(makers[:1])),
                RowsByIds("activity_dataset", "activity_id", frozenset(makers[:1])),
            )
        )
        if makers
        else []
    )
    activity = None
    if made.get("activity"):
        activity = Activity.from_rows(made["activity"][0], made.get("activity_dataset", []))
    inputs = {row["input_id"] for row in edges if row["dataset_id"] == dataset_id}
    used_by = {row["dataset_id"] for row in edges if row["input_id"] == dataset_id}
    outputs: set[uuid.UUID] = set()
    if activity is not None:
        inputs |= set(activity.inputs)
        outputs = set(activity.outputs) - asked
    around = frozenset(inputs | used_by | outputs)
    more = _rows(source.lookup((RowsByIds("dataset", "dataset_id", around),)) if around else [])
    known = {row["dataset_id"]: row for row in (*more.get("dataset", []), *rows.get("dataset", []))}
    made_from, made_with, made_of = (
        tuple(
            sorted(
                (_described(known, one, 1) for one in ids),
                key=lambda one: (one.dataset_type, one.dataset_id),
            )
        )
        for ids in (inputs, outputs, used_by)
    )
    return DatasetProvenance(
        _described(known, dataset_id, 0), activity, made_from, made_with, made_of, source.missing
    )


def _rows(answers: Iterable[Answer]) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for answer in answers:
        for row in answer.mappings():
            rows.setdefault(answer.table, []).append(row)
    return rows


def _described(
    known: Mapping[uuid.UUID, Mapping[str, Any]], dataset_id: uuid.UUID, depth: int
) -> LineageDataset:
    row = known.get(dataset_id, {"dataset_type": "", "run": ""})
    return LineageDataset(dataset_id, row["dataset_type"], row["run"], depth)


@attrs.frozen
class MetricName:
    """A metric that some schemas have, and what its values are."""

    name: str
    type: LogicalType
    schemas: tuple[str, ...]


def metric_names(session: Session) -> tuple[MetricName, ...]:
    """The metrics that can be used as columns in queries, by name."""
    catalog = session.catalog()
    found: dict[str, list[tuple[str, LogicalType]]] = {}
    for schema in catalog.schemas:
        for name, type_ in catalog.holders(schema)[0][1].metrics.items():
            found.setdefault(name, []).append((str(schema), type_))
    return tuple(
        # a number somewhere is a number for the planner
        MetricName(name, min(type_ for _, type_ in where), tuple(schema for schema, _ in where))
        for name, where in sorted(found.items())
    )
