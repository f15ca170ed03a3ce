"""Metrics of datasets, free ones and metadata columns: written in bulk, replaced, refused, and told by the catalog."""

from __future__ import annotations

import math
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from federation.errors import NotFoundError, UserError
from federation.model.catalog import SiteCatalog
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.registry.catalog import CatalogSource
from federation.registry.collections import register
from federation.registry.dataset_types import declare
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.dimensions import insert_records
from federation.registry.metrics import Metric, delete_metrics, put_metrics, set_metadata
from federation.registry.registry import Registry
from federation.wire.catalog import decode_catalog, encode_catalog

SITE = "base"


def uid(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """A registry with datasets 0 to 3 of type ``image``, which has metadata."""
    with registry.transaction(SITE) as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        insert_records(tx, "detector", [{"instrument": "C", "id": i, "full_name": f"d{i}"} for i in range(4)])
        metadata = (Field("nrows", LogicalType.INT64), Field("filter", LogicalType.STRING))
        declare(tx, DatasetType("image", ("detector",), "Exposure", metadata=metadata))
        register(tx, Collection("run/a", CollectionType.RUN))
        insert_datasets(
            tx,
            [NewDataset("image", "run/a", {"instrument": "C", "detector": i}, id=uid(i)) for i in range(4)],
        )
    return registry


def rows(registry: Registry, name: str) -> list[dict[str, Any]]:
    tables = tuple(registry.tables(SchemaId(SITE, SITE)).values())
    with registry.database.read((SITE,)) as connection:
        table = registry.physical_tables(SITE, tables)[name]
        return [
            dict(row._mapping) for row in connection.execute(sa.select(table).order_by(*table.primary_key))
        ]


def put(registry: Registry, *metrics: Any) -> int:
    with registry.transaction(SITE) as tx:
        return put_metrics(tx, metrics)


# -- free metrics -------------------------------------------------------------------------------------------------


def test_numbers_and_texts_have_columns_of_their_own(stocked: Registry) -> None:
    assert (
        put(
            stocked, (uid(1), "psf", 0.7, "arcsec"), Metric(uid(1), "grade", "good"), (uid(2), "psf", 1, None)
        )
        == 3
    )
    assert [(r["dataset_id"].int, *list(r.values())[1:]) for r in rows(stocked, "metric")] == [
        (1, "grade", None, "good", None), (1, "psf", 0.7, None, "arcsec"), (2, "psf", 1.0, None, None),
    ]  # fmt: skip


def test_a_metric_replaces_the_one_before(stocked: Registry) -> None:
    put(stocked, (uid(1), "psf", 0.7, "arcsec"))
    put(stocked, (uid(1), "psf", 5.0, "px"), (uid(1), "psf", np.float32(0.5), None))
    (row,) = rows(stocked, "metric")
    assert (row["value"], row["value_text"], row["unit"]) == (0.5, None, None)
    put(stocked, (uid(1), "psf", "unknown", None))
    (row,) = rows(stocked, "metric")
    assert (row["value"], row["value_text"]) == (None, "unknown")


def test_metrics_are_removed_by_dataset_and_name(stocked: Registry) -> None:
    put(stocked, (uid(1), "psf", 0.7, None), (uid(2), "psf", 0.8, None))
    with stocked.transaction(SITE) as tx:
        assert delete_metrics(tx, [(uid(1), "psf"), (uid(3), "psf")]) == 1
    assert [row["dataset_id"].int for row in rows(stocked, "metric")] == [2]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ((uid(1), "psf", True, None), "metric 'psf' of dataset .* = True is neither a number nor a text"),
        ((uid(1), "psf", None, None), "= None is neither a number nor a text"),
        ((uid(1), "psf", math.nan, None), "= nan is not finite"),
        ((uid(1), "psf", 10**400, None), "is not finite"),
        ((uid(1), "psf", "a\0b", None), "holds a character that no database keeps"),
        ((uid(1), " ", 1.0, None), "the name is not a printable text"),
        ((uid(1), "x" * 256, 1.0, None), "the name is not a printable text of at most 255"),
        (("1", "psf", 1.0, None), "the dataset is not a UUID"),
        ((uid(1), "psf", 1.0, 5), "unit=5 is not of type str"),
    ],
)  # fmt: skip
def test_a_bad_metric_is_refused_and_nothing_is_written(stocked: Registry, metric: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        put(stocked, (uid(2), "psf", 1.0, None), metric)
    assert rows(stocked, "metric") == []


def test_a_metric_of_an_unknown_dataset_is_refused(stocked: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"dataset .*0009 is not known at base, nor are 1 others"):
        put(stocked, (uid(9), "psf", 1.0, None), (uid(10), "psf", 1.0, None), (uid(1), "psf", 1.0, None))


def test_a_dataset_of_a_replica_can_be_measured(stocked: Registry) -> None:
    stocked.create_schema("alice")
    with stocked.transaction("alice") as tx:
        assert put_metrics(tx, [(uid(1), "mine", 1.0, None)]) == 1


# -- the catalog --------------------------------------------------------------------------------------------------


def catalog(registry: Registry) -> SiteCatalog:
    return decode_catalog(encode_catalog(CatalogSource(registry).catalog()))


def test_the_catalog_tells_names_and_types_of_metrics(stocked: Registry) -> None:
    assert catalog(stocked).schemas[0].metrics == {}
    put(
        stocked,
        *((uid(1), name, value, None) for name, value in [("b", 1.0), ("a", "x"), ("Z", 2.0), ("é", "y")]),
    )
    put(stocked, (uid(1), "mixed", "x", None), (uid(2), "mixed", 1.0, None), (uid(2), "a", "x", None))
    assert catalog(stocked).schemas[0].metrics == {
        "Z": LogicalType.FLOAT64, "a": LogicalType.STRING, "b": LogicalType.FLOAT64, "mixed": LogicalType.FLOAT64,
        "é": LogicalType.STRING,
    }  # fmt: skip


def test_a_kept_catalog_sees_new_metrics(stocked: Registry) -> None:
    source = CatalogSource(stocked)
    before = source.catalog()
    put(stocked, (uid(1), "psf", 1.0, None))
    after = source.catalog()
    assert after.schemas[0].metrics == {"psf": LogicalType.FLOAT64}
    assert after.version != before.version


# -- metadata columns ---------------------------------------------------------------------------------------------


def metadata(registry: Registry) -> list[tuple[Any, ...]]:
    return [(row["dataset_id"].int, row["nrows"], row["filter"]) for row in rows(registry, "image")]


def test_metadata_is_set_after_ingest_and_other_columns_stay(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        assert (
            set_metadata(
                tx, "image", [{"dataset_id": uid(1), "nrows": 5}, {"dataset_id": uid(2), "filter": "r"}]
            )
            == 2
        )
    with stocked.transaction(SITE) as tx:
        again = [{"dataset_id": uid(1), "filter": "g"}, {"dataset_id": uid(2), "filter": "r"}]
        assert set_metadata(tx, "image", again) == 1
        assert len(tx.changes) == 1
        assert tx.changes[0].row_count == 1
    assert metadata(stocked) == [(0, None, None), (1, 5, "g"), (2, None, "r"), (3, None, None)]
    with stocked.transaction(SITE) as tx:
        assert set_metadata(tx, "image", [{"dataset_id": uid(1), "nrows": None}]) == 1
    assert metadata(stocked)[1] == (1, None, "g")


def test_metadata_may_come_as_an_arrow_table(stocked: Registry) -> None:
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uid(3).bytes, uid(0).bytes], pa.binary(16)))
    with stocked.transaction(SITE) as tx:
        assert set_metadata(tx, "image", pa.table({"dataset_id": ids, "nrows": [7, 8]})) == 2
        assert set_metadata(tx, "image", []) == 0
    assert [row[1] for row in metadata(stocked)] == [8, None, None, 7]


@pytest.mark.parametrize(
    ("dataset_type", "row", "message"),
    [
        ("nothing", {}, "dataset type 'nothing' is not declared"),
        ("image", {"dataset_id": uid(1), "nrow": 1}, "metadata of image has no column nrow"),
        ("image", {"dataset_id": uid(1), "run": "x"}, "metadata of image has no column run"),
        ("image", {"dataset_id": uid(1), "nrows": "many"}, "metadata of image: nrows='many' is not of type int"),
        ("image", {"nrows": 1}, "a row has no dataset_id"),
        ("image", {"dataset_id": uid(9), "nrows": 1}, r"base/base has no image with id .*0009"),
    ],
)  # fmt: skip
def test_bad_metadata_is_refused(
    stocked: Registry, dataset_type: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message), stocked.transaction(SITE) as tx:
        set_metadata(tx, dataset_type, [{"dataset_id": uid(0), "nrows": 1}, row])
    assert metadata(stocked)[0] == (0, None, None)
