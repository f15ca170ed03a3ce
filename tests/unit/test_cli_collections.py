"""``federation collection`` and ``federation registry conflicts``, from the command line to the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import federation
from federation.cli.main import main
from federation.config import SiteConfig
from federation.errors import ForbiddenError, UserError
from federation.model.dataset import DatasetType
from federation.model.timespan import Timespan, parse_tai
from federation.registry import dimensions
from federation.registry.registry import Registry

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Site base with a bias for detectors 0 and 1 in RUN old, for detector 0 in RUN new; nothing is served."""
    sites = tmp_path / "sites"
    monkeypatch.setenv("FEDERATION_SITE", "base")
    monkeypatch.setenv("FEDERATION_SITES", str(sites))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(tmp_path)
    config = federation.init_site("base", sites=sites)
    with Registry.open(config) as registry, registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        rows = [{"instrument": "Cam", "id": number, "full_name": f"d{number}"} for number in range(2)]
        dimensions.insert_records(tx, "detector", rows)
    bias = DatasetType("bias", ("detector",), "Text", is_calibration=True)
    for name, detectors in (("old", (0, 1)), ("new", (0,))):
        for number in detectors:
            file = tmp_path / f"{name}{number}.txt"
            file.write_text(file.name)
            data_id = {"instrument": "Cam", "detector": number}
            federation.ingest(
                [file], site="base", sites=sites, run=name, dataset_type="bias", data_id=data_id, declare=bias
            )
    return sites


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(arguments), *capsys.readouterr()

    return call


def test_calibrations_are_certified_shown_and_cut(sites: Path, run: Run) -> None:
    assert run("collection", "create", "cal", "--type", "calibration", "--doc", "to use")[0] == 0
    certify = ("collection", "certify", "cal", "--dataset-type", "bias", "--where")
    assert run(*certify, "run = 'old'")[1] == "2 validity ranges added to cal at base\n"
    code, _, error = run(*certify, "run = 'new'", "--begin", "2026-02-01")
    assert code == 3
    assert "would have two valid datasets" in error
    cut = ("collection", "decertify", "cal", "bias", "--begin", "2026-02-01", "--data-id")
    assert run(*cut, "instrument=Cam,detector=0")[1] == "1 validity range cut in cal at base\n"
    assert json.loads(run(*certify, "run = 'new'", "--begin", "2026-02-01", "--json")[1])["certified"] == 1
    run("collection", "create", "defaults", "--type", "CHAINED", "--child", "cal")
    shown = run("collection", "show", "cal")[1]
    assert shown.startswith(
        "cal is a CALIBRATION collection of base/base\nto use\nin chains: defaults (base/base)\n"
    )
    assert "bias                3   instrument: Cam" in shown
    march = Timespan(parse_tai("2026-03-01"), parse_tai("2026-03-02"))
    found = federation.find_calibrations("defaults", "bias", march, site="base", sites=sites)
    assert [(one.data_id["detector"], one.timespan.begin) for one in found] == [
        (0, parse_tai("2026-02-01")),
        (1, None),
    ]


def test_chains_are_changed_and_never_contain_themselves(sites: Path, run: Run) -> None:
    run("collection", "create", "all", "--type", "CHAINED", "--child", "old")
    assert run("collection", "chain", "all", "new", "--mode", "prepend")[1] == "all at base: new, old\n"
    assert json.loads(run("collection", "chain", "all", "new", "--mode", "remove", "--json")[1])[
        "children"
    ] == ["old"]
    code, _, error = run("collection", "chain", "all", "all", "--mode", "extend")
    assert (code, error.splitlines()[0]) == (3, "error: chain 'all' would contain itself: all -> all")


def test_lists_have_globs_and_types(sites: Path, run: Run) -> None:
    run("collection", "create", "all", "--type", "CHAINED", "--child", "old")

    def names(*arguments: str) -> list[str]:
        found = json.loads(run("collection", "list", *arguments, "--json")[1])["collections"]
        return [one["name"] for one in found]

    assert names() == ["all", "new", "old"]
    assert names("o*", "n*") == ["new", "old"]
    assert names("--type", "chained") == ["all"]
    assert "base/base   old" in run("collection", "list")[1]


def test_datasets_are_chosen_by_type_statement_and_id(sites: Path, run: Run, tmp_path: Path) -> None:
    run("collection", "create", "good", "--type", "TAGGED")
    tag = ("collection", "tag", "good", "--dataset-type", "bias")
    code, _, error = run(*tag)
    assert code == 3
    assert "is given twice" in error
    assert run(*tag, "--where", "run = 'old'")[1] == "2 datasets put into good at base\n"
    assert run(*tag, "--where", "run = 'new'")[0] == 3
    assert run(*tag, "--where", "run = 'new'", "--replace")[1] == "1 dataset put into good at base\n"
    assert (
        run("collection", "untag", "good", "--sql", "SELECT dataset_id FROM bias WHERE run = 'old'")[0] == 0
    )
    shown = json.loads(run("collection", "show", "good", "--json")[1])
    assert shown["counts"] == {"bias": 1}
    assert shown["summary"] == {"bias": {"instrument": ["Cam"]}}
    assert run(*tag, "--where", "run = 'nowhere'")[0] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tag", "good"], 2, "no datasets are chosen"),
        (["tag", "good", "--id", "7"], 2, "'7' is not a dataset id"),
        (["tag", "good", "--id", "7", "--ids", "f"], 2, "--id and --ids contradict each other"),
        (
            ["tag", "nowhere", "--dataset-type", "bias", "--where", "run = 'old'"],
            3,
            "no collection 'nowhere'",
        ),
        (["create", "x", "--type", "heap"], 2, "heap"),
        (["create", " x", "--type", "RUN"], 3, "begins or ends with a blank"),
        (["create", "x", "--type", "RUN", "--child", "old"], 3, "a RUN collection has no children"),
        (["create", "x", "--type", "RUN", "--schema", "alice"], 3, "has no schema 'alice'"),
        (["show", "x"], 3, "no collection 'x' at base"),
        (["certify", "old", "--dataset-type", "bias"], 3, "'old' is RUN, not CALIBRATION"),
        (["certify", "cal", "--begin", "soon", "--dataset-type", "bias"], 3, "'soon' is not a TAI timestamp"),
        (["decertify", "cal", "bias", "--data-id", "detector=x"], 3, "detector='x' is not an integer"),
        (["chain", "old", "new"], 3, "'old' is RUN, not CHAINED"),
        (["remove", "old"], 3, "RUN 'old' holds 2 datasets"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_named(sites: Path, run: Run, arguments: list[str], code: int, message: str) -> None:
    found, out, error = run("collection", *arguments)
    assert (found, out) == (code, "")
    assert message in error
    assert "\nhint: " in error


def test_a_run_is_removed_with_its_files(sites: Path, run: Run, tmp_path: Path) -> None:
    def files() -> list[Path]:
        return sorted((tmp_path / "var" / "base" / "datastore").rglob("*.txt"))

    assert len(files()) == 3
    assert (
        run("collection", "remove", "old", "--purge")[1]
        == "removed collection old of base, 2 datasets and 2 files\n"
    )
    assert len(files()) == 1
    assert run("collection", "show", "old")[0] == 3


def test_a_user_without_the_privilege_writes_no_collection(sites: Path, run: Run) -> None:
    arguments: dict[str, Any] = {"site": "base", "sites": sites, "user": "bob"}
    with pytest.raises(ForbiddenError, match="bob has no write privilege on schema base"):
        federation.create_collection("x", "TAGGED", **arguments)
    with pytest.raises(ForbiddenError):
        federation.remove_collection("old", purge=True, **arguments)
    with pytest.raises(UserError, match="'heap' is no type of collection"):
        federation.create_collection("x", "heap", **arguments)
    with pytest.raises(UserError, match="'shuffle' is no way to change a chain"):
        federation.chain_collections("x", [], mode="shuffle", **arguments)
    assert [one.name for one in federation.list_collections(site="base", sites=sites)] == ["new", "old"]


def test_conflicts_are_listed_checked_and_resolved(sites: Path, run: Run, tmp_path: Path) -> None:
    assert run("registry", "conflicts", "--check") == (0, "no open conflict at base\n", "")
    other = tmp_path / "other.txt"
    other.write_text("other content")
    data_id = {"instrument": "Cam", "detector": 0}
    federation.ingest(
        [other],
        site="base",
        sites=sites,
        run="new",
        dataset_type="bias",
        data_id=data_id,
        on_conflict="record",
    )
    code, out, _ = run("registry", "conflicts", "--json", "--check")
    assert code == 3
    (conflict,) = json.loads(out)["conflicts"]
    assert (conflict["dataset_type"], conflict["run"], conflict["kind"]) == ("bias", "new", "checksum")
    assert conflict["uri"] == other.as_uri()
    code, out, error = run("registry", "conflicts", "--check")
    assert code == 3
    assert conflict["id"] in out
    assert "1 open conflict at base" in error
    resolve = ("registry", "conflicts", "--resolve", conflict["id"])
    assert run(*resolve)[0] == 2
    other.write_text("something else")
    code, _, error = run(*resolve, "--keep", "offered")
    assert code == 3
    assert "offered was" in error
    other.unlink()
    assert "is no longer at" in run(*resolve, "--keep", "offered")[2]
    other.write_text("other content")
    assert run(*resolve, "--keep", "offered")[0] == 0
    assert json.loads(run("registry", "conflicts", "--json")[1])["conflicts"] == []
    assert "is resolved already" in run(*resolve, "--keep", "recorded")[2]
    assert "is not a conflict's id" in run("registry", "conflicts", "--resolve", "x", "--keep", "recorded")[2]
    config = SiteConfig.load(sites / "base.toml")
    with Registry.open(config) as registry, registry.transaction("base") as tx:
        uris = {row["uri"] for row in tx.select("artifact", ("site",), [("base",)])}
    assert other.as_uri() in uris
