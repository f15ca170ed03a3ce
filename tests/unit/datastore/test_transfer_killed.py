"""SIGKILL in the middle of a transfer, in a real process: nothing half-written is published, and a rerun resumes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from federation.datastore import Datastore, TransferItem, TransferJournal, UrlSource, transfer

CHUNK = 100_000
FILES = 4
CHUNKS = 3

VICTIM = (
    f"CHUNK, CHUNKS, FILES = {CHUNK}, {CHUNKS}, {FILES}\n"
    + """
import signal, sys, threading
from contextlib import contextmanager
from pathlib import Path
from federation.datastore import Datastore, TransferItem, TransferJournal, transfer

# a test run that was started in the background ignores interrupts, and its children inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
root, file_at, chunk_at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

class Source:
    def __init__(self, number):
        self.name, self.number = f"source {number}", number

    @contextmanager
    def open(self):
        yield self.chunks()

    def chunks(self):
        for chunk in range(CHUNKS + 1):
            if (self.number, chunk) == (file_at, chunk_at):
                print("waiting to be killed", flush=True)
                threading.Event().wait()
            if chunk < CHUNKS:
                yield bytes([self.number * 16 + chunk]) * CHUNK

items = [TransferItem(str(n), (Source(n),), f"run/{n}.fits", CHUNKS * CHUNK) for n in range(FILES)]
with TransferJournal(root / "journal.sqlite") as journal:
    transfer(items, Datastore(str(root / "store")), journal=journal, workers=1)
"""
)


def content(number: int) -> bytes:
    return b"".join(bytes([number * 16 + chunk]) * CHUNK for chunk in range(CHUNKS))


def kill_at(root: Path, file: int, chunk: int, kill: signal.Signals = signal.SIGKILL) -> str:
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(root), str(file), str(chunk)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == "waiting to be killed\n"
    os.kill(victim.pid, kill)
    _, last_words = victim.communicate()
    assert victim.returncode == -kill
    return last_words


def items(root: Path) -> list[TransferItem]:
    source = root / "source"
    source.mkdir(exist_ok=True)
    wanted = []
    for number in range(FILES):
        (source / str(number)).write_bytes(content(number))
        checksum = "sha256:" + hashlib.sha256(content(number)).hexdigest()
        url = UrlSource(str(source / str(number)))
        wanted.append(TransferItem(str(number), (url,), f"run/{number}.fits", CHUNK * CHUNKS, checksum))
    return wanted


@pytest.mark.parametrize(("file", "chunk"), [(0, 0), (0, 1), (1, 2), (2, CHUNKS), (3, 1)])
def test_resumes_after_a_kill_in_mid_stream(tmp_path: Path, file: int, chunk: int) -> None:
    kill_at(tmp_path, file, chunk)

    names = sorted(path.name for path in (tmp_path / "store" / "run").iterdir())
    assert [name for name in names if not name.startswith(".")] == [
        f"{number}.fits" for number in range(file)
    ]
    assert len([name for name in names if name.endswith(".part")]) == 1
    for number in range(file):
        assert (tmp_path / "store" / "run" / f"{number}.fits").read_bytes() == content(number)

    with TransferJournal(tmp_path / "journal.sqlite") as journal:
        report = transfer(items(tmp_path), Datastore(str(tmp_path / "store")), journal=journal)
    assert [moved.key for moved in report.skipped] == [str(number) for number in range(file)]
    assert [moved.key for moved in report.done] == [str(number) for number in range(file, FILES)]
    names = sorted(path.name for path in (tmp_path / "store" / "run").iterdir())
    assert names == [f"{number}.fits" for number in range(FILES)]


def test_sweeps_what_it_left_even_when_the_file_is_no_longer_wanted(tmp_path: Path) -> None:
    kill_at(tmp_path, 2, 1)
    with TransferJournal(tmp_path / "journal.sqlite") as journal:
        transfer(items(tmp_path)[:2], Datastore(str(tmp_path / "store")), journal=journal)
    names = sorted(path.name for path in (tmp_path / "store" / "run").iterdir())
    assert names == ["0.fits", "1.fits"]


def test_survives_being_killed_again_and_again(tmp_path: Path) -> None:
    for file, chunk in [(0, 1), (0, 2), (1, 1), (2, 1), (3, 2)]:
        kill_at(tmp_path, file, chunk)
    with TransferJournal(tmp_path / "journal.sqlite") as journal:
        report = transfer(items(tmp_path), Datastore(str(tmp_path / "store")), journal=journal)
    assert not report.failed
    assert len(report.done) + len(report.skipped) == FILES


def test_ends_at_an_interrupt_although_a_source_hangs(tmp_path: Path) -> None:
    assert "KeyboardInterrupt" in kill_at(tmp_path, 2, 1, signal.SIGINT)
    with TransferJournal(tmp_path / "journal.sqlite") as journal:
        assert [row.key for row in journal.published()] == ["0", "1"]
        report = transfer(items(tmp_path), Datastore(str(tmp_path / "store")), journal=journal)
    assert [moved.key for moved in report.done] == ["2", "3"]
    names = sorted(path.name for path in (tmp_path / "store" / "run").iterdir())
    assert names == [f"{number}.fits" for number in range(FILES)]
