"""A check of a datastore tells what the registry promises and the files don't keep, and what nothing records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from federation.cli.main import main
from federation.config import find_site, render_site
from federation.datastore import Datastore
from federation.datastore.durable import temporary_name
from federation.datastore_verbs import CheckSummary, check_datastore
from federation.errors import CorruptionError, NotFoundError, UserError
from federation.registry.file_check import Finding, Trouble
from federation.registry.registry import Registry

FILES = 5


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Site summit with flats of five detectors."""
    directory = tmp_path / "sites"
    directory.mkdir()
    (directory / "summit.toml").write_text(render_site("summit", tmp_path / "summit", "127.0.0.1:0"))
    Registry.create(find_site("summit", directory)).close()
    add(directory, range(FILES))
    return directory


def add(sites: Path, numbers: Iterable[int], mode: str = "copy") -> list[Path]:
    files = []
    for number in numbers:
        files.append(sites.parent / f"flat{number}.dat")
        files[-1].write_bytes(bytes([number]) * (1000 + number))
        records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": number}]}
        described = {"data_id": {"instrument": "C", "detector": number}, "records": records}
        files[-1].with_name(files[-1].name + ".json").write_text(json.dumps(described))
    what = ["--run", "flats", "--dataset-type", "flat", "--declare", "detector:Packages", "--mode", mode]
    assert main(["ingest", "--sites", str(sites), "--site", "summit", *what, *map(str, files)]) == 0
    return files


@pytest.fixture
def root(sites: Path) -> Path:
    found = Datastore(find_site("summit", sites).datastore_url).local_root
    assert found is not None
    return found


@pytest.fixture
def checked(sites: Path) -> Callable[..., tuple[CheckSummary, list[Finding]]]:
    def check(**options: object) -> tuple[CheckSummary, list[Finding]]:
        findings: list[Finding] = []
        summary = check_datastore("summit", sites=sites, on_finding=findings.append, **options)  # type: ignore[arg-type]
        return summary, findings

    return check


def stored(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("deep", [False, True])
def test_finds_nothing_where_all_is_as_recorded(checked, deep: bool) -> None:
    summary, findings = checked(deep=deep)
    assert findings == []
    assert (summary.files, summary.size_bytes, summary.lost) == (FILES, sum(range(1000, 1000 + FILES)), 0)
    summary.raise_for_loss()


def test_names_a_missing_file_with_its_dataset(checked, root: Path) -> None:
    stored(root)[2].unlink()
    summary, (finding,) = checked()
    assert finding.trouble is Trouble.MISSING
    assert finding.dataset_id is not None
    assert finding.schema == "summit"
    with pytest.raises(CorruptionError, match="1 of 5 files of summit are not as recorded: 1 missing"):
        summary.raise_for_loss()


def test_sees_another_size_at_once_and_other_bytes_only_when_it_reads(checked, root: Path) -> None:
    cut, changed, *_ = stored(root)
    cut.write_bytes(cut.read_bytes()[:-1])
    changed.write_bytes(b"X" * changed.stat().st_size)
    assert [finding.trouble for finding in checked()[1]] == [Trouble.CHANGED]
    deep = {finding.trouble: finding.uri for finding in checked(deep=True)[1]}
    assert set(deep) == {Trouble.CHANGED, Trouble.CORRUPT}
    assert (root / deep[Trouble.CORRUPT]) == changed


def test_lists_what_nothing_records_without_calling_it_a_loss(checked, root: Path) -> None:
    (root / "stray.dat").write_bytes(b"?")
    (root / temporary_name("flat.dat", "journal")).write_bytes(b"half")
    summary, findings = checked()
    assert {finding.trouble: finding.uri for finding in findings} == {
        Trouble.SURPLUS: "stray.dat",
        Trouble.INTERRUPTED: temporary_name("flat.dat", "journal"),
    }
    summary.raise_for_loss()


def test_looks_at_files_that_were_ingested_where_they_lie(checked, sites: Path) -> None:
    (file,) = add(sites, [9], "direct")
    assert checked(deep=True)[1] == []
    file.unlink()
    assert [finding.trouble for finding in checked()[1]] == [Trouble.MISSING]


def test_repair_withdraws_lost_files_and_sweeps_old_leftovers_only(checked, root: Path) -> None:
    stored(root)[0].unlink()
    old, new = root / temporary_name("a", ""), root / temporary_name("b", "")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    (root / "stray.dat").write_bytes(b"?")
    summary, _ = checked(repair=True)
    assert (summary.withdrawn, summary.removed) == (1, 1)
    assert not old.exists()
    assert new.exists()
    assert (root / "stray.dat").exists()
    again, findings = checked()
    assert (again.files, again.lost) == (FILES - 1, 0)
    assert {finding.trouble for finding in findings} == {Trouble.SURPLUS, Trouble.INTERRUPTED}


def test_says_so_when_there_is_no_datastore(checked, root: Path) -> None:
    root.rename(root.with_name("moved"))
    with pytest.raises(NotFoundError, match="does not exist"):
        checked()


class TestTheCommand:
    def test_ends_with_the_code_for_corruption_when_a_file_is_lost(self, sites, root, capsys) -> None:
        lost = stored(root)[0]
        lost.unlink()
        assert main(["datastore", "check", "summit", "--sites", str(sites)]) == 6
        out = capsys.readouterr()
        assert f"missing     {lost.relative_to(root)}  dataset" in out.out
        assert "1 of 5 files of summit are not as recorded" in out.err

    def test_ends_well_and_prints_json(self, sites, capsys) -> None:
        capsys.readouterr()
        assert main(["datastore", "check", "summit", "--sites", str(sites), "--deep", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["files"], told["findings"]) == (FILES, [])

    def test_copies_a_store_and_goes_on_where_it_was(self, root, tmp_path, capsys) -> None:
        target = tmp_path / "copy"
        arguments = ["datastore", "copy", str(root), str(target), "--journal", str(tmp_path / "j"), "--json"]
        capsys.readouterr()
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["copied"] == FILES
        assert [path.read_bytes() for path in stored(target)] == [path.read_bytes() for path in stored(root)]
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out) == {"copied": 0, "bytes": 0, "were_there": FILES}

    @pytest.mark.parametrize(
        ("target", "options"),
        [
            ("{root}/below", ()),
            ("{root}", ()),
            ("{root}2", ("--mode", "teleport")),
            ("{root}2", ("--rate-limit", "9")),
        ],
    )
    def test_refuses_what_makes_no_sense(self, root, target, options) -> None:
        assert main(["datastore", "copy", str(root), target.format(root=root), *options]) in (2, 3)

    def test_does_not_copy_into_its_own_source(self, root) -> None:
        from federation.datastore_verbs import copy_datastore

        with pytest.raises(UserError, match="hold each other"):
            copy_datastore(str(root), str(root / "below"))
