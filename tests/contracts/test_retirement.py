"""Datasets that are retired are gone everywhere, come back as they were, or go for good with their files."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa
from replicated_rows import write

from federation.errors import ConflictError, CorruptionError, NotFoundError
from federation.model.collection import Collection, CollectionType
from federation.registry import collections
from federation.registry.artifacts import Artifact, record
from federation.registry.metrics import put_metrics
from federation.registry.registry import Registry
from federation.registry.retirement import files_to_delete, forget, list_retired, restore, retire
from federation.registry.schema_admin import create_schema

Rows = dict[str, list[dict[str, Any]]]


def all_rows(registry: Registry, schema: str = "base") -> Rows:
    """Every row of a schema by table, but of summaries, which may say too much."""
    held = next(one for one in registry.held() if one.schema.name == schema)
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        return {
            name: sorted(
                (dict(row._mapping) for row in connection.execute(sa.select(physical[name]))), key=repr
            )
            for name in tables
            if name != "collection_summary"
        }


def ids(registry: Registry) -> list[uuid.UUID]:
    return sorted(row["dataset_id"] for row in all_rows(registry)["dataset"])


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """Three flats in a RUN, certified, tagged, measured, with files."""
    write(registry, 1, 3)
    with registry.transaction("base") as tx:
        collections.register(tx, Collection("good", CollectionType.TAGGED))
        rows = tx.select("dataset", ("run",), [("run/a",)])
        found = [row["dataset_id"] for row in rows]
        collections.tag(tx, "good", found)
        record(
            tx,
            [Artifact(one, f"flats/{one}.dat", 10 + n, f"sha256:{n}") for n, one in enumerate(sorted(found))],
        )
        put_metrics(tx, [(found[0], "noise", 1.5, "adu")])
    return registry


def test_what_is_retired_is_gone_and_comes_back_as_it_was(stocked: Registry, tmp_path: Path) -> None:
    before = all_rows(stocked)
    wanted = ids(stocked)[:2]
    with stocked.transaction("base") as tx:
        retired = retire(tx, wanted, tmp_path, "a test")
    after = all_rows(stocked)
    for name in ("dataset", "flat", "artifact", "collection_member", "calibration"):
        assert len(after[name]) == len(before[name]) - 2
        assert not {row["dataset_id"] for row in after[name]} & set(wanted)
    assert (retired.dataset_ids, retired.reason, len(retired.uris)) == (tuple(wanted), "a test", 2)
    assert list_retired(tmp_path) == [retired]
    with stocked.transaction("base") as tx:
        assert restore(tx, tmp_path, retired.name) == 2
    assert all_rows(stocked) == before
    with stocked.transaction("base") as tx:  # as after a crash before it was forgotten
        assert restore(tx, tmp_path, retired.name) == 0
    assert files_to_delete(stocked, tmp_path, retired.name) == ()  # they are named again
    forget(tmp_path, retired.name)
    assert list_retired(tmp_path) == []
    assert all_rows(stocked) == before


def test_only_files_that_nothing_names_are_deleted(stocked: Registry, tmp_path: Path) -> None:
    first, second = ids(stocked)[:2]
    with stocked.transaction("base") as tx:
        retired = retire(tx, [first, second], tmp_path)
    with stocked.transaction("base") as tx:
        third = tx.select("dataset", ("run",), [("run/a",)])[0]["dataset_id"]
        tx.delete("artifact", tx.select("artifact", ("dataset_id",), [(third,)]))
        record(tx, [Artifact(third, f"flats/{first}.dat", 10, "sha256:0")])
    assert files_to_delete(stocked, tmp_path, retired.name) == (f"flats/{second}.dat",)


def test_a_dataset_that_another_schema_holds_stays(stocked: Registry, tmp_path: Path) -> None:
    create_schema(stocked, "alice")
    wanted = ids(stocked)
    with stocked.transaction("alice") as tx:
        collections.register(tx, Collection("mine", CollectionType.TAGGED))
        collections.tag(tx, "mine", wanted[:1])
    before = all_rows(stocked)
    with (
        pytest.raises(ConflictError, match="collection mine of base/alice"),
        stocked.transaction("base") as tx,
    ):
        retire(tx, wanted, tmp_path)
    assert all_rows(stocked) == before
    assert list_retired(tmp_path) == []


def test_what_cannot_come_back_leaves_everything_as_it_is(stocked: Registry, tmp_path: Path) -> None:
    with stocked.transaction("base") as tx:
        retired = retire(tx, ids(stocked), tmp_path)
    with stocked.transaction("base") as tx:
        collections.remove_collection(tx, "good")
    before = all_rows(stocked)
    with pytest.raises(ConflictError, match="collection good"), stocked.transaction("base") as tx:
        restore(tx, tmp_path, retired.name)
    assert all_rows(stocked) == before


def test_another_dataset_with_the_same_data_id_refuses_it(stocked: Registry, tmp_path: Path) -> None:
    with stocked.transaction("base") as tx:
        (row,) = (dict(r) for r in tx.select("flat", ("detector",), [(1,)]))
        (about,) = (dict(r) for r in tx.select("dataset", ("dataset_id",), [(row["dataset_id"],)]))
        retired = retire(tx, [row["dataset_id"]], tmp_path)
    other = uuid.UUID(int=7)
    with stocked.transaction("base") as tx:
        tx.put("dataset", [{**about, "dataset_id": other}])
        tx.put("flat", [{**row, "dataset_id": other}])
    with pytest.raises(ConflictError, match="others have their data IDs"), stocked.transaction("base") as tx:
        restore(tx, tmp_path, retired.name)
    assert other in ids(stocked)
    assert row["dataset_id"] not in ids(stocked)


def test_unknown_names_and_damaged_files_are_told(stocked: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is not of schema"), stocked.transaction("base") as tx:
        retire(tx, [uuid.UUID(int=5)], tmp_path)
    with pytest.raises(NotFoundError, match="nothing was retired as 'x'"), stocked.transaction("base") as tx:
        restore(tx, tmp_path, "x")
    with stocked.transaction("base") as tx:
        retired = retire(tx, ids(stocked), tmp_path)
    path = tmp_path / f"{retired.name}.retired"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptionError, match="another digest"):
        list_retired(tmp_path)
    assert attrs.asdict(retired)["schema"] == "base"
