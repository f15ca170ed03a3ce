"""The command line: names, help, exit codes, what is printed, and errors of the whole stack on SQLite."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

import federation
from federation import errors
from federation.cli.main import app, main
from federation.config import Address, SiteConfig, render_site
from federation.registry import dimensions
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "collection certify",
    "collection chain",
    "collection create",
    "collection decertify",
    "collection list",
    "cache expire",
    "cache path",
    "cache pin",
    "cache run",
    "cache status",
    "cache unpin",
    "dataset purge",
    "dataset restore",
    "dataset retire",
    "dataset retired",
    "datastore check",
    "datastore copy",
    "positions",
    "collection remove",
    "collection show",
    "collection tag",
    "collection untag",
    "demo",
    "get",
    "ingest",
    "metrics list",
    "metrics put",
    "provenance downstream",
    "provenance record",
    "provenance show",
    "provenance upstream",
    "query",
    "registry conflicts",
    "registry migrate",
    "replica forget",
    "replica run",
    "replica status",
    "replica verify",
    "schema create",
    "schema describe",
    "schema drop",
    "schema felis",
    "schema grant",
    "schema group-add",
    "schema group-remove",
    "schema list",
    "schema promote",
    "schema propose",
    "schema retire",
    "schema review",
    "schema revoke",
    "schema table append",
    "schema table create",
    "schema table drop",
    "schema table list",
    "schema table show",
    "site backup",
    "site export-butler",
    "site import-butler",
    "site init",
    "site serve",
    "site log",
    "site queries",
    "site restore",
    "site status",
    "snapshot create",
    "snapshot diff",
    "snapshot export",
    "snapshot extend",
    "snapshot fetch",
    "snapshot refresh",
    "snapshot verify",
    "transfer",
    "watch",
    "site cert init-ca",
    "site cert issue",
    "token issue",
    "token list",
    "token public-key",
    "token revoke",
}


def commands(group: Any = None, prefix: str = "") -> dict[str, Any]:
    """Every command by its full name."""
    found: dict[str, Any] = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = command
    return found


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Run:
    """One call of the command line: exit code and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        capsys.readouterr()
        self.code = main([str(argument) for argument in arguments])
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("FEDERATION_SITE", "FEDERATION_SITES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: Run(capsys, *arguments)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with site summit, which is served, and site base, which is down."""
    directory = tmp_path_factory.mktemp("federation") / "sites"
    directory.mkdir()
    for name in ("summit", "base"):
        text = render_site(name, f"../{name}", Address("127.0.0.1", free_port()))
        (directory / f"{name}.toml").write_text(text)
    config = SiteConfig.load(directory / "summit.toml")
    with Registry.create(config) as registry, registry.transaction("summit") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        rows = [{"instrument": "Cam", "id": number, "full_name": f"d{number}"} for number in range(3)]
        dimensions.insert_records(tx, "detector", rows)
    server = SiteServer(config)
    server.start()
    yield directory
    server.stop()


@pytest.fixture
def alone(sites: Path, tmp_path: Path) -> Path:
    """The served summit in a federation of its own."""
    directory = tmp_path / "sites"
    directory.mkdir()
    text = (sites / "summit.toml").read_text().replace("../summit", str(sites.parent / "summit"))
    (directory / "summit.toml").write_text(text)
    return directory


class TestTheCommands:
    def test_have_the_names_that_are_promised(self) -> None:
        assert commands().keys() == COMMANDS

    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_have_json_and_a_help_with_an_example(self, name: str, run: Any) -> None:
        shown = run(*name.split(), "--help")
        assert shown.code == 0
        assert f"Example: federation {name}" in shown.out
        assert "--json" in options(commands()[name])

    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_are_documented_with_all_their_options(self, name: str) -> None:
        page = (ROOT / "docs" / "reference" / "cli.md").read_text()
        section = re.split(rf"^## `federation {name}`$", page, flags=re.MULTILINE)
        assert len(section) == 2, f"docs/reference/cli.md has no section on {name}"
        text = section[1].split("\n## ")[0]
        missing = [
            option for option in options(commands()[name]) if f"`{option}" not in text and option != "--json"
        ]
        assert not missing

    def test_start_quickly(self) -> None:
        code = "import sys, federation.cli.main; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        # rendering of rows needs Arrow; databases and engines wait until they are used
        assert not {"sqlalchemy", "duckdb", "grpc"} & set(done.stdout.split())


def test_every_error_has_its_exit_code_documented() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    for kind in errors.BY_CODE.values():
        if kind is not errors.FederationError:
            assert re.search(rf"^\| {kind.exit_code} \|.*`{kind.code}`", page, flags=re.MULTILINE), kind


class TestWrongUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["quer"],
            ["query"],
            ["query", "--frmat", "csv", "SELECT 1"],
            ["query", "--format", "xml", "SELECT 1"],
            ["query", "--explain", "--analyze", "SELECT 1"],
            ["ingest", "file"],
            ["snapshot", "create", "target"],
            ["snapshot", "create", "target", "--where", "detector = 1"],
            ["site", "init", "x", "--follow", "summit"],
        ],
        ids=" ".join,
    )
    def test_ends_with_2_and_a_remedy(self, arguments: list[str], run: Any) -> None:
        done = run(*arguments)
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert "\nhint: " in done.err
        assert done.out == ""

    def test_is_an_object_for_a_program(self, run: Any) -> None:
        done = run("query", "--json")
        assert done.code == 2
        assert done.json["error"]["code"] == "usage"


class TestInit:
    def test_makes_site_file_and_registry(self, run: Any, tmp_path: Path) -> None:
        first = run("site", "init", "summit", "--sites", tmp_path / "sites", "--json")
        assert first.code == 0
        assert first.json["listen"] == "127.0.0.1:50051"
        assert (tmp_path / "var" / "summit" / "registry").is_dir()
        second = run("site", "init", "base", "--sites", tmp_path / "sites", "--follow", "summit=*")
        assert second.code == 0
        base = SiteConfig.load(tmp_path / "sites" / "base.toml")
        assert base.listen.port == 50052
        assert base.peers[0].follow == ("*",)

    def test_again_changes_nothing(self, run: Any, tmp_path: Path) -> None:
        run("site", "init", "summit", "--sites", tmp_path)
        text = (tmp_path / "summit.toml").read_text()
        assert run("site", "init", "summit", "--sites", tmp_path).code == 0
        assert (tmp_path / "summit.toml").read_text() == text

    def test_refuses_options_that_a_site_file_answers(self, run: Any, tmp_path: Path) -> None:
        run("site", "init", "summit", "--sites", tmp_path)
        done = run("site", "init", "summit", "--sites", tmp_path, "--listen", "127.0.0.1:1")
        assert done.code == 2
        assert "edit the file" in done.err

    def test_refuses_a_name_that_no_schema_may_have(self, run: Any, tmp_path: Path) -> None:
        assert run("site", "init", "Summit", "--sites", tmp_path).code == 3
        assert not list(tmp_path.iterdir())


class TestQuery:
    def test_shows_a_table_with_its_number_of_rows(self, run: Any, alone: Path) -> None:
        done = run("query", "--sites", alone, "SELECT id, full_name FROM detector ORDER BY id")
        assert (done.code, done.err) == (0, "")
        assert "full_name" in done.out
        assert done.out.endswith("3 rows\n")

    def test_reads_the_statement_from_standard_input(
        self, run: Any, alone: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM detector"))
        assert run("query", "--sites", alone, "--format", "json", "-").json == [{"n": 3}]

    def test_gives_one_object_with_what_a_program_needs(self, run: Any, alone: Path) -> None:
        done = run("query", "--sites", alone, "--json", "SELECT id FROM detector ORDER BY id LIMIT 1")
        assert done.json["rows"] == [{"id": 0}]
        assert done.json["columns"] == [{"name": "id", "type": "int64"}]
        assert done.json["missing"] == []
        assert done.json["positions"][0].startswith("summit/summit@")
        assert done.json["fragments"][0]["site"] == "summit"

    def test_writes_csv(self, run: Any, alone: Path) -> None:
        done = run(
            "query",
            "--sites",
            alone,
            "--format",
            "csv",
            "SELECT id, purpose FROM detector ORDER BY id LIMIT 1",
        )
        assert list(csv.reader(io.StringIO(done.out))) == [["id", "purpose"], ["0", ""]]

    def test_writes_files_in_the_format_that_their_names_say(
        self, run: Any, alone: Path, tmp_path: Path
    ) -> None:
        for name in ("x.parquet", "x.arrow", "x.csv", "x.json"):
            done = run(
                "query", "--sites", alone, "-o", tmp_path / name, "SELECT id FROM detector ORDER BY id"
            )
            assert (done.code, done.out) == (0, "")
        assert pq.read_table(tmp_path / "x.parquet").column("id").to_pylist() == [0, 1, 2]
        assert pa.ipc.open_file(tmp_path / "x.arrow").read_all().num_rows == 3
        assert json.loads((tmp_path / "x.json").read_text()) == [{"id": 0}, {"id": 1}, {"id": 2}]
        assert sorted(path.name for path in tmp_path.glob("*x.*")) == [
            "x.arrow",
            "x.csv",
            "x.json",
            "x.parquet",
        ]

    def test_explains_and_runs_nothing(self, run: Any, alone: Path) -> None:
        done = run("query", "--sites", alone, "--explain", "SELECT id FROM detector")
        assert "fragment f1 at summit" in done.out
        as_json = run("query", "--sites", alone, "--explain", "--json", "SELECT id FROM detector").json
        assert as_json["fragments"][0]["site"] == "summit"

    def test_analyzes_with_rows_and_bytes_of_each_fragment(self, run: Any, alone: Path) -> None:
        done = run("query", "--sites", alone, "--analyze", "--json", "SELECT id FROM detector").json
        assert done["fragments"][0]["rows"] == 3
        assert done["fragments"][0]["bytes"] > 0
        assert done["plan"]["fragments"][0]["site"] == "summit"
        assert "f1" in run("query", "--sites", alone, "--analyze", "SELECT id FROM detector").out

    @pytest.mark.parametrize(
        ("sql", "says", "mark"),
        [
            ("SELECT id FROM detectr", "unknown table 'detectr'", 15),
            ("SELECT idd FROM detector", "unknown column 'idd'", 7),
            ("SELECT FROM WHERE", "", None),
            ("DELETE FROM detector", "", None),
        ],
    )
    def test_marks_what_is_wrong(self, sql: str, says: str, mark: int | None, run: Any, alone: Path) -> None:
        done = run("query", "--sites", alone, sql)
        assert (done.code, done.out) == (3, "")
        assert says in done.err
        if mark is not None:
            assert f"\n{' ' * mark}^\n" in done.err or "^" in done.err
        assert run("query", "--sites", alone, "--json", sql).json["error"]["code"] in ("query", "user")

    def test_names_a_site_that_is_down(self, run: Any, sites: Path) -> None:
        done = run("query", "--sites", sites, "--site", "summit", "SELECT id FROM detector")
        assert done.code == 4
        assert "site base" in done.err

    def test_does_not_blame_the_user_for_a_name_that_a_silent_site_may_know(
        self, run: Any, sites: Path
    ) -> None:
        done = run("query", "--sites", sites, "--site", "summit", "SELECT * FROM calexp")
        assert done.code == 4
        assert "federation site serve base" in done.err

    def test_gives_a_partial_answer_that_says_so(self, run: Any, sites: Path) -> None:
        done = run(
            "query", "--sites", sites, "--site", "summit", "--partial", "--json", "SELECT id FROM detector"
        )
        assert done.code == 7
        assert len(done.json["rows"]) == 3
        assert done.json["missing"][0]["site"] == "base"
        assert done.err.startswith("missing: ")

    def test_takes_the_home_site_from_the_environment(
        self, run: Any, sites: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FEDERATION_SITES", str(sites))
        monkeypatch.setenv("FEDERATION_SITE", "nowhere")
        done = run("query", "SELECT 1")
        assert done.code == 3
        assert "nowhere" in done.err


class TestErrors:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["query", "--site", "nowhere", "SELECT 1"],
            ["site", "status", "nowhere"],
            ["site", "serve", "nowhere"],
            ["replica", "verify", "nowhere"],
            ["replica", "verify", "summit", "--schema", "ncsa/ncsa"],
            ["ingest", "--site", "summit", "--run", "r", "--dataset-type", "t", "missing.fits"],
            ["site", "import-butler", "--site", "summit", "missing.yaml"],
            ["snapshot", "verify", "missing"],
            ["snapshot", "diff", "missing", "missing"],
        ],
        ids=" ".join,
    )
    def test_of_the_user_end_with_3_and_one_line(self, arguments: list[str], run: Any, sites: Path) -> None:
        where = (
            []
            if arguments[1] in ("verify", "diff") and arguments[0] == "snapshot"
            else ["--sites", str(sites)]
        )
        done = run(*arguments, *where)
        assert done.code == 3, done.err
        lines = done.err.splitlines()
        assert lines[0].startswith("error: ")
        assert "Traceback" not in done.err

    def test_of_a_server_that_serves_already(self, run: Any, sites: Path) -> None:
        done = run("site", "serve", "summit", "--sites", sites)
        assert done.code == 3
        assert "already served" in done.err

    def test_of_a_registry_that_was_not_made(self, run: Any, sites: Path) -> None:
        done = run("site", "serve", "base", "--sites", sites)
        assert done.code == 3
        assert "federation site init base" in done.err

    def test_of_an_output_that_cannot_be_written(self, run: Any, alone: Path, tmp_path: Path) -> None:
        done = run("query", "--sites", alone, "-o", tmp_path / "none" / "x.csv", "SELECT 1")
        assert done.code == 3
        assert "No such file or directory" in done.err


class TestStatus:
    def test_shows_sites_up_and_down(self, run: Any, sites: Path) -> None:
        done = run("site", "status", "--sites", sites, "--json")
        assert done.code == 0
        up = {site["site"]: site["up"] for site in done.json["sites"]}
        assert up == {"base": False, "summit": True}
        assert "down" in run("site", "status", "--sites", sites).out

    def test_shows_no_replica_where_there_is_none(self, run: Any, alone: Path) -> None:
        assert run("replica", "status", "--sites", alone, "--json").json == {
            "replicas": [],
            "logs": [],
            "down": {},
        }
        assert run("replica", "verify", "summit", "--sites", alone, "--json").json["equal"] is True


class TestIngest:
    def test_registers_a_file_once(self, run: Any, alone: Path, tmp_path: Path) -> None:
        file = tmp_path / "note.txt"
        file.write_text("cloudy")
        what = ["ingest", "--sites", alone, "--site", "summit", "--run", "notes", "--dataset-type", "note"]
        first = run(
            *what, "--declare", "detector:Text", "--data-id", "instrument=Cam,detector=1", "--json", file
        )
        assert first.code == 0, first.err
        assert (first.json["new"], first.json["files"], first.json["bytes"]) == (1, 1, 6)
        again = run(*what, "--data-id", "instrument=Cam,detector=1", "--json", file)
        assert (again.json["new"], again.json["known"]) == (0, 1)
        rows = run("query", "--sites", alone, "--format", "json", "SELECT detector, run FROM note").json
        assert rows == [{"detector": 1, "run": "notes"}]

    def test_says_what_is_missing_of_a_data_id(self, run: Any, alone: Path, tmp_path: Path) -> None:
        file = tmp_path / "note.txt"
        file.write_text("clear")
        what = ["ingest", "--sites", alone, "--site", "summit", "--run", "notes", "--dataset-type", "other"]
        done = run(*what, "--declare", "detector:Text", "--data-id", "instrument=Cam", file)
        assert done.code == 3
        assert "detector" in done.err


class TestSnapshot:
    def test_is_made_extended_compared_and_queried_without_a_server(
        self, run: Any, alone: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "log.txt"
        file.write_text("observed")
        for detector in (1, 2):
            done = run(
                "ingest", "--sites", alone, "--site", "summit", "--run", "logs", "--dataset-type", "log",
                "--declare", "detector:Text", "--data-id", f"instrument=Cam,detector={detector}", file,
            )  # fmt: skip
            assert done.code == 0, done.err
        target, home = tmp_path / "night", ["--sites", alone, "--json"]
        choice = ["--dataset-type", "log", "--where"]
        dry = run("snapshot", "create", target, *choice, "detector = 1", "--dry-run", *home)
        assert (dry.json["datasets"], dry.json["dry_run"], target.exists()) == (1, True, False)
        made = run("snapshot", "create", target, *choice, "detector = 1", *home)
        assert (made.json["datasets"], made.json["files"], made.json["bytes"]) == (1, 1, 8)
        again = run("snapshot", "create", target, *choice, "detector = 1", *home)
        assert again.code == 3
        extended = run("snapshot", "extend", target, *choice, "detector = 2", *home)
        assert extended.json["datasets"] == 1
        assert run("snapshot", "verify", target, "--json").json["ok"] is True
        rows = run("query", "--site", target, "--format", "json", "SELECT detector FROM log ORDER BY 1").json
        assert rows == [{"detector": 1}, {"detector": 2}]
        assert run("snapshot", "diff", target, target, "--json").json["same"] is True
        next(path for path in target.rglob("*.txt") if path.read_text() == "observed").write_text("Observed")
        assert run("snapshot", "verify", target).code == 6


class TestThePythonApi:
    def test_exports_exactly_what_is_listed(self) -> None:
        for name in federation.__all__:
            assert getattr(federation, name) is not None
        assert set(federation.__all__) <= set(dir(federation))
        with pytest.raises(AttributeError, match="nothing"):
            _ = federation.nothing

    def test_answers_a_query(self, alone: Path) -> None:
        with federation.connect("summit", alone) as session:
            assert session.query("SELECT count(*) AS n FROM detector").to_pylist() == [{"n": 3}]
            assert session.home == "summit"
            assert session.explain("SELECT id FROM detector").fragments[0].site == "summit"
