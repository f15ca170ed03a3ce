"""Bags: what other tools verify, what one changed byte does, and extensions that happen whole or not at all."""

from __future__ import annotations

import hashlib
import logging
import os
import random
from pathlib import Path

import bagit
import pytest

from federation.datastore.durable import write_file
from federation.errors import ConflictError, CorruptionError, NotFoundError, UserError
from federation.snapshot import bag as bag_module
from federation.snapshot.bag import PayloadFile, extend_bag, recover_bag, write_bag
from federation.snapshot.verify import Problem, ProblemKind, verify_bag
from federation.snapshot.workspace import creation, extension, has_unfinished_extension

INFO = {
    "Source-Organization": "ncsa",
    "External-Identifier": "night 1",
    "Bagging-Date": "2026-11-03",
}


@pytest.fixture(autouse=True)
def quiet_bagit() -> None:
    logging.getLogger("bagit").setLevel(logging.CRITICAL)


def payload(root: Path, path: str, content: bytes) -> PayloadFile:
    write_file(root / path, content)
    return PayloadFile(path, len(content), "sha256:" + hashlib.sha256(content).hexdigest())


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    root = tmp_path / "night1"
    files = [payload(root, f"data/run/raw/{n}/raw_{n}.fits", f"pixels {n}".encode() * 50) for n in range(5)]
    write_file(root / "registry" / "ncsa__alice.sqlite", b"SQLite format 3\0" + b"rows" * 100)
    write_file(root / "snapshot.json", b'{"format_version": 1}\n')
    write_bag(root, files, INFO)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class TestABag:
    def test_satisfies_the_reference_implementation(self, bag: Path) -> None:
        opened = bagit.Bag(str(bag))
        assert opened.validate()
        assert opened.info["Payload-Oxum"] == "2000.5"
        assert opened.info["External-Identifier"] == "night 1"

    def test_verifies(self, bag: Path) -> None:
        seen = []
        report = verify_bag(bag, seen.append)
        assert report.ok
        assert report.problems == ()
        assert report.file_count == 5 + 5
        assert seen[-1].done_bytes == seen[-1].total_bytes == report.size_bytes
        report.raise_for_problem()

    def test_still_verifies_after_a_move(self, bag: Path) -> None:
        assert verify_bag(bag.rename(bag.with_name("elsewhere"))).ok

    def test_without_payload_is_valid(self, tmp_path: Path) -> None:
        root = tmp_path / "empty"
        root.mkdir()
        write_bag(root, [], {})
        assert verify_bag(root).ok
        assert bagit.Bag(str(root)).validate()

    def test_is_no_bag_until_the_last_file_is_written(self, tmp_path: Path, monkeypatch) -> None:
        root = tmp_path / "b"
        written = []
        original = bag_module.write_file
        monkeypatch.setattr(bag_module, "write_file", lambda p, c: (written.append(p.name), original(p, c)))
        write_bag(root, [payload(root, "data/a", b"a")], INFO)
        assert written == ["bagit.txt", "manifest-sha256.txt", "bag-info.txt", "tagmanifest-sha256.txt"]

    @pytest.mark.parametrize(
        "path",
        [
            "data/../x",
            "/data/x",
            "data/a\nb",
            "data/100%",
            "data//x",
            "data/x ",
            "registry/x",
            "data/cafe\u0301",
        ],
    )
    def test_refuses_names_that_tools_would_read_differently(self, tmp_path: Path, path: str) -> None:
        with pytest.raises(UserError):
            write_bag(tmp_path, [PayloadFile(path, 0, "sha256:" + "0" * 64)], INFO)

    def test_refuses_payload_that_is_not_there_as_recorded(self, tmp_path: Path) -> None:
        file = payload(tmp_path, "data/a", b"abc")
        (tmp_path / "data/a").write_bytes(b"ab")
        with pytest.raises(CorruptionError, match="2 bytes, not 3"):
            write_bag(tmp_path, [file], INFO)
        (tmp_path / "data/a").unlink()
        with pytest.raises(NotFoundError):
            write_bag(tmp_path, [file], INFO)

    def test_refuses_files_that_belong_to_nothing(self, tmp_path: Path) -> None:
        file = payload(tmp_path, "data/a", b"abc")
        payload(tmp_path, "data/b", b"abc")
        with pytest.raises(CorruptionError, match="data/b"):
            write_bag(tmp_path, [file], INFO)


class TestVerification:
    def test_finds_any_changed_byte_of_any_file(self, bag: Path) -> None:
        """Every file, tag files included; in each the first, the last and some other bytes."""
        choose = random.Random(20261103)
        for path, content in files_of(bag).items():
            for place in sorted({0, len(content) - 1, *(choose.randrange(len(content)) for _ in range(25))}):
                for bit in (1, 0x20, 0x80):
                    changed = bytearray(content)
                    changed[place] ^= bit
                    (bag / path).write_bytes(changed)
                    report = verify_bag(bag, workers=1)
                    assert not report.ok, f"byte {place} of {path} ^ {bit:#x}"
            (bag / path).write_bytes(content)
        assert verify_bag(bag).ok

    def test_finds_any_cut_or_lengthened_file(self, bag: Path) -> None:
        for path, content in files_of(bag).items():
            for changed in (content[:-1], content + b"\n", b"", content + content):
                (bag / path).write_bytes(changed)
                assert not verify_bag(bag, workers=1).ok, path
            (bag / path).write_bytes(content)

    def test_finds_any_missing_file(self, bag: Path) -> None:
        for path, content in files_of(bag).items():
            (bag / path).unlink()
            found = verify_bag(bag, workers=1).problems
            assert (path, ProblemKind.MISSING) in [(problem.path, problem.kind) for problem in found]
            (bag / path).write_bytes(content)

    @pytest.mark.parametrize(
        "path", ["data/extra", "extra", "registry/x.sqlite-wal", ".hidden", "data/run/.x.part"]
    )
    def test_finds_any_surplus_file(self, bag: Path, path: str) -> None:
        (bag / path).write_bytes(b"")
        assert verify_bag(bag).problems == (Problem(path, ProblemKind.SURPLUS, "in no manifest"),)

    def test_finds_two_files_exchanged(self, bag: Path) -> None:
        first, second = bag / "data/run/raw/0/raw_0.fits", bag / "data/run/raw/1/raw_1.fits"
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
        assert [problem.kind for problem in verify_bag(bag).problems] == [ProblemKind.CHANGED] * 2

    def test_takes_no_link_for_a_file(self, bag: Path) -> None:
        original = bag / "data/run/raw/0/raw_0.fits"
        copy = bag.with_name("copy")
        original.rename(copy)
        original.symlink_to(copy)
        (problem,) = verify_bag(bag).problems
        assert (problem.path, problem.kind) == ("data/run/raw/0/raw_0.fits", ProblemKind.CHANGED)

    def test_does_not_hang_on_a_pipe(self, bag: Path) -> None:
        path = bag / "data/run/raw/0/raw_0.fits"
        path.unlink()
        os.mkfifo(path)
        assert verify_bag(bag).problems[0].kind is ProblemKind.CHANGED

    def test_names_both_checksums(self, bag: Path) -> None:
        (bag / "data/run/raw/0/raw_0.fits").write_bytes(b"x")
        report = verify_bag(bag)
        with pytest.raises(
            CorruptionError, match=r"raw_0\.fits is changed: sha256:[0-9a-f]{64} where sha256:"
        ):
            report.raise_for_problem()

    def test_of_something_else_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="not a directory"):
            verify_bag(tmp_path / "nowhere")
        with pytest.raises(NotFoundError, match="no snapshot"):
            verify_bag(tmp_path)


class TestAnExtension:
    def extend(self, bag: Path) -> None:
        with extension(bag) as workspace:
            write_file(workspace.staging / "registry/ncsa__alice.sqlite", b"more rows")
            write_file(workspace.staging / "snapshot.json", b'{"format_version": 1, "more": true}\n')
            added = [payload(bag, f"data/run/raw/{n}/raw_{n}.fits", b"new") for n in (8, 9)]
            extend_bag(
                bag,
                workspace.staging,
                added,
                tag_files=["registry/ncsa__alice.sqlite", "snapshot.json"],
                info={"Bagging-Date": "2026-11-04"},
            )
            workspace.discard()

    def test_keeps_old_lines_and_adds_its_own(self, bag: Path) -> None:
        before = (bag / "manifest-sha256.txt").read_bytes()
        self.extend(bag)
        after = (bag / "manifest-sha256.txt").read_bytes()
        assert after.startswith(before)
        assert after.count(b"\n") == 7
        assert verify_bag(bag).ok
        opened = bagit.Bag(str(bag))
        assert opened.validate()
        assert opened.info["Payload-Oxum"] == "2006.7"
        assert opened.info["Bagging-Date"] == "2026-11-04"
        assert opened.info["External-Identifier"] == "night 1"
        assert not bag.with_name("night1.partial").exists()

    def test_of_what_is_there_changes_nothing(self, bag: Path, tmp_path: Path) -> None:
        before = files_of(bag)
        staging = tmp_path / "staging"
        staging.mkdir()
        extend_bag(bag, staging, [payload(bag, "data/run/raw/0/raw_0.fits", b"pixels 0" * 50)])
        assert files_of(bag) == before

    def test_refuses_other_content_under_a_name_in_use(self, bag: Path, tmp_path: Path) -> None:
        other = PayloadFile("data/run/raw/0/raw_0.fits", 3, "sha256:" + "0" * 64)
        with pytest.raises(ConflictError, match=r"raw_0\.fits"):
            extend_bag(bag, tmp_path, [other])

    def test_cut_before_its_commit_leaves_the_old_bag(self, bag: Path, monkeypatch) -> None:
        before = files_of(bag)

        def cut(path: Path, content: bytes) -> None:
            if path.name == "COMMIT":
                raise KeyboardInterrupt
            write_file(path, content)

        monkeypatch.setattr(bag_module, "write_file", cut)
        with pytest.raises(KeyboardInterrupt):
            self.extend(bag)
        for n in (8, 9):  # payload that was copied already; the next run finds it in place
            (bag / f"data/run/raw/{n}/raw_{n}.fits").unlink()
        assert files_of(bag) == before
        assert not has_unfinished_extension(bag)

    @pytest.mark.parametrize("moves", range(6))
    def test_cut_after_its_commit_is_completed(self, bag: Path, monkeypatch, moves: int) -> None:
        """A cut after each of the renames that follow the commit."""
        done = []
        original = bag_module.fsync_directory

        def cut(path: Path) -> None:
            original(path)
            done.append(path)
            if len(done) > moves:
                raise KeyboardInterrupt

        monkeypatch.setattr(bag_module, "fsync_directory", cut)
        with pytest.raises(KeyboardInterrupt):
            self.extend(bag)
        monkeypatch.undo()
        assert has_unfinished_extension(bag) == (moves < 5)
        with extension(bag) as workspace:
            workspace.discard()
        assert verify_bag(bag).ok
        assert bagit.Bag(str(bag)).info["Payload-Oxum"] == "2006.7"

    def test_without_a_commit_needs_no_recovery(self, bag: Path, tmp_path: Path) -> None:
        assert recover_bag(bag, tmp_path) is False


class TestAWorkspace:
    def test_gives_a_snapshot_its_name_at_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "snap"
        with creation(target) as workspace:
            write_bag(workspace.staging, [payload(workspace.staging, "data/a", b"a")], INFO)
            assert not target.exists()
            workspace.publish()
            workspace.discard()
        assert verify_bag(target).ok
        assert sorted(path.name for path in tmp_path.iterdir()) == ["snap"]

    def test_keeps_its_work_for_the_next_run(self, tmp_path: Path) -> None:
        with creation(tmp_path / "snap") as workspace:
            payload(workspace.staging, "data/a", b"a")
        with creation(tmp_path / "snap") as workspace:
            assert (workspace.staging / "data/a").read_bytes() == b"a"

    def test_is_held_by_one_at_a_time(self, tmp_path: Path) -> None:
        target = tmp_path / "snap"
        with (
            creation(target),
            pytest.raises(ConflictError, match=r"another process is working on .*snap"),
            creation(target),
        ):
            pass
        with creation(target):
            pass

    def test_refuses_a_target_in_use(self, tmp_path: Path) -> None:
        (tmp_path / "snap").mkdir()
        with creation(tmp_path / "snap") as workspace:  # an empty directory is fine
            workspace.publish()
            workspace.discard()
        (tmp_path / "snap" / "thesis.tex").write_text("")
        with pytest.raises(UserError, match="not empty") as caught, creation(tmp_path / "snap"):
            pass
        assert "extend" in caught.value.hint
        with pytest.raises(UserError, match="no directory"), creation(tmp_path / "snap" / "thesis.tex"):
            pass

    def test_refuses_to_replace_what_appeared_meanwhile(self, tmp_path: Path) -> None:
        with creation(tmp_path / "snap") as workspace:
            payload(tmp_path, "snap/file", b"x")
            with pytest.raises(UserError, match="not empty"):
                workspace.publish()

    def test_extends_snapshots_only(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError), extension(tmp_path):
            pass
