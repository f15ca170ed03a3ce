"""Users' tables in queries over several sites: joined with anything, the nearest row winning along a chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from free_ports import free_port

import federation
from federation.cli.main import main
from federation.config import Address, SiteConfig, render_site
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry import collections, dataset_types, datasets, dimensions, grants
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.schema_verbs import writable_schema
from federation.services.site_server import SiteServer
from federation.storage import SqliteDatabase

QUALITY = "detector,seeing\n0,0.5\n1,0.7\n7,0.9\n"
JOINED = "SELECT c.detector, q.seeing FROM camera c LEFT JOIN quality q ON q.detector = c.detector ORDER BY c.detector"


def put_datasets(registry: Registry) -> None:
    with registry.transaction(registry.site) as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        rows = [{"instrument": "Cam", "id": number, "full_name": f"d{number}"} for number in range(3)]
        dimensions.insert_records(tx, "detector", rows)
        dataset_types.declare(tx, DatasetType("camera", ("detector",), "Camera"))
        collections.register(tx, Collection("run/a", CollectionType.RUN))
        new = [
            datasets.NewDataset("camera", "run/a", {"instrument": "Cam", "detector": number})
            for number in range(3)
        ]
        datasets.insert_datasets(tx, new)


class TestAChain:
    @pytest.fixture
    def base(self, tmp_path: Path, universe: DimensionUniverse) -> Iterator[Registry]:
        """Table quality in the schemas of alice, of her group, and of the site, with one key less in each."""
        with Registry.create_in(SqliteDatabase(tmp_path / "base"), "base", universe) as base:
            grants.add_member(base, None, "commissioning", "alice")
            for name, keys in (("base", [1, 2, 3]), ("commissioning", [1, 2]), ("alice", [1])):
                base.create_schema(name)
                table = pa.table({"detector": keys, "said_by": [name] * len(keys)})
                create_table(base, name, "quality", table, key=["detector"])
            yield base

    def test_gives_the_nearest_row_of_each_key(self, base: Registry) -> None:
        with Coordinator("base", {"base": LocalSite(base)}) as coordinator:

            def said(*chain: str) -> list[str]:
                rows = coordinator.query("SELECT said_by FROM quality ORDER BY detector", chain=chain)
                return [row["said_by"] for row in rows]

            assert said("alice", "commissioning", "base") == ["alice", "commissioning", "base"]
            assert said("commissioning", "alice") == ["commissioning", "commissioning", "base"]
            assert said() == ["base", "base", "base"]

    def test_is_written_at_its_head(self, base: Registry) -> None:
        chain = ["alice", "commissioning", "base"]
        with base.transaction(writable_schema(base, chain, "alice")) as tx:
            tx.put("quality", [{"detector": 2, "said_by": "alice"}])
        with Coordinator("base", {"base": LocalSite(base)}) as coordinator:
            found = coordinator.query("SELECT detector, said_by FROM quality ORDER BY detector", chain=chain)
            assert [row["said_by"] for row in found] == ["alice", "alice", "base"]


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sites base and ncsa, both served; the datasets are at ncsa."""
    for name in ("FEDERATION_SITE", "FEDERATION_SITES"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "sites"
    directory.mkdir()
    for name in ("base", "ncsa"):
        address = Address("127.0.0.1", free_port())
        (directory / f"{name}.toml").write_text(render_site(name, f"../{name}", address))
    servers = []
    for name in ("base", "ncsa"):
        config = SiteConfig.load(directory / f"{name}.toml")
        with Registry.create(config) as registry:
            if name == "ncsa":
                put_datasets(registry)
        servers.append(SiteServer(config))
    for server in servers:
        server.start()
    yield directory
    for server in servers:
        server.stop()


class TestOverTwoSites:
    def test_a_file_joins_with_a_dataset_type_of_the_other(self, sites: Path, tmp_path: Path) -> None:
        path = tmp_path / "quality.csv"
        path.write_text(QUALITY)
        federation.create_schema("alice", site="base", sites=sites)
        federation.create_table("quality", path, site="base", sites=sites, schema="alice", key=["detector"])
        with federation.connect("base", sites=sites) as session:
            assert session.query(JOINED).to_pylist() == [
                {"detector": 0, "seeing": 0.5},
                {"detector": 1, "seeing": 0.7},
                {"detector": 2, "seeing": None},
            ]

    def test_the_whole_way_on_the_command_line(
        self, sites: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "quality.csv").write_text(QUALITY)
        felis = tmp_path / "alice.yaml"

        def run(*arguments: object, code: int = 0) -> str:
            capsys.readouterr()
            words = [str(word) for word in ("schema", *arguments, "--site", "base", "--sites", sites)]
            assert main(words) == code
            out, err = capsys.readouterr()
            return err if code else out

        run("create", "alice", "--as", "alice")
        query = "SELECT dataset_id, detector FROM camera WHERE detector > 0"
        run("table", "create", "chosen", "--query", query, "--schema", "alice", "--as", "alice")
        made = json.loads(run("table", "show", "chosen", "--schema", "alice", "--json"))
        assert (made["rows"], made["key"]) == (2, ["row_id"])
        assert [column["type"] for column in made["columns"]] == ["int64", "uuid", "int64"]

        source = tmp_path / "quality.csv"
        run("table", "create", "quality", "--from", source, "--schema", "alice", "--key", "detector")
        run("felis", "alice", "-o", felis)
        felis.write_text(
            felis.read_text().replace("datatype: double", "datatype: double\n    ivoa:unit: arcsec")
        )
        run("describe", "quality", "--felis", felis, "--schema", "alice")
        assert "arcsec" in run("table", "show", "quality", "--schema", "alice")
        assert "user bob has no write privilege" in run(
            "table", "append", "quality", "--from", source, "--schema", "alice", "--as", "bob", code=3
        )
        run("propose", "alice.quality", "--as", "alice", "--comment", "for all")
        run("review", "alice.quality", "--approve")
        assert "3 rows" in run("promote", "alice.quality")
        assert "promoted" in run("review")
        assert "this would go: table chosen of 2 rows, table quality of 3 rows" in run(
            "drop", "alice", code=3
        )
        run("drop", "alice", "--force")
        with federation.connect("base", sites=sites) as session:
            found = session.query("SELECT name, unit FROM federation.columns WHERE table_name = 'quality'")
            assert {row["name"]: row["unit"] for row in found} == {"detector": "", "seeing": "arcsec"}
            assert len(session.query(JOINED)) == 3
        run("retire", "alice.quality")
        assert "quality" not in run("table", "list")
