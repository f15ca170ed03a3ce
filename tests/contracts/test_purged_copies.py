"""Copies of files whose datasets were purged at their site: removed, never a file that is still somebody's."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from forked import ForkedProcess
from replicated_rows import database_of

from federation.changelog import LogState
from federation.datastore import Datastore
from federation.model.change import Change, Operation
from federation.model.position import GENESIS, SchemaId
from federation.model.system_tables import system_tables
from federation.registry.artifacts import Artifact, record
from federation.registry.registry import Registry
from federation.registry.retirement import PURGED_URI
from federation.replication.apply import Applier
from federation.replication.purged_copies import PurgedCopies
from federation.replication.state import Apply

OTHER = SchemaId("summit", "summit")
IDS = tuple(uuid.UUID(int=number) for number in range(1, 5))
TABLES = {table.name: table.stored_names for table in system_tables()}


def put(table: str, *rows: dict[str, Any]) -> Change:
    names = TABLES[table]
    return Change.from_rows(
        table, Operation.PUT, names, [tuple(row.get(name) for name in names) for row in rows]
    )


def dataset(number: int) -> dict[str, Any]:
    values = {"dataset_type": "raw", "run": "run/a", "ingest_date": 0, "origin": "summit"}
    return {"dataset_id": IDS[number].bytes, **values}


def artifact(number: int, uri: str, *, present: bool) -> dict[str, Any]:
    return {"dataset_id": IDS[number].bytes, "site": "summit", "uri": uri, "present": present}


def apply(registry: Registry, number: int, *changes: Change) -> None:
    steps = [
        LogState("e1", lsn, lsn.to_bytes(16)) if lsn else LogState("", 0, GENESIS)
        for lsn in range(number + 1)
    ]
    held = registry.ensure_replica(OTHER)
    assert Applier(registry, held).apply(Apply(steps[number - 1], (), steps[number]), changes)


@pytest.fixture
def store(tmp_path: Path) -> Datastore:
    (tmp_path / "store").mkdir()
    return Datastore(str(tmp_path / "store"))


@pytest.fixture
def copies(registry: Registry, store: Datastore) -> Registry:
    """Copies of four files of summit; 0 is purged there, 1 retired, 2 lost its file, and 3 was removed otherwise."""
    apply(
        registry,
        1,
        put("dataset", *map(dataset, range(4))),
        put("artifact", *(artifact(number, f"{number}.fits", present=True) for number in range(4))),
    )
    stored = [store.put_stream([bytes([number]) * 50], f"{number}.fits") for number in range(4)]
    with registry.transaction("base") as tx:
        record(
            tx,
            [Artifact(IDS[n], f"{n}.fits", one.size_bytes, one.checksum) for n, one in enumerate(stored)],
        )
    gone = [(IDS[number].bytes,) for number in (0, 1, 3)]
    keys = [(IDS[number].bytes, "summit") for number in (0, 1, 3)]
    apply(
        registry,
        2,
        Change.from_rows("dataset", Operation.DELETE, ("dataset_id",), gone),
        Change.from_rows("artifact", Operation.DELETE, ("dataset_id", "site"), keys),
        put("artifact", artifact(2, "2.fits", present=False)),
    )
    apply(registry, 3, put("artifact", artifact(0, PURGED_URI, present=False)))
    return registry


def here(registry: Registry, store: Datastore) -> tuple[set[str], set[str]]:
    """Files that the registry says are here, and those that are."""
    with registry.transaction("base") as tx:
        rows = tx.select("artifact", ("dataset_id",), [(one,) for one in IDS])
    return {row["uri"] for row in rows if row["present"]}, {path for path, _ in store.backend.walk()}


REST = {"1.fits", "2.fits", "3.fits"}


def test_only_what_was_purged_goes(copies: Registry, store: Datastore) -> None:
    assert PurgedCopies(copies, [store]).remove() == 1
    assert here(copies, store) == (REST, REST)
    assert PurgedCopies(copies, [store]).remove() == 0


def test_a_dataset_that_came_back_or_lives_elsewhere_keeps_its_copy(
    copies: Registry, store: Datastore
) -> None:
    apply(copies, 4, put("dataset", dataset(0)))
    assert PurgedCopies(copies, [store]).remove() == 0
    assert here(copies, store) == (REST | {"0.fits"}, REST | {"0.fits"})


def test_a_file_that_another_dataset_names_stays(copies: Registry, store: Datastore) -> None:
    with copies.transaction("base") as tx:
        (row,) = tx.select("artifact", ("dataset_id",), [(IDS[3],)])
        tx.put("artifact", [{**row, "uri": "0.fits"}])
    assert PurgedCopies(copies, [store]).remove() == 0
    assert "0.fits" in here(copies, store)[1]


def test_a_file_outside_of_the_stores_stays(copies: Registry, store: Datastore, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.fits"
    outside.write_bytes(b"mine")
    with copies.transaction("base") as tx:
        (row,) = tx.select("artifact", ("dataset_id",), [(IDS[0],)])
        tx.put("artifact", [{**row, "uri": f"file://{outside}"}])
    assert PurgedCopies(copies, [store]).remove() == 0
    assert outside.exists()


def remove(kind: str, directory: Path, url: str, root: str) -> None:
    with Registry.open_in(database_of(kind, directory, url), "base") as registry:
        PurgedCopies(registry, [Datastore(root)]).remove()


@pytest.mark.parametrize("point", ["retire.copy_withdrawn", "retire.copy_removed"])
def test_after_a_kill_no_row_promises_a_file_and_a_second_call_ends_it(
    copies: Registry, store: Datastore, tmp_path: Path, request: pytest.FixtureRequest, point: str
) -> None:
    kind = copies.database.kind
    url = request.getfixturevalue("postgres_database_of_base") if kind == "postgresql" else ""
    process = ForkedProcess(remove, kind, tmp_path / "registry", url, str(store.local_root), kill=point)
    try:
        assert process.wait() == -9
    finally:
        process.end()
    recorded, there = here(copies, store)
    assert recorded == REST
    assert there >= REST
    PurgedCopies(copies, [store]).remove()
    assert here(copies, store) == (REST, REST)
