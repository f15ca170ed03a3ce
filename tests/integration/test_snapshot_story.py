"""A snapshot as a user has it: made over servers, moved, opened, plotted, added to, verified by others, exported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d
from snapshot_sites import Sites, make_sites

import federation
from federation.cli.main import main
from federation.config import SiteConfig, render_site
from federation.datastore import Datastore
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.snapshot.assemble import create_snapshot
from federation.snapshot.manifest import SnapshotManifest
from federation.snapshot.selection import Selection
from federation.snapshot.source import FederatedSource
from federation.storage import SqliteDatabase

VISITS = range(100, 112)


def square(degrees: float) -> ConvexPolygon:
    """One degree of the sky, at this right ascension."""
    corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(degrees + x, y)) for x, y in corners])


def take_visits(registry: Registry, store: Datastore) -> list[uuid.UUID]:
    """Twelve visits along the equator, with an image of each."""
    with registry.transaction("base") as tx:
        records = [
            {
                "instrument": "Cam", "id": n, "name": f"v{n}", "day_obs": 20250101, "physical_filter": "r_1",
                "timespan_begin": 100 * n, "timespan_end": 100 * n + 50, "region": square(n - 100.0).encode(),
            }
            for n in VISITS
        ]  # fmt: skip
        dimensions.insert_records(tx, "visit", records)
        collections.register(tx, Collection("run/two", CollectionType.RUN))
        dataset_types.declare(tx, DatasetType("summary", ("visit",), "StructuredDataDict"))
        refs = datasets.insert_datasets(
            tx,
            [datasets.NewDataset("summary", "run/two", {"instrument": "Cam", "visit": n}) for n in VISITS],
        ).refs
        stored = [
            (ref.id, name, store.put_stream([json.dumps({"visit": n}).encode()], name))
            for n, ref in zip(VISITS, refs, strict=True)
            for name in [f"summary/{n}.json"]
        ]
        artifacts.record(
            tx, [artifacts.Artifact(one, name, file.size_bytes, file.checksum) for one, name, file in stored]
        )
    return [ref.id for ref in refs]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, list[uuid.UUID]]]:
    """The directory of the site files of two served sites, and ids of summaries at base."""
    made: Sites = make_sites(tmp_path / "data")
    ids = take_visits(made.base, made.stores["base"])
    made.close()
    sites = tmp_path / "sites"
    sites.mkdir()
    servers: list[SiteServer] = []
    try:
        for name in ("summit", "base"):
            root = tmp_path / "data" / name
            text = render_site(name, root, "127.0.0.1:0", datastore_url=str(root / "files"))
            server = SiteServer(SiteConfig.parse(text, sites / f"{name}.toml"))
            server.start()
            servers.append(server)
            (sites / f"{name}.toml").write_text(text.replace("127.0.0.1:0", server.address))
        yield sites, ids
    finally:
        for server in servers:
            server.stop()


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_made_moved_opened_added_to_verified_and_exported(
    served: tuple[Path, list[uuid.UUID]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites, ids = served
    at = ("--sites", sites, "--site", "base")
    first = command(
        capsys,
        "snapshot",
        "create",
        tmp_path / "night",
        *at,
        "--dataset-type",
        "summary",
        "--where",
        "visit < 102",
    )
    assert (first["datasets"], first["files"]) == (2, 2)
    laptop = tmp_path / "laptop" / "renamed"
    laptop.parent.mkdir()
    shutil.move(tmp_path / "night", laptop)

    with federation.open_snapshot(laptop) as session:
        coverage = {
            record.id: record.region.getBoundingBox().getLon().getA().asDegrees()
            for record in session.dimension_records("visit")
        }
    assert coverage == pytest.approx({100: 0.0, 101: 1.0}, abs=1e-6)

    (tmp_path / "more.txt").write_text("\n".join(map(str, ids[2:])))
    added = command(capsys, "snapshot", "extend", laptop, *at, "--ids", tmp_path / "more.txt", "--no-files")
    assert (added["datasets"], added["files"]) == (10, 0)
    assert command(capsys, "snapshot", "fetch", laptop, str(ids[5]), *at)["files"] == 1
    assert command(capsys, "snapshot", "fetch", laptop, "--all", *at)["files"] == 9
    assert command(capsys, "snapshot", "diff", laptop, *at)["same"]
    assert command(capsys, "snapshot", "refresh", laptop, *at)["gone"] == []

    bagit = subprocess.run(
        [sys.executable, "-m", "bagit", "--validate", "--quiet", str(laptop)],
        check=False,
        capture_output=True,
    )
    assert bagit.returncode == 0, bagit.stderr
    assert command(capsys, "snapshot", "verify", laptop)["ok"]

    exported = command(capsys, "snapshot", "export", laptop, tmp_path / "out")
    assert (exported["datasets"], exported["files"]) == (12, 12)
    imported_by_a_butler(tmp_path, ids)


def imported_by_a_butler(root: Path, ids: list[uuid.UUID]) -> None:
    """The real Butler imports the export, and reads every file."""
    butlers = pytest.importorskip("lsst.daf.butler")
    butler = butlers.Butler.from_config(butlers.Butler.makeRepo(str(root / "repo")), writeable=True)
    butler.import_(filename=str(root / "out/export.yaml"), directory=str(root / "out"), transfer="copy")
    found = {butler.get(butler.get_dataset(identity))["visit"] for identity in ids}
    assert found == set(VISITS)


def test_what_a_user_may_not_read_is_listed_in_report_and_snapshot(tmp_path: Path) -> None:
    made = make_sites(tmp_path / "data")
    made.base.create_schema("alice")
    with made.base.transaction("alice") as tx:
        dataset_types.declare(tx, DatasetType("secret", (), "StructuredDataDict"))
        collections.register(tx, Collection("u/alice", CollectionType.RUN))
        [ref] = datasets.insert_datasets(tx, [datasets.NewDataset("secret", "u/alice", {})]).refs
    made.close()

    with Registry.open_in(SqliteDatabase(tmp_path / "data/base/registry"), "base") as registry:
        clients = {"base": LocalSite(registry)}
        with Coordinator("base", clients, user="bob") as coordinator:
            report = create_snapshot(
                FederatedSource(coordinator),
                registry.universe,
                tmp_path / "snap",
                Selection(ids=(*made.calexps, ref.id)),
                files=False,
            )
    assert [one.what for one in report.refused] == ["schema base/alice"]
    assert str(ref.id) in report.missing["dataset"]
    [increment] = SnapshotManifest.load(tmp_path / "snap").increments
    assert increment.refused == report.refused
    assert "grant read alice bob" in increment.refused[0].remedy
    assert str(ref.id) in increment.missing["dataset"]
