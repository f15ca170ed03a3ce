"""Snapshots from end to end: two sites in this process, real registries and files, no server between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import bagit
import pytest
from forked import ForkedProcess
from snapshot_sites import UNIVERSE, Sites, content, make_sites
from snapshot_victim import make_until_killed

from federation.config import SiteConfig, render_site
from federation.errors import (
    ConflictError,
    FederationError,
    LimitError,
    NotFoundError,
    UnavailableError,
    UserError,
)
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.services.site_server import SiteServer
from federation.snapshot.assemble import SnapshotReport, create_snapshot, extend_snapshot
from federation.snapshot.consistency import verify_snapshot
from federation.snapshot.diff import diff
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.open import open_snapshot, snapshot_catalog
from federation.snapshot.progress import Phase, SnapshotProgress
from federation.snapshot.selection import Selection
from federation.snapshot.source import FederatedSource
from federation.snapshot.workspace import creation
from federation.wire.client import SiteClient


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    made = make_sites(tmp_path / "sites")
    yield made
    made.close()


def create(sites: Sites, target: Path, selection: Selection, **options: object) -> SnapshotReport:
    with sites.source() as source:
        return create_snapshot(source, UNIVERSE, target, selection, **options)  # type: ignore[arg-type]


def extend(sites: Sites, target: Path, selection: Selection, **options: object) -> SnapshotReport:
    with sites.source() as source:
        return extend_snapshot(source, target, selection, **options)  # type: ignore[arg-type]


def ask(directory: Path, sql: str) -> list[dict[str, object]]:
    with open_snapshot(directory) as registry:
        site = LocalSite(registry, lambda: snapshot_catalog(registry))
        with Coordinator(registry.site, {registry.site: site}) as coordinator:
            return coordinator.query(sql).to_pylist()


def test_holds_inputs_and_calibrations_of_the_chosen_dataset(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    selection = Selection(ids=(sites.calexps[0],), calibrations=("Cam/calib",))
    report = create(sites, target, selection)
    assert (report.datasets, report.files, report.missing) == (3, 3, {})
    found = {row["dataset_id"] for row in ask(target, "SELECT dataset_id FROM dataset")}
    assert found == {sites.calexps[0], sites.raws[0], sites.bias}
    assert report.size_bytes == 3 * len(content(""))


def test_is_a_valid_bag_for_other_tools(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    assert bagit.Bag(str(tmp_path / "snap")).is_valid()
    assert verify_snapshot(tmp_path / "snap").problems == ()


def test_answers_a_statement_with_the_rows_the_sites_have(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=(sites.calexps[1],)))
    sql = (
        "SELECT visit.name, calexp.visit, detector.full_name, calexp.origin FROM calexp "
        "JOIN visit ON visit.id = calexp.visit AND visit.instrument = calexp.instrument "
        "JOIN detector ON detector.id = calexp.detector"
    )
    assert ask(tmp_path / "snap", sql) == [
        {"name": "v1", "visit": 1, "full_name": "R00_S00", "origin": "base"}
    ]


def test_is_chosen_by_a_statement(sites: Sites, tmp_path: Path) -> None:
    selection = Selection(sql="SELECT dataset_id FROM raw WHERE exposure >= 2")
    assert create(sites, tmp_path / "snap", selection).datasets == 2


def test_is_chosen_by_a_collection(sites: Sites, tmp_path: Path) -> None:
    assert create(sites, tmp_path / "snap", Selection(members=("run/one",))).datasets == 4
    with pytest.raises(NotFoundError, match="no site has collection 'run/two'"):
        create(sites, tmp_path / "other", Selection(members=("run/two",)))


def test_works_where_it_was_moved_to_and_may_not_be_written(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=(sites.raws[0],)))
    moved = tmp_path / "elsewhere" / "copy"
    moved.parent.mkdir()
    (tmp_path / "snap").rename(moved)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in moved.rglob("*"))
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    [row] = ask(moved, "SELECT uri FROM artifact WHERE site = 'snap'")
    assert (moved / str(row["uri"])).read_bytes() == content("raw/0.fits")
    assert sorted((str(path), path.stat().st_mtime_ns) for path in moved.rglob("*")) == before
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o755)


def test_is_found_out_when_one_byte_changes_anywhere(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    create(sites, target, Selection(ids=(sites.calexps[0],)))
    files = sorted(path for path in target.rglob("*") if path.is_file())
    assert len(files) > 8
    for path in files:
        original = path.read_bytes()
        for place in (0, len(original) // 2, len(original) - 1):
            changed = bytearray(original)
            changed[place] ^= 1
            path.write_bytes(changed)
            assert not verify_snapshot(target).ok, (path, place)
        path.write_bytes(original)
        path.rename(path.with_name("gone"))
        with contextlib.suppress(NotFoundError):  # without its tag manifest it is no snapshot at all
            assert not verify_snapshot(target).ok, path
        path.with_name("gone").rename(path)
    assert verify_snapshot(target).ok


def test_extension_copies_only_what_is_missing(sites: Sites, tmp_path: Path) -> None:
    target = tmp_path / "snap"
    create(sites, target, Selection(ids=(sites.raws[0],)))
    times = {path: path.stat().st_mtime_ns for path in (target / "data").rglob("*.fits")}
    added = extend(sites, target, Selection(ids=(sites.calexps[0], sites.calexps[1])))
    assert (added.datasets, added.files) == (3, 3)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert verify_snapshot(target).problems == ()
    assert bagit.Bag(str(target)).is_valid()
    manifest = SnapshotManifest.load(target)
    assert [increment.added.dataset_count for increment in manifest.increments] == [1, 3]
    assert manifest.counts.dataset_count == 4
    assert not (tmp_path / "snap.partial").exists()


def test_extension_equals_a_snapshot_made_at_once(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "one", Selection(ids=sites.raws[:1]))
    create(sites, tmp_path / "two", Selection(ids=sites.raws))
    found = diff(tmp_path / "one", tmp_path / "two")
    assert found.only_b == tuple(sorted(sites.raws[1:]))
    assert (found.only_a, found.changed) == ((), ())
    assert {change.table for change in found.records} == {"exposure"}
    extend(sites, tmp_path / "one", Selection(ids=sites.raws))
    assert diff(tmp_path / "one", tmp_path / "two").same


def test_extension_by_nothing_new_adds_nothing(sites: Sites, tmp_path: Path) -> None:
    create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    added = extend(sites, tmp_path / "snap", Selection(ids=sites.raws[:1]))
    assert (added.datasets, added.records, added.files) == (0, 0, 0)
    assert verify_snapshot(tmp_path / "snap").ok


def test_dry_run_counts_and_writes_nothing(sites: Sites, tmp_path: Path) -> None:
    selection = Selection(ids=(sites.calexps[0],), calibrations=("Cam/calib",))
    planned = create(sites, tmp_path / "snap", selection, dry_run=True)
    assert not list(tmp_path.glob("snap*"))
    made = create(sites, tmp_path / "snap", selection)
    assert (planned.datasets, planned.files, planned.size_bytes, planned.positions) == (
        made.datasets,
        made.files,
        made.size_bytes,
        made.positions,
    )


def test_without_files_holds_rows_only(sites: Sites, tmp_path: Path) -> None:
    report = create(sites, tmp_path / "snap", Selection(ids=sites.raws), files=False)
    assert (report.datasets, report.files) == (4, 0)
    assert verify_snapshot(tmp_path / "snap").ok
    assert extend(sites, tmp_path / "snap", Selection(ids=sites.raws)).files == 4
    assert verify_snapshot(tmp_path / "snap").ok


def test_refuses_a_target_in_use(sites: Sites, tmp_path: Path) -> None:
    (tmp_path / "snap").mkdir()
    (tmp_path / "snap" / "mine").touch()
    with pytest.raises(UserError, match="exists and is not empty"):
        create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    assert [path.name for path in (tmp_path / "snap").iterdir()] == ["mine"]


def test_refuses_a_second_creation_of_one_target(sites: Sites, tmp_path: Path) -> None:
    with creation(tmp_path / "snap"), pytest.raises(ConflictError, match="another process is working on"):
        create(sites, tmp_path / "snap", Selection(ids=sites.raws))


def test_reports_bytes_as_they_come(sites: Sites, tmp_path: Path) -> None:
    events: list[SnapshotProgress] = []
    create(sites, tmp_path / "snap", Selection(ids=sites.raws), progress=events.append)
    assert {event.phase for event in events} == set(Phase)
    assert (events[-1].done, events[-1].total) == (4 * len(content("")), 4 * len(content("")))


def test_a_changed_source_file_stops_it_and_a_restored_one_lets_it_finish(
    sites: Sites, tmp_path: Path
) -> None:
    victim = sites.stores["summit"].local_root / "raw/1.fits"  # type: ignore[operator]
    victim.write_bytes(content("something else"))
    with pytest.raises(FederationError, match=r"raw/1\.fits"):
        create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    assert not (tmp_path / "snap").exists()
    victim.write_bytes(content("raw/1.fits"))
    assert create(sites, tmp_path / "snap", Selection(ids=sites.raws)).rounds == 0
    assert verify_snapshot(tmp_path / "snap").ok


def test_names_a_dataset_that_no_site_knows(sites: Sites, tmp_path: Path) -> None:
    unknown = uuid.UUID(int=7)
    report = create(sites, tmp_path / "snap", Selection(ids=(sites.raws[0], unknown)))
    assert report.missing["dataset"] == (str(unknown),)


def test_opening_what_is_no_snapshot_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"has no snapshot\.json"):
        open_snapshot(tmp_path)


def test_brings_files_from_sites_over_the_wire(sites: Sites, tmp_path: Path) -> None:
    servers, clients = [], {}
    for name in ("base", "summit"):
        root = tmp_path / "sites" / name
        text = render_site(name, root, "127.0.0.1:0", datastore_url=str(root / "files"))
        server = SiteServer(SiteConfig.parse(text, tmp_path / f"{name}.toml"))
        server.start()
        servers.append(server)
        clients[name] = SiteClient(name, server.address)
    try:
        with Coordinator("base", clients) as coordinator:
            selection = Selection(sql="SELECT dataset_id FROM calexp", calibrations=("Cam/calib",))
            report = create_snapshot(FederatedSource(coordinator), UNIVERSE, tmp_path / "snap", selection)
        assert (report.datasets, report.files, report.missing) == (5, 5, {})
        assert verify_snapshot(tmp_path / "snap").problems == ()
        servers[1].stop()
        with (
            Coordinator("base", clients) as coordinator,
            pytest.raises(UnavailableError, match="site summit does not answer"),
        ):
            FederatedSource(coordinator)
    finally:
        for client in clients.values():
            client.close()
        for server in servers:
            server.stop()


def kill(root: Path, verb: str, at: str) -> None:
    process = ForkedProcess(make_until_killed, str(root), verb, at)
    try:
        assert process.wait() == -signal.SIGKILL
    finally:
        process.end()


@pytest.mark.parametrize("at", ["rows", "files", "seal", "sealed", "bag", "bagged"])
def test_creation_goes_on_after_a_kill(sites: Sites, tmp_path: Path, at: str) -> None:
    kill(tmp_path, "create", at)
    assert not (tmp_path / "snap").exists()
    report = create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    assert report.rounds == 0 or at == "rows"
    assert verify_snapshot(tmp_path / "snap").problems == ()
    assert bagit.Bag(str(tmp_path / "snap")).is_valid()
    assert not (tmp_path / "snap.partial").exists()


def test_files_copied_before_a_kill_are_not_copied_again(sites: Sites, tmp_path: Path) -> None:
    kill(tmp_path, "create", "files")
    copied = {
        path.name: path.stat().st_mtime_ns
        for path in (tmp_path / "snap.partial/staging/data").rglob("*.fits")
    }
    assert copied
    create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "snap/data").rglob("*.fits")}
    assert len(after) == 4
    assert copied.items() <= after.items()


def test_a_snapshot_whose_maker_was_killed_when_tidying_up_can_be_extended(
    sites: Sites, tmp_path: Path
) -> None:
    kill(tmp_path, "create", "discard")
    assert verify_snapshot(tmp_path / "snap").ok
    extend(sites, tmp_path / "snap", Selection(ids=sites.calexps))
    assert verify_snapshot(tmp_path / "snap").problems == ()


@pytest.mark.parametrize("at", ["rows", "files", "moving", "bag", "commit", "bagged", "discard"])
def test_extension_goes_on_after_a_kill(sites: Sites, tmp_path: Path, at: str) -> None:
    create(sites, tmp_path / "snap", Selection(ids=sites.raws))
    kill(tmp_path, "extend", at)
    if at in ("rows", "files", "moving"):
        assert verify_snapshot(tmp_path / "snap").ok
    extend(sites, tmp_path / "snap", Selection(ids=sites.calexps))
    assert verify_snapshot(tmp_path / "snap").problems == ()
    assert bagit.Bag(str(tmp_path / "snap")).is_valid()
    assert SnapshotManifest.load(tmp_path / "snap").counts.file_count == 6
    assert not (tmp_path / "snap.partial").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a registry and not for four files."""
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(mount_point)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield mount_point
    subprocess.run(["umount", "--lazy", str(mount_point)], check=True)


@pytest.mark.parametrize("left_bytes", [0, 150_000, 400_000, 700_000, 900_000, 1_100_000])
def test_a_full_disk_publishes_nothing_and_room_lets_it_finish(
    sites: Sites, small_disk: Path, left_bytes: int
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - left_bytes))
    with pytest.raises(LimitError):
        create(sites, small_disk / "snap", Selection(ids=sites.raws))
    assert not (small_disk / "snap").exists()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    create(sites, small_disk / "snap", Selection(ids=sites.raws))
    assert verify_snapshot(small_disk / "snap").ok
