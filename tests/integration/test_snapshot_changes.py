"""Snapshots after they were made: files that come later, sources that move on, export; and how far closures go."""

from __future__ import annotations

import json
import os
import random
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import bagit
import pyarrow as pa
import pytest
from forked import ForkedProcess, pipe
from snapshot_sites import UNIVERSE, Sites, content, make_sites
from snapshot_victim import make_whole

from federation.datastore.copying import CopyMode
from federation.errors import NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.registry import collections, metrics, provenance, tags, user_tables
from federation.snapshot.assemble import Change, SnapshotReport, change_snapshot, create_snapshot
from federation.snapshot.changes import fetching, refreshing
from federation.snapshot.consistency import verify_snapshot
from federation.snapshot.crate import CRATE
from federation.snapshot.diff import diff_with_sources
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.open import open_snapshot
from federation.snapshot.options import ClosureOptions
from federation.snapshot.registry_copy import dataset_ids, local_artifacts, read_table
from federation.snapshot.selection import Selection
from federation.snapshot.workspace import creation


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    made = make_sites(tmp_path / "sites")
    yield made
    made.close()


def create(sites: Sites, target: Path, selection: Selection, **options: object) -> SnapshotReport:
    with sites.source() as source:
        return create_snapshot(source, UNIVERSE, target, selection, **options)  # type: ignore[arg-type]


def held(target: Path) -> set[uuid.UUID]:
    with open_snapshot(target) as registry:
        return dataset_ids(registry)


def files(target: Path) -> set[uuid.UUID]:
    with open_snapshot(target) as registry:
        return set(local_artifacts(registry))


def fetch(sites: Sites, target: Path, ids: tuple[uuid.UUID, ...] | None) -> SnapshotReport:
    with sites.source() as source:
        return change_snapshot(source, target, fetching(source, target, ids))


def refresh(sites: Sites, target: Path) -> SnapshotReport:
    with sites.source() as source:
        return change_snapshot(source, target, refreshing(source, target))


def test_files_come_one_by_one_after_the_rows(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    create(sites, target, Selection(ids=sites.raws), files=False)
    one = fetch(sites, target, sites.raws[:1])
    assert (one.datasets, one.files, one.size_bytes) == (0, 1, len(content("")))
    assert files(target) == set(sites.raws[:1])
    assert fetch(sites, target, None).files == 3
    assert fetch(sites, target, None).files == 0
    assert verify_snapshot(target).problems == ()
    assert bagit.Bag(str(target)).is_valid()
    assert [one.kind for one in SnapshotManifest.load(target).increments] == ["create", *3 * ["fetch"]]
    with pytest.raises(NotFoundError, match="is not in the snapshot"):
        fetch(sites, target, sites.calexps)


def test_a_file_that_was_moved_since_is_fetched_from_where_it_is(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    create(sites, target, Selection(ids=sites.raws[:1]), files=False)
    root = sites.stores["summit"].local_root
    assert root is not None
    (root / "raw/0.fits").rename(root / "elsewhere.fits")
    with sites.summit.transaction("summit") as tx:
        [row] = [row for row in read_all(sites, "artifact") if row["dataset_id"] == sites.raws[0]]
        tx.put("artifact", [{**row, "uri": "elsewhere.fits"}])
    assert fetch(sites, target, sites.raws[:1]).files == 1


def read_all(sites: Sites, table: str) -> list[dict[str, object]]:
    own = next(one.schema for one in sites.summit.held() if one.owned)
    return list(read_table(sites.summit, own, table))


def test_a_refresh_follows_the_sources_for_what_is_held(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    create(sites, target, Selection(ids=sites.raws[:2]))
    with sites.source() as source:
        assert diff_with_sources(source, target).same
    with sites.summit.transaction("summit") as tx:
        metrics.put_metrics(tx, [(sites.raws[0], "seeing", 0.7, None)])
        collections.register(tx, Collection("good", CollectionType.TAGGED))
        tags.tag(tx, "good", [sites.raws[1]])
    with sites.source() as source:
        found = diff_with_sources(source, target)
    assert {(one.dataset_id, one.differs) for one in found.changed} == {
        (sites.raws[0], ("metric",)),
        (sites.raws[1], ("collection_member",)),
    }
    report = refresh(sites, target)
    assert (report.datasets, report.files, report.gone) == (0, 0, ())
    with sites.source() as source:
        assert diff_with_sources(source, target).same
    assert files(target) == set(sites.raws[:2])
    assert verify_snapshot(target).problems == ()
    assert bagit.Bag(str(target)).is_valid()


def test_a_refresh_keeps_what_no_site_has_any_more(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    create(sites, target, Selection(ids=sites.raws[:2]))
    with sites.summit.transaction("summit") as tx:
        for table in ("artifact", "raw", "dataset"):
            own = next(one.schema for one in sites.summit.held() if one.owned)
            tx.delete(
                table,
                [row for row in read_table(sites.summit, own, table) if row["dataset_id"] == sites.raws[0]],
            )
    report = refresh(sites, target)
    assert report.gone == (str(sites.raws[0]),)
    assert held(target) == files(target) == set(sites.raws[:2])
    assert verify_snapshot(target).problems == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (ClosureOptions(), {"coadd", "calexp", "raw"}),
        (ClosureOptions(depth=0), {"coadd"}),
        (ClosureOptions(depth=1), {"coadd", "calexp"}),
        (ClosureOptions(stop_at=("calexp",)), {"coadd", "calexp"}),
        (ClosureOptions(intermediates=False), {"coadd", "raw"}),
    ],
)
def test_a_closure_goes_as_far_as_it_is_told(
    sites: Sites, tmp_path: Path, options: ClosureOptions, expected: set[str]
) -> None:
    # a product at the summit of what base made of the summit's raws
    with sites.summit.transaction("summit") as tx:
        provenance.add_edges(tx, [(sites.bias, sites.calexps[0], "coadd")])
    create(sites, tmp_path / "snap", Selection(ids=(sites.bias,), options=options))
    by_name = {"coadd": sites.bias, "calexp": sites.calexps[0], "raw": sites.raws[0]}
    assert held(tmp_path / "snap") == {by_name[name] for name in expected}
    assert SnapshotManifest.load(tmp_path / "snap").increments[0].request is not None


def test_outputs_count_as_chosen(sites: Sites, tmp_path: Path) -> None:
    selection = Selection(ids=sites.raws[:1], options=ClosureOptions(outputs=True))
    create(sites, tmp_path / "snap", selection)
    assert held(tmp_path / "snap") == {sites.raws[0], sites.calexps[0]}


def test_rows_of_users_tables_and_metrics_come_by_choice(sites: Sites, tmp_path: Path) -> None:
    with sites.base.transaction("base") as tx:
        metrics.put_metrics(tx, [(sites.calexps[0], "seeing", 0.7, None)])
    rows = pa.table(
        {
            "dataset_id": pa.ExtensionArray.from_storage(
                pa.uuid(), pa.array([one.bytes for one in (*sites.calexps, sites.bias)], pa.binary(16))
            ),
            "grade": [1, 2, 3],
        }
    )
    user_tables.create_table(sites.base, "base", "grades", rows, key=("dataset_id",))
    options = ClosureOptions(metrics=False, user_tables=("grades",))
    create(sites, tmp_path / "snap", Selection(ids=sites.calexps[:1], options=options))
    with open_snapshot(tmp_path / "snap") as registry:
        [schema] = [one.schema for one in registry.held() if one.schema.name == "base"]
        assert [row["grade"] for row in read_table(registry, schema, "grades")] == [1]
        assert list(read_table(registry, schema, "metric")) == []


def test_is_described_as_a_research_object(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=sites.calexps))
    document = json.loads((tmp_path / "snap" / CRATE).read_text())
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert entities[CRATE]["about"] == {"@id": "./"}
    parts = {part["@id"] for part in entities["./"]["hasPart"]}
    assert "data/run/one/calexp/" in parts
    assert entities["data/run/one/calexp/"]["description"].startswith("2 files")
    assert all((tmp_path / "snap" / part).exists() and part in entities for part in parts)


def test_a_run_that_was_cut_short_is_forgotten_on_demand(sites: Sites, tmp_path: Path) -> None:
    with creation(tmp_path / "snap") as workspace:
        (workspace.staging / "data").mkdir()
        (workspace.staging / "data" / "left").touch()
    create(sites, tmp_path / "snap", Selection(ids=sites.raws[:1]), files=False, discard=True)
    with sites.source() as source:

        def fail(_event: object) -> None:
            raise KeyboardInterrupt

        change = fetching(source, tmp_path / "snap", None)
        with pytest.raises(KeyboardInterrupt):
            change_snapshot(source, tmp_path / "snap", change, progress=fail)
        other = refreshing(source, tmp_path / "snap")
        with pytest.raises(UserError, match="holds an unfinished run of another request"):
            change_snapshot(source, tmp_path / "snap", other)
        change_snapshot(source, tmp_path / "snap", other, discard=True)
    assert verify_snapshot(tmp_path / "snap").problems == ()
    assert not (tmp_path / "snap.partial").exists()


def everything(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_killed_at_random_moments_it_ends_as_the_same_bytes(sites: Sites, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "whole").mkdir()
    selection = Selection(ids=(*sites.raws, *sites.calexps), calibrations=("Cam/calib",))
    create(sites, tmp_path / "whole" / "snap", selection, clock=lambda: 10**18)
    choose = random.Random(int(os.environ.get("FEDERATION_TEST_SEED", "1")))
    target = tmp_path / "run" / "snap"
    kills = 0
    for attempt in range(int(os.environ.get("FEDERATION_TEST_KILLS", "4"))):
        if target.exists():
            break
        told, ready = pipe(duplex=False)
        process = ForkedProcess(make_whole, ready, str(tmp_path))
        ready.close()
        try:
            assert told.recv() == "ready"
            if not process.has_ended(choose.uniform(0.0, 0.15 * (attempt + 1))):
                process.kill()
                kills += 1
            assert process.wait() in (0, -signal.SIGKILL)
        finally:
            process.end()
            told.close()
    assert kills
    if not target.exists():
        create(sites, target, selection, clock=lambda: 10**18)
    assert everything(target) == everything(tmp_path / "whole" / "snap")


def test_hard_links_make_no_copies(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=sites.raws), mode=CopyMode.LINK)
    linked = [path for path in (tmp_path / "snap/data").rglob("*.fits") if path.stat().st_nlink > 1]
    assert len(linked) == len(sites.raws)
    assert verify_snapshot(tmp_path / "snap").problems == ()


def test_a_change_that_finds_nothing_changes_no_rows(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    with sites.source() as source:
        change = fetching(source, tmp_path / "snap", None)
        assert isinstance(change, Change)
        report = change_snapshot(source, tmp_path / "snap", change, dry_run=True)
    assert (report.files, report.size_bytes, report.dry_run) == (0, 0, True)
    assert report.needed_bytes == 0
    assert report.free_bytes
