"""``federation replica verify``: names the rows that were changed behind its back, mends them, and says what it did."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.cli.main import main
from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.registry import dimensions
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Path]:
    """A directory with site summit, which is served, and site base, which has followed it."""
    (tmp_path / "sites").mkdir()
    summit = tmp_path / "sites" / "summit.toml"
    summit.write_text(render_site("summit", tmp_path / "summit", Address("127.0.0.1", 0)))
    with Registry.create(SiteConfig.load(summit)) as registry, registry.transaction("summit") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        rows = [{"instrument": "Cam", "id": number, "full_name": f"d{number}"} for number in range(1, 6)]
        dimensions.insert_records(tx, "detector", rows)
    server = SiteServer(SiteConfig.load(summit))
    server.start()
    peer = PeerConfig("summit", Address("127.0.0.1", int(server.address.rpartition(":")[2])), ("summit",))
    base = tmp_path / "sites" / "base.toml"
    base.write_text(render_site("base", tmp_path / "base", Address("127.0.0.1", 0), "sqlite", [peer]))
    Registry.create(SiteConfig.load(base)).close()
    try:
        assert main(["replica", "run", "base", "--once", "--sites", str(tmp_path / "sites")]) == 0
        yield tmp_path / "sites"
    finally:
        server.stop()


def test_names_and_mends_what_was_changed_by_hand(sites: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["replica", "verify", "base", "--sites", str(sites)]
    assert main(arguments) == 0
    assert "summit/summit at base equals its owner at LSN 1" in capsys.readouterr().out

    (file,) = sites.parent.glob("base/registry/summit__summit.sqlite")
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM detector WHERE id = 3")
        connection.execute("UPDATE detector SET purpose = 'SCIENCE' WHERE id = 4")
        connection.execute("INSERT INTO band (name) VALUES ('invented')")
    connection.close()
    assert main([*arguments, "--json"]) == 6
    answer = capsys.readouterr()
    assert json.loads(answer.out)["schemas"][0]["differences"] == [
        {"table": "band", "key": '["invented"]', "kind": "extra"},
        {"table": "detector", "key": '["Cam", 3]', "kind": "missing"},
        {"table": "detector", "key": '["Cam", 4]', "kind": "changed"},
    ]
    assert "run: federation replica verify base --repair" in answer.err

    assert main([*arguments, "--repair", "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered["equal"] is True
    assert answered["repaired"][0]["tables"] == {
        "band": {"put_in": 0, "corrected": 0, "taken_out": 1},
        "detector": {"put_in": 1, "corrected": 1, "taken_out": 0},
    }
    assert main([*arguments, "--repair"]) == 0
    assert "nothing to repair" in capsys.readouterr().out
