"""Metrics of datasets: free key-value ones for any dataset, and metadata columns of dataset types set after ingest."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import pyarrow as pa
import sqlalchemy as sa

from federation.errors import NotFoundError, UserError
from federation.model.dataset import DatasetType
from federation.model.logical import LogicalType
from federation.registry.columns import check_values, columns_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.registry.transaction import Transaction

__all__ = ["NAME_LENGTH_MAX", "Metric", "delete_metrics", "metric_types", "put_metrics", "set_metadata"]

#: characters of a metric's name
NAME_LENGTH_MAX = 255
#: names that a catalog tells of; beyond them a metric is found in table ``metric`` only
NAMES_MAX = 10_000


@attrs.frozen
class Metric:
    """One measurement of a dataset; ``value`` is a finite number or a text."""

    dataset_id: uuid.UUID
    name: str
    value: float | str
    unit: str | None = None


def put_metrics(
    tx: Transaction, metrics: Sequence[Metric | tuple[uuid.UUID, str, float | str, str | None]]
) -> int:
    """Record metrics in the transaction's schema, each in place of what it has for the dataset and name.

    Returns how many were written; of one given twice the last counts. `NotFoundError` for a dataset that the
    registry does not know, `UserError` for a bad name or value.
    """
    given = [metric if isinstance(metric, Metric) else Metric(*metric) for metric in metrics]
    latest = {(metric.dataset_id, metric.name): _row(metric) for metric in given}
    _check_known(tx, {dataset_id for dataset_id, _ in latest})
    tx.put("metric", list(latest.values()))
    return len(latest)


def _row(metric: Metric) -> dict[str, Any]:
    where = f"metric {metric.name!r} of dataset {metric.dataset_id}"
    if not isinstance(metric.dataset_id, uuid.UUID):
        raise UserError(f"{where}: the dataset is not a UUID", hint="give its dataset_id")
    name = metric.name
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise UserError(
            f"{where}: the name is not a printable text of at most {NAME_LENGTH_MAX} characters",
            hint="letters, digits and _ are best, so that it can be written like a column",
        )
    value: Any = metric.value
    if type(value).__module__ == "numpy":
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{where} = {value!r} is neither a number nor a text", hint="write 0 or 1, or a text")
    row: dict[str, Any] = {"dataset_id": metric.dataset_id, "name": name}
    if isinstance(value, str):
        row["value_text"] = check_values(LogicalType.STRING, [value], where)[0]
    else:
        try:
            row["value"] = float(value)
        except OverflowError:
            row["value"] = math.inf
        if not math.isfinite(row["value"]):
            raise UserError(f"{where} = {value!r} is not finite", hint="leave it out, or write a text")
    if metric.unit is not None:
        row["unit"] = check_values(LogicalType.STRING, [metric.unit], f"{where}: unit")[0]
    return row


def _check_known(tx: Transaction, ids: set[uuid.UUID]) -> None:
    found = tx.known_keys("dataset", ("dataset_id",), [(dataset_id,) for dataset_id in ids])
    unknown = ids - {dataset_id for (dataset_id,) in found}
    if unknown:
        raise NotFoundError(
            f"dataset {min(unknown)} is not known at {tx.registry.site}"
            + (f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else ""),
            hint="register the dataset first, or follow the site that has it",
        )


def delete_metrics(tx: Transaction, keys: Iterable[tuple[uuid.UUID, str]]) -> int:
    """Remove this schema's metrics with these (dataset, name); returns how many there were."""
    there = tx.select("metric", ("dataset_id", "name"), keys)
    tx.delete("metric", there)
    return len(there)


def set_metadata(tx: Transaction, dataset_type: str, rows: Sequence[Mapping[str, Any]] | pa.Table) -> int:
    """Set metadata columns of datasets of one type that this schema has; columns that are left out keep their values.

    Every row has ``dataset_id`` and some of the type's metadata columns. Returns how many rows changed.
    `NotFoundError` for an undeclared type and for a dataset that this schema lacks, `UserError` for a column that is
    not metadata of the type and for a value of another type.
    """
    declared = tx.select("dataset_type", ("name",), [(dataset_type,)])
    if not declared:
        raise NotFoundError(
            f"dataset type {dataset_type!r} is not declared in {tx.held.schema}", hint="declare it first"
        )
    fields = {field.name: field.type for field in DatasetType.from_row(declared[0]).metadata}
    what = f"metadata of {dataset_type}"
    columns, count = columns_of(rows, ("dataset_id", *fields), what)
    if not count:
        return 0
    checked = {
        name: check_values(type_, columns[name], f"{what}: {name}")
        for name, type_ in {"dataset_id": LogicalType.UUID, **fields}.items()
    }
    ids = [value if isinstance(value, uuid.UUID) else _uuid(value, what) for value in checked["dataset_id"]]
    there = {
        row["dataset_id"]: row for row in tx.select(dataset_type, ("dataset_id",), [(id_,) for id_ in ids])
    }
    changed: dict[uuid.UUID, dict[str, Any]] = {}
    everywhere = set(rows.column_names) if isinstance(rows, pa.Table) else None
    for number, dataset_id in enumerate(ids):
        if dataset_id not in there:
            raise NotFoundError(
                f"{tx.held.schema} has no {dataset_type} with id {dataset_id}",
                hint="metadata columns are set in the schema that has the dataset; others can use metrics",
            )
        present = rows[number].keys() if everywhere is None else everywhere
        row = changed.get(dataset_id) or dict(there[dataset_id])
        row.update({name: checked[name][number] for name in fields if name in present})
        if row != there[dataset_id]:
            changed[dataset_id] = row
    tx.put(dataset_type, list(changed.values()))
    return len(changed)


def _uuid(value: bytes | None, what: str) -> uuid.UUID:
    if value is None:
        raise UserError(f"{what}: a row has no dataset_id", hint="give the dataset_id of every row")
    return uuid.UUID(bytes=value)


def metric_types(connection: sa.Connection, metric: sa.Table) -> dict[str, LogicalType]:
    """Names of the metrics in one physical table, each with FLOAT64, or STRING where it has no number.

    Steps from name to name over the index, so that its cost is that of the names, not of the rows.
    """
    first = sa.select(sa.func.min(metric.c.name).label("name")).cte("names", recursive=True)
    following = sa.select(sa.func.min(metric.c.name)).where(metric.c.name > first.c.name).scalar_subquery()
    names = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
    numeric = sa.exists().where(metric.c.name == names.c.name, metric.c.value.is_not(None))
    statement = sa.select(names.c.name, numeric.label("numeric")).where(names.c.name.is_not(None))
    return {
        row.name: LogicalType.FLOAT64 if row.numeric else LogicalType.STRING
        for row in connection.execute(statement.limit(NAMES_MAX))
    }
