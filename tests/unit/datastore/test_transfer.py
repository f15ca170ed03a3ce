"""Transfers: each file whole and right or not at all, none lost for another's sake, and nothing twice."""

from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path

import pytest

from federation.datastore import (
    Datastore,
    TransferEvent,
    TransferEventKind,
    TransferItem,
    TransferJournal,
    UrlSource,
    transfer,
)
from federation.errors import (
    ConflictError,
    CorruptionError,
    LimitError,
    NotFoundError,
    UnavailableError,
    UserError,
)


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def content(number: int) -> bytes:
    return f"file {number} ".encode() * (number * 1000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    for number in range(20):
        (directory / f"{number}.fits").write_bytes(content(number))
    return directory


def item(source: Path, number: int) -> TransferItem:
    body = content(number)
    url = UrlSource(str(source / f"{number}.fits"))
    return TransferItem(f"k{number}", (url,), f"run/{number % 3}/{number}.fits", len(body), sha256(body))


@pytest.fixture
def items(source: Path) -> list[TransferItem]:
    return [item(source, number) for number in range(20)]


def read(store: Datastore, path: str) -> bytes:
    with store.open(path) as file:
        return file.read()


class TestATransfer:
    def test_brings_every_file_to_its_place(self, items, store, journal, names_below) -> None:
        report = transfer(items, store, journal=journal)
        assert [file.key for file in report.done] == [item.key for item in items]
        assert not report.skipped
        assert not report.failed
        assert report.size_bytes == sum(len(content(number)) for number in range(20))
        assert names_below(store) == sorted(item.target_path for item in items)
        for number, file in enumerate(report.done):
            assert read(store, file.target_path) == content(number)
            assert file.checksum == sha256(content(number))

    def test_of_nothing_is_a_report_of_nothing(self, store, journal) -> None:
        report = transfer([], store, journal=journal)
        assert (report.done, report.skipped, report.failed) == ((), (), ())

    def test_tells_bytes_that_add_up(self, items, store, journal) -> None:
        events: list[TransferEvent] = []
        transfer(items, store, journal=journal, progress=events.append)
        arrived = sum(event.size_bytes for event in events if event.kind is TransferEventKind.PROGRESS)
        assert arrived == sum(item.size_bytes for item in items)
        assert sorted(event.key for event in events if event.kind is TransferEventKind.DONE) == sorted(
            item.key for item in items
        )

    def test_tells_progress_in_the_calling_thread(self, items, store, journal) -> None:
        threads = set()
        transfer(items, store, journal=journal, progress=lambda _: threads.add(threading.get_ident()))
        assert threads == {threading.get_ident()}

    def test_raises_what_the_progress_callback_raises(self, items, store, journal) -> None:
        def fail(event: TransferEvent) -> None:
            raise RuntimeError("display gone")

        with pytest.raises(RuntimeError, match="display gone"):
            transfer(items, store, journal=journal, progress=fail)

    def test_raises_a_defect_of_a_source_instead_of_hanging(self, items, store, journal, scripted) -> None:
        bad = TransferItem("bad", (scripted("bad", (b"x", ZeroDivisionError("defect"))),), "bad")
        with pytest.raises(ZeroDivisionError, match="defect"):
            transfer([*items, bad], store, journal=journal)

    def test_takes_sizes_and_checksums_from_the_bytes_when_they_are_unknown(
        self, source, store, journal
    ) -> None:
        report = transfer(
            [TransferItem("k", (UrlSource(str(source / "3.fits")),), "x")], store, journal=journal
        )
        assert report.done[0].checksum == sha256(content(3))

    @pytest.mark.parametrize("twin", [("k0", "elsewhere"), ("other", "run/0/0.fits")])
    def test_refuses_two_items_of_one_key_or_target(self, items, store, journal, twin) -> None:
        double = TransferItem(twin[0], items[0].sources, twin[1])
        with pytest.raises(UserError, match="two files"):
            transfer([*items, double], store, journal=journal)

    def test_refuses_a_target_outside_the_store(self, items, store, journal) -> None:
        bad = TransferItem("k", items[0].sources, "../outside")
        with pytest.raises(UserError, match="outside"):
            transfer([bad], store, journal=journal)


class TestASecondRun:
    def test_skips_what_the_journal_shows_without_reading_it(self, items, source, store, journal) -> None:
        transfer(items, store, journal=journal)
        shutil.rmtree(source)
        report = transfer(items, store, journal=journal)
        assert [file.key for file in report.skipped] == [item.key for item in items]
        assert report.skipped[5].checksum == sha256(content(5))

    def test_skips_what_is_there_by_checksum_without_the_journal(self, items, store, tmp_path) -> None:
        with TransferJournal(tmp_path / "first.sqlite") as first:
            transfer(items, store, journal=first)
        with TransferJournal(tmp_path / "second.sqlite") as second:
            report = transfer(items, store, journal=second)
            assert len(list(second.published())) == len(items)
        assert len(report.skipped) == len(items)

    def test_replaces_a_file_that_was_changed_at_the_target(self, items, local_store, journal) -> None:
        transfer(items, local_store, journal=journal)
        path = local_store.local_root / items[7].target_path
        path.write_bytes(b"X" * path.stat().st_size)
        report = transfer(items, local_store, journal=journal)
        assert [file.key for file in report.done] == ["k7"]
        assert path.read_bytes() == content(7)

    def test_brings_back_a_file_that_was_removed_at_the_target(self, items, store, journal) -> None:
        transfer(items, store, journal=journal)
        store.remove(items[7].target_path)
        assert [file.key for file in transfer(items, store, journal=journal).done] == ["k7"]

    def test_brings_a_file_again_whose_expected_content_is_new(self, items, source, store, journal) -> None:
        transfer(items, store, journal=journal)
        (source / "7.fits").write_bytes(b"new")
        items[7] = TransferItem("k7", items[7].sources, items[7].target_path, 3, sha256(b"new"))
        assert [file.key for file in transfer(items, store, journal=journal).done] == ["k7"]
        assert read(store, items[7].target_path) == b"new"

    def test_tries_failed_files_again(self, items, source, store, journal) -> None:
        hidden = (source / "7.fits").rename(source / "hidden")
        assert [failure.key for failure in transfer(items, store, journal=journal).failed] == ["k7"]
        hidden.rename(source / "7.fits")
        report = transfer(items, store, journal=journal)
        assert [file.key for file in report.done] == ["k7"]
        assert len(report.skipped) == 19


class TestAFailure:
    def test_of_one_file_does_not_stop_the_others(self, items, source, store, journal, names_below) -> None:
        (source / "4.fits").unlink()
        report = transfer(items, store, journal=journal)
        assert len(report.done) == 19
        (failure,) = report.failed
        assert failure.key == "k4"
        assert isinstance(failure.error, NotFoundError)
        assert str(source / "4.fits") in failure.error.message
        assert len(names_below(store)) == 19

    def test_is_reported_for_bytes_that_are_not_as_recorded(self, items, source, store, journal) -> None:
        body = bytearray(content(4))
        body[100] ^= 1
        (source / "4.fits").write_bytes(body)
        report = transfer(items, store, journal=journal)
        (failure,) = report.failed
        assert isinstance(failure.error, CorruptionError)
        assert str(source / "4.fits") in failure.error.message
        assert not store.exists("run/1/4.fits")

    def test_is_reported_for_a_source_that_vanishes_midway(
        self, store, journal, scripted, names_below
    ) -> None:
        vanishing = scripted("vanishing", (b"first", FileNotFoundError(2, "gone")))
        report = transfer([TransferItem("k", (vanishing,), "x")], store, journal=journal)
        assert isinstance(report.failed[0].error, NotFoundError)
        assert vanishing.opened == 1
        assert names_below(store) == []

    def test_leads_to_the_next_source(self, source, store, journal) -> None:
        (source / "corrupt").write_bytes(content(4)[::-1])
        sources = tuple(UrlSource(str(source / name)) for name in ("corrupt", "missing", "4.fits"))
        wanted = TransferItem("k", sources, "x", len(content(4)), sha256(content(4)))
        events: list[TransferEvent] = []
        report = transfer([wanted], store, journal=journal, progress=events.append)
        assert read(store, "x") == content(4)
        assert len(report.done) == 1
        net = sum(
            event.size_bytes
            for event in events
            if event.kind in (TransferEventKind.PROGRESS, TransferEventKind.RETRY)
        )
        assert net == len(content(4))

    def test_of_all_sources_names_each(self, source, store, journal) -> None:
        (source / "corrupt").write_bytes(b"")
        sources = tuple(UrlSource(str(source / name)) for name in ("missing", "corrupt"))
        wanted = TransferItem("k", sources, "x", len(content(4)), sha256(content(4)))
        (failure,) = transfer([wanted], store, journal=journal).failed
        assert isinstance(failure.error, CorruptionError)
        assert "missing" in failure.error.message
        assert "corrupt" in failure.error.message

    def test_without_any_source_says_so(self, store, journal) -> None:
        (failure,) = transfer([TransferItem("k", (), "x")], store, journal=journal).failed
        assert isinstance(failure.error, NotFoundError)

    def test_that_may_pass_is_tried_again(self, store, journal, scripted) -> None:
        class Flaky:
            name = "flaky"
            attempts = 0

            def open(self):
                self.attempts += 1
                last = ConnectionResetError(104, "reset") if self.attempts < 3 else b"second"
                return scripted("flaky", (b"first", last)).open()

        events: list[TransferEvent] = []
        source = Flaky()
        report = transfer(
            [TransferItem("k", (source,), "x")], store, journal=journal, progress=events.append, backoff_s=0.0
        )
        assert source.attempts == 3
        assert read(store, "x") == b"firstsecond"
        assert len(report.done) == 1
        assert [event.size_bytes for event in events if event.kind is TransferEventKind.RETRY] == [-5, -5]

    def test_that_does_not_pass_is_given_up(self, store, journal, scripted) -> None:
        down = scripted("down", (UnavailableError("base does not answer"),))
        report = transfer(
            [TransferItem("k", (down,), "x")], store, journal=journal, attempts=3, backoff_s=0.0
        )
        assert down.opened == 3
        assert isinstance(report.failed[0].error, UnavailableError)

    def test_can_be_raised_with_the_number_of_failures(self, items, source, store, journal) -> None:
        (source / "4.fits").unlink()
        (source / "5.fits").unlink()
        report = transfer(items, store, journal=journal)
        with pytest.raises(NotFoundError, match="2 of 20 files failed"):
            report.raise_for_failure()

    def test_of_the_target_is_not_blamed_on_the_sources(self, items, local_store, journal) -> None:
        local_store.local_root.mkdir()
        (local_store.local_root / "run").write_bytes(b"a file where a directory is needed")
        second = UrlSource("memory://never/asked")
        wanted = TransferItem("k", (*items[3].sources, second), "run/x")
        (failure,) = transfer([wanted], local_store, journal=journal).failed
        assert isinstance(failure.error, UserError)
        assert "run/x" in failure.error.message
        assert "never" not in failure.error.message


class TestSpace:
    def test_is_checked_before_anything_is_written(self, items, local_store, journal, names_below) -> None:
        huge = TransferItem("huge", items[0].sources, "huge", 1 << 60)
        with pytest.raises(LimitError, match="bytes free") as caught:
            transfer([*items, huge], local_store, journal=journal)
        assert caught.value.hint
        assert names_below(local_store) == []


class TestAnInterrupt:
    def test_leaves_a_state_that_the_next_run_resumes(
        self, items, local_store, journal, names_below, scripted
    ) -> None:
        def interrupt(event: TransferEvent) -> None:
            if event.kind is TransferEventKind.DONE:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            transfer(items, local_store, journal=journal, workers=2, progress=interrupt)
        assert not [name for name in names_below(local_store) if name.endswith(".part")]
        report = transfer(items, local_store, journal=journal)
        assert len(report.done) + len(report.skipped) == 20
        assert report.skipped
        for number in range(20):
            assert read(local_store, items[number].target_path) == content(number)

    def test_does_not_wait_for_a_source_that_hangs(self, local_store, journal, scripted, monkeypatch) -> None:
        monkeypatch.setattr("federation.datastore.worker._STOP_GRACE_S", 0.0)
        released = threading.Event()
        hanging = scripted("hanging", (b"first", b"second"), on_chunk=lambda n: n == 1 and released.wait())

        def interrupt(event: TransferEvent) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            transfer([TransferItem("k", (hanging,), "x")], local_store, journal=journal, progress=interrupt)
        released.set()
        for thread in threading.enumerate():
            if thread.name.startswith("transfer-"):
                thread.join()
        assert not local_store.exists("x")


class TestAJournal:
    def test_is_held_by_one_process_at_a_time(self, journal, tmp_path) -> None:
        with pytest.raises(ConflictError, match="in use"):
            TransferJournal(journal.path)

    def test_keeps_its_id(self, tmp_path) -> None:
        with TransferJournal(tmp_path / "j") as first:
            name = first.id
        with TransferJournal(tmp_path / "j") as second:
            assert second.id == name

    def test_refuses_a_file_that_is_none(self, tmp_path) -> None:
        (tmp_path / "j").write_bytes(b"something else entirely" * 1000)
        with pytest.raises(CorruptionError, match="no transfer journal"):
            TransferJournal(tmp_path / "j")

    def test_names_a_directory_that_does_not_exist(self, tmp_path) -> None:
        with pytest.raises(UserError, match="nowhere"):
            TransferJournal(tmp_path / "nowhere" / "j")
