"""Datasets are retired, restored and purged by commands, with real files."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from forked import run_command

import federation
from federation.cli.main import main
from federation.config import SiteConfig, render_site
from federation.registry.registry import Registry


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    """Options that name a site with two files of one RUN."""
    directory = tmp_path / "sites"
    directory.mkdir()
    path = directory / "base.toml"
    path.write_text(render_site("base", tmp_path / "base", "127.0.0.1:0", "sqlite"))
    Registry.create(SiteConfig.load(path)).close()
    options = ["--site", "base", "--sites", str(directory)]
    for number in range(2):
        file = tmp_path / f"flat{number}.dat"
        file.write_bytes(bytes([number]) * 100)
        records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": number}]}
        described = {"data_id": {"instrument": "C", "detector": number}, "records": records}
        file.with_name(file.name + ".json").write_text(json.dumps(described))
        what = ["--run", "flats", "--dataset-type", "flat", "--declare", "detector:Packages"]
        assert main(["ingest", *options, *what, str(file)]) == 0
    return options


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out or "null")


def files(where: list[str]) -> list[Path]:
    return sorted(path for path in Path(where[3]).parent.joinpath("base").rglob("*.dat") if path.is_file())


def test_a_run_is_retired_restored_and_purged(where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(files(where)) == 2
    retired = told(capsys, "dataset", "retire", "--run", "flats", "--reason", "wrong gain", *where)
    assert (len(retired["datasets"]), retired["bytes"]) == (2, 200)
    checked = told(capsys, "datastore", "check", *where[1:2], *where[2:])
    assert (checked["files"], checked["retired"], checked.get("surplus", 0)) == (0, 2, 0)
    assert {(one["trouble"], one["detail"]) for one in checked["findings"]} == {
        ("retired", f"as {retired['name']}")
    }
    assert [one["reason"] for one in told(capsys, "dataset", "retired", *where)["retired"]] == ["wrong gain"]
    assert told(capsys, "get", retired["datasets"][0], *where, code=3)["error"]["code"] == "not_found"
    assert told(capsys, "dataset", "restore", retired["name"], *where) == {"restored": 2}
    first, second = retired["datasets"]
    again = told(capsys, "dataset", "retire", first, *where)
    assert told(capsys, "dataset", "purge", "--older-than", "3600", *where) == {"purged": []}
    (purged,) = told(capsys, "dataset", "purge", again["name"], *where)["purged"]
    assert (purged["datasets"], purged["files_deleted"]) == ([first], 1)
    assert len(files(where)) == 1
    assert federation.list_retired("base", sites=where[3]) == []
    assert told(capsys, "dataset", "restore", again["name"], *where, code=3)["error"]["code"] == "not_found"
    assert told(capsys, "dataset", "purge", *where, code=2)["error"]["code"] == "usage"
    copy = Path(where[3]).parent / "copy.dat"
    told(capsys, "get", second, *where, "-o", str(copy))
    assert copy.stat().st_size == 100


@pytest.mark.parametrize("point", ["retire.marked", "retire.before_forget"])
def test_a_purge_that_is_killed_is_ended_by_the_next(
    where: list[str], capsys: pytest.CaptureFixture[str], point: str
) -> None:
    retired = told(capsys, "dataset", "retire", "--run", "flats", *where)
    assert run_command("dataset", "purge", retired["name"], *where, kill=point) == -signal.SIGKILL
    assert len(federation.list_retired("base", sites=where[3])) == 1
    (purged,) = told(capsys, "dataset", "purge", retired["name"], *where)["purged"]
    assert (len(purged["datasets"]), purged["files_deleted"]) == (2, 0)
    assert (files(where), federation.list_retired("base", sites=where[3])) == ([], [])
    assert told(capsys, "datastore", "check", "base", "--sites", where[3])["findings"] == []
