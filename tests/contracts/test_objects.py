"""Objects as datasets: what is put is got back, from its file, with its rows; or neither is there."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table

from federation.datastore import Datastore, Stored
from federation.errors import ConflictError, CorruptionError, NotFoundError, UserError
from federation.model.dataset import DatasetRef, DatasetType, deterministic_id
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.registry import artifacts
from federation.registry.dataset_types import declare
from federation.registry.dimensions import insert_records
from federation.registry.files.objects import copy_object, put_object, read_object
from federation.registry.lookup import DatasetLookup
from federation.registry.registry import Registry

SITE = "base"
ONE = {"instrument": "C", "detector": 1}


@pytest.fixture
def store(tmp_path: Path) -> Datastore:
    return Datastore(str(tmp_path / "store"))


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    with registry.transaction(SITE) as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        insert_records(tx, "detector", [{"instrument": "C", "id": n} for n in (1, 2)])
        rows = (Field("nrows", LogicalType.INT64), Field("note", LogicalType.STRING))
        declare(tx, DatasetType("sources", ("detector",), "ArrowAstropy", metadata=rows))
        declare(tx, DatasetType("dark", ("detector",), "Image"))
        declare(tx, DatasetType("settings", ("instrument",), "StructuredDataDict"))
        declare(tx, DatasetType("odd", ("instrument",), "Unheard"))
    return registry


def put(registry: Registry, store: Datastore, content: Any, name: str, **options: Any) -> DatasetRef:
    given = {"schema": SITE, "data_id": ONE, "run": "r", **options}
    return put_object(registry, store, content, dataset_type=name, **given)


def files(store: Datastore) -> list[Path]:
    assert store.local_root is not None
    return sorted(path for path in store.local_root.rglob("*") if path.is_file())


def test_a_table_comes_back_as_any_type_of_table(stocked: Registry, store: Datastore) -> None:
    table = Table({"id": [1, 2, 3], "flux": [1.0, 2.0, 3.0]})
    ref = put(stocked, store, table, "sources", metadata={"note": "mine"})
    found = read_object(stocked, store, ref)
    assert type(found) is Table
    assert found["flux"].tolist() == [1.0, 2.0, 3.0]
    assert read_object(stocked, store, ref, pa.Table).column_names == ["id", "flux"]
    assert read_object(stocked, store, ref, "pandas.DataFrame")["id"].tolist() == [1, 2, 3]
    assert read_object(stocked, store, ref, bytes)[:4] == b"PAR1"
    with pytest.raises(UserError, match="can't be read as ndarray"):
        read_object(stocked, store, ref, np.ndarray)
    with stocked.transaction(SITE) as tx:
        (row,) = tx.select("sources", ("dataset_id",), [(ref.id,)])
        (artifact,) = tx.select("artifact", ("dataset_id",), [(ref.id,)])
    assert (row["nrows"], row["note"], artifact["formatter"]) == (3, "mine", "parquet")


def test_a_format_may_be_chosen(stocked: Registry, store: Datastore) -> None:
    ref = put(stocked, store, Table({"id": [1]}), "sources", formatter="fits")
    assert files(store)[0].suffix == ".fits"
    assert read_object(stocked, store, ref, fits.HDUList)[1].data["id"].tolist() == [1]
    with pytest.raises(UserError, match="wrong storage class"):
        put(stocked, store, Table({"id": [1]}), "sources", formatter="yaml", run="q")
    with pytest.raises(UserError, match=r"nothing says how a odd \(storage class Unheard\) is written"):
        put(stocked, store, {"a": 1}, "odd")
    odd = put(stocked, store, {"a": 1}, "odd", formatter="json")
    assert read_object(stocked, store, odd) == {"a": 1}


def test_the_wrong_object_leaves_nothing(stocked: Registry, store: Datastore) -> None:
    with pytest.raises(UserError, match="a dict is of the wrong storage class: Image is a HDUList"):
        put(stocked, store, {"a": 1}, "dark")
    with pytest.raises(UserError, match="no detector record"):
        put(stocked, store, np.zeros((2, 2)), "dark", data_id={"instrument": "C", "detector": 9})
    with pytest.raises(UserError, match="lacks detector"):
        put(stocked, store, np.zeros((2, 2)), "dark", data_id={"instrument": "C"})
    with pytest.raises(NotFoundError, match="'nothing' is not declared"):
        put(stocked, store, 1, "nothing")
    assert files(store) == []
    with stocked.transaction(SITE) as tx:
        assert tx.select("collection", ("name",), [("r",)]) == []


def test_one_run_has_one_dataset_for_a_data_id(stocked: Registry, store: Datastore) -> None:
    old = put(stocked, store, {"a": 1}, "settings")
    with pytest.raises(ConflictError, match=f"already: dataset {old.id}"):
        put(stocked, store, {"a": 2}, "settings")
    assert put(stocked, store, {"a": 2}, "settings", on_conflict="ignore") == old
    assert read_object(stocked, store, old) == {"a": 1}
    new = put(stocked, store, {"a": 2}, "settings", on_conflict="replace")
    assert read_object(stocked, store, new) == {"a": 2}
    assert len(files(store)) == 1
    lookup = DatasetLookup(stocked)
    assert (lookup.get_dataset(old.id), lookup.get_dataset(new.id)) == (None, new)


class NotedDatastore(Datastore):
    """Says when a file has been copied into it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.copied = threading.Event()

    def put_file(self, *args: Any, **options: Any) -> Stored:
        stored = super().put_file(*args, **options)
        self.copied.set()
        return stored


def test_a_file_is_copied_before_the_schema_is_locked(stocked: Registry, tmp_path: Path) -> None:
    store = NotedDatastore(str(tmp_path / "noted"))
    with ThreadPoolExecutor(1) as pool:
        with stocked.transaction(SITE):
            waiting = pool.submit(put, stocked, store, {"a": 1}, "settings", data_id={"instrument": "C"})
            assert store.copied.wait(60)
            assert not waiting.done()
        ref = waiting.result(60)
    assert read_object(stocked, store, ref) == {"a": 1}


def test_a_put_that_changes_nothing_leaves_no_file(stocked: Registry, store: Datastore) -> None:
    what: dict[str, Any] = {"data_id": {"instrument": "C"}}
    ref = put(stocked, store, {"a": 1}, "settings", **what)
    there = files(store)
    assert put(stocked, store, {"a": 2}, "settings", on_conflict="ignore", **what) == ref
    with pytest.raises(ConflictError, match="has the settings"):
        put(stocked, store, {"a": 2}, "settings", **what)
    with pytest.raises(UserError, match="no instrument record"):
        put(stocked, store, {"a": 2}, "settings", data_id={"instrument": "D"})
    assert files(store) == there
    assert read_object(stocked, store, ref) == {"a": 1}


def test_an_orphan_of_the_same_name_is_overwritten(stocked: Registry, store: Datastore) -> None:
    ref = put(stocked, store, {"a": 1}, "settings", once=True)
    assert ref.id == deterministic_id("settings", "r", {"instrument": "C"})
    (path,) = files(store)
    with stocked.transaction(SITE) as tx:
        for table in ("artifact", "settings", "dataset"):
            tx.delete(table, tx.select(table, ("dataset_id",), [(ref.id,)]))
    path.write_text("left by a process that was killed")
    again = put(stocked, store, {"a": 2}, "settings", once=True)
    assert files(store) == [path]
    assert read_object(stocked, store, again) == {"a": 2}
    with pytest.raises(UserError, match="can't be replaced"):
        put(stocked, store, {"a": 3}, "settings", once=True, on_conflict="replace")


def test_a_dataset_without_its_file_says_where_it_is(
    stocked: Registry, store: Datastore, tmp_path: Path
) -> None:
    ref = put(stocked, store, {"n": 1}, "settings")
    assert copy_object(stocked, store, ref, tmp_path).read_text() == "n: 1\n"
    (path,) = files(store)
    path.unlink()
    with pytest.raises(CorruptionError, match="is gone"):
        read_object(stocked, store, ref)
    with stocked.transaction(SITE) as tx:
        (row,) = tx.select("artifact", ("dataset_id",), [(ref.id,)])
        tx.delete("artifact", [row])
        tx.put("artifact", [{**row, "site": "summit"}])
    with pytest.raises(NotFoundError, match="is at summit, not at base"):
        read_object(stocked, store, ref)
    with stocked.transaction(SITE) as tx:
        tx.put("artifact", [{**row, "site": "summit", "present": False}])
    with pytest.raises(NotFoundError, match="no site has a file"):
        read_object(stocked, store, ref)


def test_a_file_left_where_it_is_is_read_there(stocked: Registry, store: Datastore, tmp_path: Path) -> None:
    ref = put(stocked, store, {"n": 1}, "settings")
    (path,) = files(store)
    elsewhere = tmp_path / "elsewhere.yaml"
    path.rename(elsewhere)
    with stocked.transaction(SITE) as tx:
        (row,) = tx.select("artifact", ("dataset_id",), [(ref.id,)])
        known = artifacts.Artifact(ref.id, f"file://{elsewhere}", row["size_bytes"], row["checksum"])
        artifacts.record(tx, [known])
    assert read_object(stocked, store, ref) == {"n": 1}


def test_a_remote_store_is_read_through_a_copy(stocked: Registry) -> None:
    remote = Datastore(f"memory://objects-{uuid.uuid4().hex}")
    ref = put(stocked, remote, np.arange(6).reshape(2, 3), "dark")
    assert read_object(stocked, remote, ref, np.ndarray).tolist() == [[0, 1, 2], [3, 4, 5]]
